"""How many words on cameras a detector keeps, whose, and what its heartbeat says of them."""

from dataclasses import replace

import pytest
from source_words import largest

from streamer.errors import WireError
from streamer.server import sources as module
from streamer.server.sources import IN_HEARTBEAT, NEW_RATE, RATE, Sources, in_heartbeat
from streamer.wire.published import pack_message, unpack_message
from streamer.wire.source import SILENT_S, SourceMessage


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("streamer.server.rate.time.monotonic", clock)
    return clock


def word(stream, state="live"):
    return SourceMessage(stream, state, 1, 2, fps=5.0)


def refusals(sources, words, peer="peer"):
    """The codes of what was refused."""
    codes = []
    for message in words:
        try:
            sources.heard(message, peer)
        except WireError as error:
            codes.append(error.code)
    return codes


def none(_):
    return False


def test_the_newest_word_is_kept_and_silence_is_unknown_and_told_once(clock):
    sources = Sources(4, none, clock)
    assert sources.heard(word("a", "waiting"), "peer")["state"] == "waiting"
    sources.heard(word("a"), "peer")
    sources.heard(word("b", "ended"), "peer")
    clock.now += SILENT_S - 0.1
    assert sources.status()["a"]["state"] == "live"
    assert sources.fallen_silent() == []
    clock.now += 0.1
    shown = sources.status()
    assert (shown["a"]["state"], shown["a"]["fps"], shown["b"]["state"]) == ("unknown", None, "ended")
    assert shown["a"]["since_ns"] == shown["a"]["heard_ns"] + round(1e9 * SILENT_S)
    assert [(one["stream"], one["state"]) for one in sources.fallen_silent()] == [("a", "unknown")]
    assert sources.fallen_silent() == []
    sources.heard(word("a"), "peer")
    assert sources.status()["a"]["state"] == "live"
    clock.now += SILENT_S
    assert [one["stream"] for one in sources.fallen_silent()] == ["a"]


def test_one_that_ended_is_forgotten_when_its_stream_goes_on_long_after(clock, monkeypatch):
    monkeypatch.setattr(module.time, "time_ns", lambda: 1_000_000_000_000)
    sources = Sources(4, none, clock)
    sources.heard(word("over", "ended"), "peer")
    sources.heard(word("there"), "peer")
    long_after = 1_000_000_000_000 + round(1e9 * SILENT_S)
    sources.frames_came({"over": long_after, "other": long_after + 1})
    assert sources.status()["over"]["state"] == "ended", "what is on its way at the end"
    sources.frames_came({"over": long_after + 1, "there": long_after + 1})
    assert list(sources.status()) == ["there"]


def test_so_many_streams_are_kept_and_those_that_are_heard_of_stay(clock):
    sources = Sources(2, lambda name: name == "scored", clock)
    sources.heard(word("a"), "peer")
    clock.now += 1
    sources.heard(word("b"), "peer")
    with pytest.raises(WireError, match="'c' would be one more than 2") as caught:
        sources.heard(word("c"), "peer")
    assert (caught.value.code, caught.value.stream) == ("too_many_streams", "c")
    sources.heard(word("scored"), "peer")  # its frames have a place already
    clock.now += SILENT_S
    sources.heard(word("a"), "peer")
    sources.heard(word("c"), "peer")
    assert sources.status().keys() == {"a", "c", "scored"}, "b is silent for longest"


def test_a_sender_says_so_many_words_a_second(clock):
    sources = Sources(4, none, clock)
    for _ in range(int(RATE)):
        sources.heard(word("a"), "peer")
    with pytest.raises(WireError, match="peer peer: more than 100") as caught:
        sources.heard(word("a"), "peer")
    assert (caught.value.code, caught.value.stream) == ("rate_limited", "a")
    sources.heard(word("a"), "another")
    clock.now += 1.0
    sources.heard(word("a"), "peer")


def test_ever_new_names_are_held_to_a_rate_and_known_ones_are_not(clock):
    """Who says that each has ended takes no place by force, but names cost a subscriber, too."""
    most, taken = 80, 0
    sources = Sources(most, none, clock)
    for number in range(3 * most):
        clock.now += 1 / RATE
        taken += not refusals(sources, [word(f"ghost-{number}", "ended")])
    assert taken == 2 * most
    assert refusals(sources, [word("ghost-80", "ended")]) == [], "a name that is kept is no new one"
    assert refusals(sources, [word("ghost-x", "ended")]) == ["rate_limited"]
    kept = {f"ghost-{number}" for number in range(most, 2 * most)}
    assert sources.status().keys() == kept, "what is refused costs nobody a place"
    assert refusals(sources, [word("real")], "another") == []
    clock.now += 1 / NEW_RATE
    assert refusals(sources, [word("ghost-x", "ended"), word("ghost-y", "ended")]) == ["rate_limited"]


def test_streams_that_lost_their_rings_take_no_more_than_their_places(clock):
    """Who sends a frame that cannot be used, or one stream after the other, makes nothing grow."""
    most, open_now, said = 80, set(), largest("x")
    sources = Sources(most, open_now.__contains__, clock)
    for number in range(3 * most):
        clock.now += 1.0
        open_now.clear()
        open_now.add(f"evil-{number}")
        assert refusals(sources, [replace(said, stream=f"evil-{number}")]) == []
        assert len(sources.status()) <= most + 1
    assert f"evil-{3 * most - 1}" in sources.status()
    open_now.clear()
    open_now.update(f"evil-{number}" for number in range(2 * most, 3 * most))
    refusals(sources, [word(f"other-{number}") for number in range(most)], "another")
    assert len(sources.status()) <= 2 * most, "streams with a ring, and as many without"


def test_one_sender_takes_the_places_of_no_other(clock):
    sources = Sources(8, none, clock)
    assert refusals(sources, [word(f"own-{number}") for number in range(2)], "small") == []
    assert refusals(sources, [word("gone", "ended")], "small") == []
    codes = refusals(sources, [word(f"flood-{number}") for number in range(24)], "large")
    assert set(codes) == {"too_many_streams", "rate_limited"}
    assert {"own-0", "own-1"} <= sources.status().keys()
    assert "gone" in sources.status(), "nor what has ended, of who has fewer"
    assert refusals(sources, [word("own-2"), word("own-3")], "small") == []
    assert "gone" not in sources.status()
    assert "flood-0" not in sources.status(), "of who has more, the one heard of longest ago"
    assert len(sources.status()) == 8


def test_two_that_speak_for_one_stream_are_told_in_the_log(clock):
    sources, told = Sources(8, none, clock), []
    sources._log.warning = lambda event, _, **details: told.append((event, details))
    sources.heard(word("a", "ended"), "old")
    sources.heard(word("a"), "new")
    assert told == [], "it was handed over"
    sources.heard(word("a", "ended"), "another")
    assert told == [("source_said_by_two", {"stream": "a", "peers": ["new", "another"]})]


def test_a_heartbeat_says_of_many_cameras_what_a_subscriber_can_read(clock):
    most = 3 * IN_HEARTBEAT
    sources = Sources(most, none, clock)
    message = largest("x")
    for number in range(most):
        name = f"{number:04d}" + "\N{PILE OF POO}" * 31  # 128 bytes
        sources._sources[name] = module._Source(replace(message, stream=name), "peer", clock(), number)
    said = in_heartbeat(sources.status())
    packed = pack_message("-/status", {"kind": "status", "stream": "-", **said})
    assert len(packed[1]) < 2**18
    heard = unpack_message(packed)
    assert (len(heard["sources"]), heard["sources_left_out"]) == (IN_HEARTBEAT, 2 * IN_HEARTBEAT)
    assert next(iter(heard["sources"])).startswith("3071"), "the ones heard of last"
    assert next(iter(heard["sources"].values())) == {"state": "lost", "since_ns": 2**63 - 1}
    assert in_heartbeat({}) == {"sources": {}, "sources_left_out": 0}

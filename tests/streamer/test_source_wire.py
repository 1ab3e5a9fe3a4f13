"""What a publisher says of its camera: which words are taken, how large, how often, and without passwords."""

import msgpack
import pytest
from camera_addresses import ADDRESSES
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.errors import WireError
from streamer.server.sources import RATE, Sources
from streamer.wire.codes import CODES
from streamer.wire.frame import Limits, unpack_frame
from streamer.wire.source import (
    MAX_BYTES,
    SILENT_S,
    SourceMessage,
    is_source,
    pack_source,
    told,
    unpack_source,
)

SAID = SourceMessage(
    "line", "live", 5, 9, "rtsp://cam/1", 41.5, 9.8, {"read": 12, "packets_lost": 3}, "was away"
)
WORD = {"v": 1, "kind": "source", "stream": "line", "state": "lost", "since_ns": 1, "at_ns": 2}


def parts(**fields):
    return [msgpack.packb({**WORD, **fields}), b""]


def test_what_is_said_is_what_is_heard():
    assert is_source(pack_source(SAID), Limits())
    assert unpack_source(pack_source(SAID)) == SAID
    short = unpack_source(parts())
    assert (short.source, short.age_ms, short.fps, short.counts, short.text) == ("", None, None, {}, "")


@pytest.mark.parametrize(
    ("fields", "code", "names"),
    [
        ({"v": 2}, "unsupported_version", "v: got 2"),
        ({"frame_id": 1}, "unknown_key", "'frame_id'"),
        ({"state": "unknown"}, "bad_value", "state: got 'unknown'"),
        ({"state": ["live"]}, "bad_value", "state"),
        ({"stream": "a/b"}, "bad_value", "stream"),
        ({"since_ns": -1}, "bad_value", "since_ns"),
        ({"at_ns": 1.5}, "bad_value", "at_ns"),
        ({"at_ns": True}, "bad_value", "at_ns"),
        ({"source": "x" * 257}, "bad_value", "source"),
        ({"source": "a\nb"}, "bad_value", "source"),
        ({"text": "x" * 401}, "bad_value", "text"),
        ({"text": "\x1b[2J"}, "bad_value", "text"),
        ({"age_ms": float("nan")}, "bad_value", "age_ms"),
        ({"age_ms": -0.5}, "bad_value", "age_ms"),
        ({"fps": float("inf")}, "bad_value", "fps"),
        ({"fps": True}, "bad_value", "fps"),
        ({"counts": [1]}, "bad_value", "counts"),
        ({"counts": {f"c{number}": 1 for number in range(33)}}, "bad_value", "32"),
        ({"counts": {"x" * 65: 1}}, "bad_value", "counts"),
        ({"counts": {"lost": -1}}, "bad_value", "counts.lost"),
        ({"counts": {"lost": 2**63}}, "bad_value", "counts.lost"),
    ],
)
def test_what_cannot_be_is_refused_by_name(fields, code, names):
    assert is_source(parts(**fields), Limits())
    with pytest.raises(WireError) as caught:
        unpack_source(parts(**fields))
    assert caught.value.code == code
    assert names in caught.value.text
    assert caught.value.stream == (None if "stream" in fields else "line")


@pytest.mark.parametrize("key", ["stream", "state", "since_ns", "at_ns"])
def test_what_is_needed_is_named(key):
    word = {name: value for name, value in WORD.items() if name != key}
    with pytest.raises(WireError, match=f"'{key}' is missing"):
        unpack_source([msgpack.packb(word), b""])


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from([*WORD, "source", "age_ms", "fps", "counts", "text", "x"]), anything))
def test_whatever_is_said_is_taken_whole_or_refused(fields):
    said = parts(**fields)
    if not is_source(said, Limits()):
        return
    try:
        heard = unpack_source(said)
    except WireError as error:
        is_right = error.code in CODES
    else:
        is_right = unpack_source(pack_source(heard)) == heard
    assert is_right


def test_nothing_else_is_taken_for_one():
    limits = Limits()
    assert not is_source([*parts(), b""], limits)
    assert not is_source([parts()[0]], limits)
    assert not is_source([parts()[0], b"pixels"], limits)
    assert not is_source(parts(kind="frame"), limits)
    assert not is_source([b"\xc1", b""], limits)
    assert not is_source([msgpack.packb([1]), b""], limits)
    large = parts(text="x" * MAX_BYTES)
    assert not is_source(large, limits)
    assert not is_source(parts(), Limits(header_bytes=20))
    with pytest.raises(WireError, match="or 'source' with a header of at most 4096 bytes") as caught:
        unpack_frame(large, limits)
    assert caught.value.code == "unknown_kind"


def test_a_detector_of_before_refuses_it_as_an_unknown_kind():
    """All that it had was this check, whose code is of then."""
    with pytest.raises(WireError) as caught:
        unpack_frame(pack_source(SAID), Limits())
    assert (caught.value.code, caught.value.stream, caught.value.frame_id) == ("unknown_kind", "line", None)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        *ADDRESSES,
        *((f"cannot open {url} : 401", f"cannot open {shown} : 401") for url, shown in ADDRESSES),
        ("cannot open http://u:p@cam/a: 401", "cannot open http://cam/a: 401"),
        ("camera:0", "camera:0"),
    ],
)
def test_no_password_is_sent_and_none_shown(text, shown):
    said = told(SourceMessage("line", "lost", 1, 2, text, text=text))
    assert (said.source, said.text) == (shown, shown)
    # Nor by a publisher of somebody else's.
    heard = unpack_source(parts(source=text, text=text))
    assert (heard.source, heard.text) == (shown, shown)


def test_whatever_a_camera_says_fits_on_one_line():
    said = told(SourceMessage("line", "lost", 1, 2, "s" * 999, text="one\ntwo\x1b[2J" + "x" * 999))
    assert unpack_source(pack_source(said)) == said
    assert (len(said.source), len(said.text)) == (256, 400)
    assert said.text.startswith("one\\ntwo\\x1b")


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def word(stream, state="live"):
    return SourceMessage(stream, state, 1, 2, fps=5.0)


def test_the_newest_word_is_kept_and_silence_is_unknown_and_told_once(clock):
    sources = Sources(4, clock)
    assert sources.heard(word("a", "waiting"), "peer", is_open=False)["state"] == "waiting"
    sources.heard(word("a"), "peer", is_open=False)
    sources.heard(word("b", "ended"), "peer", is_open=False)
    clock.now += SILENT_S - 0.1
    assert sources.status()["a"]["state"] == "live"
    assert sources.fallen_silent() == []
    clock.now += 0.1
    shown = sources.status()
    assert (shown["a"]["state"], shown["a"]["fps"], shown["b"]["state"]) == ("unknown", None, "ended")
    assert shown["a"]["since_ns"] == shown["a"]["heard_ns"] + round(1e9 * SILENT_S)
    assert [(one["stream"], one["state"]) for one in sources.fallen_silent()] == [("a", "unknown")]
    assert sources.fallen_silent() == []
    sources.heard(word("a"), "peer", is_open=False)
    assert sources.status()["a"]["state"] == "live"
    clock.now += SILENT_S
    assert [one["stream"] for one in sources.fallen_silent()] == ["a"]


def test_so_many_streams_are_kept_and_those_that_are_heard_of_stay(clock):
    sources = Sources(2, clock)
    sources.heard(word("a"), "peer", is_open=False)
    clock.now += 1
    sources.heard(word("b"), "peer", is_open=False)
    with pytest.raises(WireError, match="'c' would be one more than 2") as caught:
        sources.heard(word("c"), "peer", is_open=False)
    assert (caught.value.code, caught.value.stream) == ("too_many_streams", "c")
    sources.heard(word("open"), "peer", is_open=True)  # its frames have a place already
    sources.heard(word("a"), "peer", is_open=False)
    clock.now += SILENT_S
    sources.heard(word("a"), "peer", is_open=False)
    sources.heard(word("c"), "peer", is_open=False)
    assert "b" not in sources.status(), "silent for longest"


def test_a_sender_says_so_many_words_a_second(clock, monkeypatch):
    monkeypatch.setattr("streamer.server.rate.time.monotonic", clock)
    sources = Sources(4, clock)
    for _ in range(int(RATE)):
        sources.heard(word("a"), "peer", is_open=True)
    with pytest.raises(WireError, match="peer peer: more than 100") as caught:
        sources.heard(word("a"), "peer", is_open=True)
    assert (caught.value.code, caught.value.stream) == ("rate_limited", "a")
    sources.heard(word("a"), "another", is_open=True)
    clock.now += 1.0
    sources.heard(word("a"), "peer", is_open=True)

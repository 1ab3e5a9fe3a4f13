"""Events reach subscribers; what operators make of them is told, and outlives a restart or a sleep."""

from types import SimpleNamespace

import msgpack
import pytest
from operator_support import LEARNED, changed_over, learned, line_config, listening, part, show_parts
from sleep_support import nap
from snapshot_support import play, tampered
from streamer_support import backbone, control, header, png, scrape, serving, small_config, watched

from streamer.errors import WireError
from streamer.server.outcomes import Ledger
from streamer.server.snapshot_files import file_name
from streamer.server.stream import Origin, Stream

pytestmark = pytest.mark.engines

__all__ = ["backbone"]


def state(service):
    """What `status` says of the stream, but for how long its scores took since the start."""
    shown = control(service, "status")["streams"]["line"]
    del shown["latency_ms"]
    return shown


def kept(service, kind):
    messages = control(service, "history", topic=f"line/{kind}")["messages"]
    return [msgpack.unpackb(message["header"]) for message in messages]


def test_a_camera_that_froze_is_told_once_and_nothing_is_anomalous(backbone):
    config = line_config(metrics={"endpoint": "127.0.0.1:0"})
    with watched(backbone, config, topic="line/") as (service, screen, camera):
        still = png(part(0, 0))
        for number in range(80):
            camera.send(header(number, seq=number), still)
        heard = []
        while not heard or heard[-1]["frame_id"] != 79:
            heard += screen.until(1, "score", "event")
            heard[-1].setdefault("frame_id", None)
        scores = [fields for fields in heard if fields["kind"] == "score"]
        (event,) = (fields for fields in heard if fields["kind"] == "event")
        assert (event["event"], event["since"], event["n_frames"]) == ("frozen", 0, 5)
        assert event["frame_ids"] == [0, 1, 2, 3, 4]
        assert heard.index(event) == heard.index(scores[4]) + 1, "after the score that brought it"
        assert not any(score["pred_label"] for score in scores)
        assert (state(service)["events"], state(service)["frozen"]) == ({"frozen": 1}, True)
        assert scrape(service)['musc_stream_frozen{stream="line"}'] == "1.0"
        camera.send(header(80, seq=80), png(part(0, 1)))
        screen.until(1, "score")
        assert not state(service)["frozen"]
        assert scrape(service)['musc_stream_frozen{stream="line"}'] == "0.0"


def test_a_changeover_is_told_and_accepted(backbone):
    with serving(line_config(metrics={"endpoint": "127.0.0.1:0"}), backbone) as service:
        learned(service)
        event = changed_over(service)
        assert (
            event
            | {
                "stream": "line",
                "pub_seq": 0,
                "frame_ids": [f"b{seed}" for seed in range(8)],
                "since": "b0",
                "n_frames": 8,
                "name": None,
            }
            == event
        )
        assert all(len(region) == 5 for region in event["regions"])
        shown = state(service)
        assert (shown["images"], shown["quarantined"], shown["events"]) == (LEARNED, 8, {"changeover": 1})
        figures = scrape(service)
        assert figures['musc_ring_quarantined{stream="line"}'] == "8.0"
        assert figures['musc_events_total{event="changeover",stream="line"}'] == "1.0"
        with listening(service) as (screen, camera):
            answer = control(service, "accept", stream="line", group=event["group"], who="anna")
            assert (answer["n_frames"], answer["frame_ids"]) == (8, event["frame_ids"])
            assert (answer["images"], answer["pinned"]) == (8, 0)
            (word,) = screen.until(1, "operator")
            assert (
                word
                | {
                    "who": "anna",
                    "what": "accept",
                    "frame_id": None,
                    "group": event["group"],
                    "before": {"name": None, "n_frames": 8},
                    "after": None,
                }
                == word
            )
            finals, revised = screen.until(LEARNED, "revision"), screen.until(8, "revision")
            assert all(fields["is_final"] for fields in finals)
            parts = {fields["frame_id"]: fields["meta"] for fields in finals}
            assert parts == {f"a{seed}": {"part": seed} for seed in range(LEARNED)}
            assert [fields["frame_id"] for fields in revised] == event["frame_ids"]
            assert not any(fields["pred_label"] for fields in revised)
            show_parts(camera, 1, range(8, 12))
            assert [score["pred_label"] for score in screen.until(4, "score")] == [False] * 4
        assert [fields["pub_seq"] for fields in kept(service, "event")] == [0]
        assert kept(service, "operator") == [word]
        with pytest.raises(WireError) as refused:
            control(service, "accept", stream="line", group=event["group"])
        assert refused.value.code == "unknown_group"


def test_a_changeover_that_accepts_itself_is_told(backbone):
    with serving(line_config(ring={"accept_after": 10}), backbone) as service:
        learned(service)
        with listening(service) as (screen, camera):
            show_parts(camera, 1, range(10))
            heard = screen.until(10 + 1 + 1, "score", "event", "operator")
            event, word = heard[8], heard[11]
            assert (event["event"], event["n_frames"]) == ("changeover", 8)
            assert heard[10]["frame_id"] == "b9"
            assert (word["who"], word["what"], word["group"]) == ("accept_after", "accept", event["group"])
            assert (word["before"], word["after"]) == ({"name": None, "n_frames": 10}, None)
        assert (state(service)["images"], state(service)["quarantined"]) == (10, 0)


def test_a_rejected_group_is_known_again(backbone):
    with serving(line_config(ring={"accept_after": 10}), backbone) as service:
        learned(service)
        event = changed_over(service)
        with listening(service) as (screen, camera):
            answer = control(service, "reject", stream="line", group=event["group"], name="wrong part")
            assert (answer["n_frames"], answer["name"]) == (8, "wrong part")
            (word,) = screen.until(1, "operator")
            assert (word["what"], word["who"]) == ("reject", None)
            assert word["before"] == {"name": None, "n_frames": 8}
            assert word["after"] == {"name": "wrong part", "n_frames": 8}
            show_parts(camera, 1, range(8, 12))
            scores = screen.until(4, "score")
            assert [score["known_defect"] for score in scores] == ["wrong part"] * 4
            show_parts(camera, 0, range(50, 52))
            assert [score["known_defect"] for score in screen.until(2, "score")] == [None] * 2
        assert state(service)["known_frames"] == 8
        assert len(kept(service, "operator")) == 1, "what was rejected is not accepted by itself"


def test_what_operators_said_outlives_a_restart(backbone, tmp_path):
    with serving(line_config(tmp_path), backbone) as service:
        learned(service)
        group = changed_over(service)["group"]
        control(service, "threshold", stream="line", value=0.1)
        control(service, "confirm", stream="line", frame_id="a1", verdict="good")
        control(service, "reject", stream="line", group=group, name="wrong part")
        before = state(service)
        assert (before["threshold"], before["threshold_rule"], before["known_frames"]) == (0.1, "fixed", 9)
    with serving(line_config(tmp_path), backbone) as service:
        after = state(service)
        for key in ("threshold", "threshold_rule", "known_frames", "quarantined", "images", "events"):
            assert after[key] == before[key], key
        with listening(service) as (screen, camera):
            show_parts(camera, 1, [8])
            (score,) = screen.until(1, "score")
            assert (score["known_defect"], score["threshold"]) == ("wrong part", 0.1)
        assert control(service, "accept", stream="line", group=group)["n_frames"] == 9
    with serving(line_config(tmp_path, threshold={"rule": "mad"}), backbone) as service:
        assert state(service)["threshold_rule"] == "mad", "what is configured anew overrules it"


def test_without_snapshots_what_operators_said_is_gone_with_the_process(backbone):
    for _ in range(2):
        with serving(line_config(), backbone) as service:
            play(service, range(6))
            assert state(service)["threshold"] == 0.12
            control(service, "threshold", stream="line", value=0.1)
            assert state(service)["threshold"] == 0.1


@pytest.mark.parametrize("restart", [False, True], ids=["asleep", "asleep over a restart"])
def test_what_operators_said_outlives_a_sleep(backbone, tmp_path, restart):
    config = line_config(tmp_path, limits={"sleep_after_s": 3600})
    with serving(config, backbone) as service:
        learned(service)
        group = changed_over(service)["group"]
        control(service, "threshold", stream="line", value=0.1)
        control(service, "confirm", stream="line", frame_id="b0", verdict="defect", name="wrong part")
        before = state(service)
        assert nap(service)
        assert state(service) == {**before, "state": "asleep", "bytes": 0}
        if not restart:
            wakes(service, group)
    if restart:
        with serving(config, backbone) as service:
            shown = state(service)
            same = set(before) - {"received", "bytes", "max_bytes", "state"}
            assert {key: shown[key] for key in same} == {key: before[key] for key in same}
            wakes(service, group)


def wakes(service, group):
    """A preview and a word wake a stream as a frame does."""
    found = control(service, "threshold", stream="line", preview=True)
    assert found["before"] == found["after"]
    assert (found["after"]["rule"], found["after"]["threshold"]) == ("fixed", 0.1)
    assert state(service)["state"] == "ready"
    assert nap(service)
    assert control(service, "accept", stream="line", group=group)["n_frames"] == 8


def test_a_ring_of_a_detector_without_quarantine_sleeps_on(backbone, tmp_path):
    """The header of a file of schema 2 was not understood, and the ring set aside."""
    config = line_config(tmp_path, limits={"sleep_after_s": 3600})
    with serving(config, backbone) as service:
        play(service, range(6))
        assert nap(service)
    tampered(tmp_path / file_name("line"), as_schema_2)
    with serving(config, backbone) as service:
        shown = state(service)
        assert (shown["state"], shown["images"], shown["quarantined"]) == ("asleep", 6, 0)
        assert (shown["threshold"], shown["threshold_rule"]) == (0.12, "fixed")


def as_schema_2(state):
    verdict = state.pop("verdict")
    rule = verdict["rule"]
    del rule["false_alarms"], state["quarantined"], state["exemplars"], state["events"], state["stale"]
    state |= {"schema": 2, "verdict": [verdict["threshold"], *verdict["range"]], "threshold_rule": rule}
    for entry in state["entries"]:
        entry["known_good"] = entry.pop("truth") is False


def test_a_frame_in_quarantine_is_held_however_old(backbone):
    with serving(line_config(ring={"capacity": 4, "quarantine": 30}, warmup=3), backbone) as service:
        with listening(service) as (screen, camera):
            pinned = show_parts(camera, 0, range(4))
            screen.until(4, "score")
            for frame_id in pinned:  # what comes later and is normal is kept out
                control(service, "pin", stream="line", frame_id=frame_id)
            control(service, "threshold", stream="line", value=0.2)
            ids = show_parts(camera, 1, range(28))
            show_parts(camera, 0, range(4, 30))
            screen.until(28 + 26, "score")
            shown = state(service)
            assert (shown["images"], shown["quarantined"]) == (4, 28)
            show_parts(camera, 1, [0])
            assert screen.until(1, "error")[0]["code"] == "duplicate"
            assert control(service, "flush")["flushed"] == 28 + 4
            echoed = {}
            while echoed.keys() != {*ids, *pinned}:
                (fields,) = screen.until(1, "revision")
                if fields["is_final"]:
                    echoed[fields["frame_id"]] = fields["meta"]
        assert [echoed[frame_id] for frame_id in ids] == [{"part": seed} for seed in range(28)]


@pytest.mark.one_process
def test_origins_are_kept_for_a_quarantine_too():
    """With more in quarantine than the 16 to spare, none was left to forget, and remembering raised."""
    stream = Stream("line", small_config(ring={"capacity": 4, "admit": "quarantine", "quarantine": 30}))
    slots = {}
    stream.detector = SimpleNamespace(ring=SimpleNamespace(slot_of=slots))
    for number in range(34):
        slots[number] = number
        stream.remember(number, Origin(number, 0, {}))
    for number in range(34, 134):
        stream.remember(number, Origin(number, 0, {}))
    assert list(stream.origins) == [*range(34), *range(134 - 16, 134)]


def test_events_of_a_tally_of_before_are_none():
    ledger = Ledger()
    ledger.event("line", "drift")
    tally = ledger.streams()["line"]
    assert tally["events"] == {"drift": 1}
    resumed = Ledger()
    resumed.resume("line", tally)
    resumed.resume("old", {key: value for key, value in tally.items() if key != "events"})
    assert [entry["events"] for entry in resumed.streams().values()] == [{"drift": 1}, {}]
    assert resumed.totals()["events"] == {"drift": 1}

"""When a score is late, and how long scores took: by the camera's clock, or ours where that cannot be."""

import time

import pytest
from click.testing import CliRunner
from snapshot_support import config
from streamer_support import (
    PATIENCE_S,
    backbone,
    control,
    header,
    identity_holds,
    picture,
    png,
    scrape,
    serving,
    watched,
)

from streamer.publish import Publisher
from streamer.server.ledger import Ledger
from streamer.server.timing import Latencies, begun_ns, clock_is_off, is_late, spent_ms
from streamer.status import main as status_main
from streamer.subscribe import Subscriber

__all__ = ["backbone"]

S = 10**9
DAY = 24 * 3600 * S
NOW = 1_800_000_000 * S
MINUTE_MS = 60_000.0


@pytest.mark.parametrize(
    ("capture_ns", "begun", "off"),
    [
        (NOW - 40_000_000, NOW - 40_000_000, False),
        (NOW - 2 * 3600 * S, NOW - 2 * 3600 * S, False),  # it waited for a detector that was away
        (NOW - DAY, NOW - DAY, False),
        (NOW - DAY - 1, NOW, True),
        (0, NOW, True),  # a clock that was never set
        (NOW + S // 2, NOW, False),  # two clocks are never quite the same
        (NOW + S, NOW, False),
        (NOW + S + 1, NOW, True),
        (2**63 - 1, NOW, True),
    ],
)
def test_time_begins_with_the_capture_unless_that_cannot_be(capture_ns, begun, off):
    assert clock_is_off(capture_ns, NOW) is off
    assert begun_ns(capture_ns, NOW) == begun


def test_late_is_after_the_deadline_and_never_without_one():
    assert is_late(50.1, 50.0)
    assert not is_late(50.0, 50.0)
    assert not is_late(1e12, None)
    assert spent_ms(NOW, NOW + 40_000_000) == 40.0
    assert spent_ms(NOW, NOW - S) == 0.0, "our own clock was set back"


def test_percentiles_are_of_the_newest_thousand():
    latencies = Latencies()
    assert latencies.status() == {"n": 0, "p50": None, "p95": None, "p99": None}
    latencies.add(7.0)
    assert latencies.status() == {"n": 1, "p50": 7.0, "p95": 7.0, "p99": 7.0}
    for value in range(2000, 0, -1):
        latencies.add(float(value))
    assert latencies.status() == {"n": 1000, "p50": 500.0, "p95": 950.0, "p99": 990.0}


def test_late_scores_say_so_and_are_counted(backbone):
    sections = {
        "streams": [{"match": "slow", "deadline_ms": 1e-6}, {"match": "quick", "deadline_ms": 1e9}],
        "metrics": {"endpoint": "127.0.0.1:0"},
        "transport": {"revision_maps": "all"},
    }
    with watched(backbone, **sections) as (service, screen, camera):
        said = {}
        for stream in ("slow", "quick", "free"):
            for seed in range(3):
                camera.picture(seed, stream)
            said[stream] = screen.until(3, "score")
        control(service, "flush")
        assert all("late" not in fields for fields in screen.until(9, "revision"))
        late = {stream: [score["late"] for score in scores] for stream, scores in said.items()}
        assert late == {"slow": [True] * 3, "quick": [False] * 3, "free": [False] * 3}
        status = control(service, "status")
        counts = {name: stream["late"] for name, stream in status["streams"].items()}
        assert (status["late"], counts) == (3, {"slow": 3, "quick": 0, "free": 0})
        for stream, scores in said.items():
            spent = sorted((score["scored_ns"] - score["capture_ns"]) / 1e6 for score in scores)
            shown = status["streams"][stream]["latency_ms"]
            assert shown["n"] == 3
            assert (shown["p50"], shown["p95"], shown["p99"]) == pytest.approx(
                (spent[1], spent[2], spent[2]), abs=0.001
            )
        assert identity_holds(status)
        figures = scrape(service)
        assert figures['musc_frames_late_total{stream="slow"}'] == "3.0"
        assert figures['musc_frames_late_total{stream="free"}'] == "0.0"
        p50 = float(figures['musc_capture_to_score_seconds{quantile="0.5",stream="slow"}'])
        assert p50 == pytest.approx(status["streams"]["slow"]["latency_ms"]["p50"] / 1000)
        beats = {fields["stream"]: fields for fields in screen.until(8, "status")}
        assert (beats["slow"]["late"], beats["slow"]["latency_ms"]["n"], beats["-"]["late"]) == (3, 3, 3)
        endpoint = service.endpoints["control"]
        table = CliRunner().invoke(
            status_main, ["--endpoint", endpoint, "--timeout", str(PATIENCE_S)], env={"COLUMNS": "80"}
        )
        assert table.exit_code == 0
        assert all(len(line) <= 80 for line in table.stdout.splitlines())
        row = next(line.split() for line in table.stdout.splitlines() if line.split()[1:3] == ["3", "3"])
        assert row[0] == "slow"


def test_time_at_the_camera_and_on_the_way_counts(backbone):
    """A frame that is an hour old when it comes is late, however quickly it is scored, and matched with few.

    The hour is the frame's own, so that no clock decides this test.
    """
    sections = {"deadline_ms": 30 * MINUTE_MS, "ring": {"subsets": 3, "capacity": 12}, "warmup": 1}
    with watched(backbone, **sections) as (service, screen, camera):
        for seed in range(9):
            camera.picture(seed)
        fresh = screen.until(9, "score")
        assert not any(score["late"] for score in fresh)
        assert fresh[-1]["n_references"] == 8
        camera.picture(9, capture_ns=time.time_ns() - 3600 * S)
        (old,) = screen.until(1, "score")
        assert old["late"] is True
        assert (old["state"], old["n_references"]) == ("degraded", 3), "one subset of three"
        shown = control(service, "status")["streams"]["line"]
        assert shown["late"] == 1
        assert shown["latency_ms"]["p99"] >= 3600_000 > shown["latency_ms"]["p50"]
        assert shown["warned"] == {}


@pytest.mark.parametrize("capture_ns", [0, 2**63 - 1], ids=["never set", "in the future"])
def test_a_clock_that_is_wrong_is_told_and_poisons_nothing(backbone, capture_ns):
    """Time counts from the arrival then, and the percentiles are of the others."""
    sections = {"deadline_ms": 30 * MINUTE_MS, "ring": {"subsets": 3, "capacity": 12}, "warmup": 1}
    with watched(backbone, **sections) as (service, screen, camera):
        for seed in range(4):
            camera.picture(seed, capture_ns=capture_ns)
        heard = screen.until(5, "score", "error")
        (error,) = [fields for fields in heard if fields["kind"] == "error"]
        assert (error["code"], error["frame_id"]) == ("capture_off", "line-0")
        assert "set the sender's clock" in error["text"]
        scores = [fields for fields in heard if fields["kind"] == "score"]
        assert [score["capture_ns"] for score in scores] == [capture_ns] * 4, "echoed as it came"
        assert not any(score["late"] for score in scores)
        assert scores[-1]["n_references"] == 3, "no subset was left out"
        shown = control(service, "status")["streams"]["line"]
        assert (shown["warned"], shown["latency_ms"]["n"]) == ({"capture_off": 4}, 0)
        camera.picture(4)
        screen.until(1, "score")
        assert control(service, "status")["streams"]["line"]["latency_ms"]["n"] == 1
        camera.picture(5, capture_ns=capture_ns)
        assert screen.until(1, "error")[0]["frame_id"] == "line-5", "told again after one that was right"


def test_a_frame_without_a_capture_time_counts_from_its_arrival(backbone):
    with watched(backbone, deadline_ms=1e9) as (service, screen, camera):
        fields = header("a")
        del fields["capture_ns"]
        camera.send(fields, png(picture(0)))
        (score,) = screen.until(1, "score")
        assert score["late"] is False
        shown = control(service, "status")["streams"]["line"]
        assert (shown["latency_ms"]["n"], shown["warned"]) == (1, {})


def test_the_count_of_late_scores_outlives_a_restart(backbone, tmp_path):
    sections = {"deadline_ms": 1e-6, "history": {"path": str(tmp_path / "history.sqlite")}}
    for after in (1, 2):
        with (
            serving(config(tmp_path, **sections), backbone) as service,
            Subscriber(service.endpoints["scores"], timeout_s=PATIENCE_S) as subscriber,
            Publisher(service.endpoints["frames"], "line", wait_s=PATIENCE_S) as publisher,
        ):
            subscriber.receive()
            publisher.send(picture(after))
            while subscriber.receive().kind != "score":
                pass
            shown = control(service, "status")["streams"]["line"]
            assert (shown["late"], shown["latency_ms"]["n"]) == (after, 1)


def test_a_tally_of_before_has_no_late_scores():
    ledger = Ledger()
    ledger.resume("line", {"scored": 4, "dropped": {}, "refused": {}, "warned": {}})
    assert ledger.streams()["line"]["late"] == 0

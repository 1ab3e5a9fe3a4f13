"""Watching a detector: Prometheus, the status command and its exit code, heartbeats, limits on senders."""

import shutil
from importlib import metadata

import pytest
import zmq
from click.testing import CliRunner
from streamer_support import (
    PATIENCE_S,
    Camera,
    Screen,
    backbone,
    control,
    header,
    identity_holds,
    scrape,
    serving,
    small_config,
    watched,
)

from streamer.server import host
from streamer.server.rate import Rates
from streamer.status import main as status_main

__all__ = ["backbone"]


def test_prometheus_tells_what_status_tells(backbone):
    with watched(backbone, metrics={"endpoint": "127.0.0.1:0"}) as (service, screen, camera):
        for seed in range(3):
            camera.picture(seed)
        camera.send(header("bad", seq=None), b"")
        camera.send({}, b"")
        screen.until(5, "score", "error")
        figures = scrape(service)
        assert figures['musc_frames_received_total{stream="line"}'] == "4.0"
        assert figures['musc_frames_scored_total{stream="line"}'] == "3.0"
        assert figures['musc_frames_refused_total{reason="undecodable",stream="line"}'] == "1.0"
        assert figures['musc_frames_refused_total{reason="unsupported_version",stream="-"}'] == "1.0"
        assert figures['musc_ring_images{stream="line"}'] == "3.0"
        assert figures['musc_latency_seconds_count{phase="backbone"}'] == "3.0"
        assert float(figures['musc_bytes{where="rings"}']) == control(service, "status")["bytes"]["rings"] > 0
        assert figures["musc_degraded"] == "0.0"


def test_the_histogram_of_raw_scores_is_of_open_streams_only(backbone):
    sections = {"metrics": {"endpoint": "127.0.0.1:0"}, "limits": {"streams": 1}}
    with watched(backbone, **sections) as (service, screen, camera):
        for seed in range(5):
            camera.picture(seed)
        scores = [fields["raw_score"] for fields in screen.until(5, "score")]
        figures = scrape(service)
        assert figures['musc_raw_score_count{stream="line"}'] == "4.0", "the first has no score"
        total = float(figures['musc_raw_score_sum{stream="line"}'])
        assert total == pytest.approx(sum(scores[1:]))
        for edge in ("0.02", "0.25", "0.5", "2.0"):
            below = sum(score <= float(edge) for score in scores[1:])
            assert float(figures[f'musc_raw_score_bucket{{le="{edge}",stream="line"}}']) == below
        assert figures['musc_raw_score_bucket{le="2.0",stream="line"}'] == "4.0"
        control(service, "reset", stream="line")
        camera.picture(0, "other")  # takes the place of the one that has nothing in its ring
        screen.until(1, "score")
        camera.picture(1, "other")
        screen.until(1, "score")
        figures = scrape(service)
        named = {name for name in figures if name.startswith("musc_raw_score_count")}
        assert named == {'musc_raw_score_count{stream="other"}'}
        camera.send(header("bad", "other", seq=2), b"")
        screen.until(1, "error")
        assert scrape(service)['musc_raw_score_count{stream="other"}'] == "1.0"


def test_status_says_of_what_it_is_and_how_much_room_is_left(backbone, tmp_path):
    sections = {
        "snapshot": {"path": str(tmp_path / "rings")},
        "history": {"path": str(tmp_path / "new" / "history.sqlite")},
    }
    with watched(backbone, **sections) as (service, screen, camera):
        camera.picture(0)
        screen.until(1, "score")
        status = control(service, "status")
    assert status["version"] == metadata.version("musc-online")
    for where in ("history", "snapshot"):
        assert 0 < status[where]["free_bytes"] <= shutil.disk_usage(tmp_path).total
    assert {"queued", "last_frame", "state", "images", "capacity", "threshold", "picture"} <= status[
        "streams"
    ]["line"].keys()
    with serving(small_config(), backbone) as service:
        status = control(service, "status")
    assert (status["history"]["free_bytes"], status["snapshot"]["free_bytes"]) == (None, None)
    assert host.free_bytes(tmp_path / "gone" / "too") is None


def test_the_status_command_is_a_health_check(backbone):
    with watched(backbone) as (service, screen, camera):
        camera.picture(0)
        screen.until(1, "score")
        endpoint = service.endpoints["control"]
        well = CliRunner().invoke(status_main, ["--endpoint", endpoint, "--timeout", str(PATIENCE_S)])
        assert (well.exit_code, "line" in well.stdout) == (0, True)
    down = CliRunner().invoke(status_main, ["--endpoint", endpoint, "--timeout", "0.2"])
    assert (down.exit_code, down.stderr.count("\n")) == (2, 1)


def test_heartbeats_carry_the_ledger(backbone):
    with watched(backbone) as (_, screen, camera):
        camera.picture(0)
        screen.until(1, "score")
        beats = screen.until(4, "status")
        assert {fields["stream"] for fields in beats} == {"-", "line"}
        assert all(identity_holds(fields) for fields in beats)


def test_a_sender_above_its_rate_is_refused(backbone):
    # One at once, and the next in a quarter of an hour.
    with watched(backbone, limits={"rate": 0.001}) as (service, screen, camera):
        for _ in range(50):
            camera.send({}, b"")
        codes = [fields["code"] for fields in screen.until(50, "error")]
        assert codes == ["unsupported_version"] + ["rate_limited"] * 49
        assert identity_holds(control(service, "status"))


def test_rates_are_per_sender_and_bounded():
    rates = Rates(0.001)
    assert rates.allow("a")
    assert not rates.allow("a")
    assert rates.allow("b")
    for index in range(5000):
        rates.allow(str(index))
    assert len(rates._buckets) <= 1024


def test_a_giant_part_cuts_off_its_sender_and_nobody_else(backbone):
    config = small_config(limits={"payload_bytes": 100_000})
    with (
        serving(config, backbone) as service,
        Screen(service) as screen,
        Camera(service.endpoints["frames"]) as good,
        Camera(service.endpoints["frames"]) as bad,
    ):
        good.picture(0)
        bad.send(header("above the limit", seq=None), bytes(150_000))
        assert {fields.get("code") for fields in screen.until(2, "score", "error")} == {
            None,
            "payload_too_large",
        }
        bad.socket.setsockopt(zmq.LINGER, 0)
        bad.send(header("far above it", seq=None), bytes(1_000_000))
        good.picture(1)
        assert screen.until(1, "score")[0]["frame_id"] == "line-1"
        assert control(service, "status")["scored"] == 2


def test_half_a_multipart_is_never_a_message(backbone):
    with serving(small_config(), backbone) as service, Screen(service) as screen:
        with Camera(service.endpoints["frames"]) as broken:
            broken.socket.setsockopt(zmq.LINGER, 0)
            broken.socket.send(b"half", zmq.SNDMORE)
        with Camera(service.endpoints["frames"]) as camera:
            camera.picture(0)
            assert screen.until(1, "score", "error")[0]["kind"] == "score"
        assert control(service, "status")["received"] == 1

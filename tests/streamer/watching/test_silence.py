"""A real camera falls silent before a real detector; a real Prometheus tells it, by the rules as they are."""

import shutil

import pytest
from camera_support import MjpegCamera, Publish
from prometheus_support import Prometheus, alerts, program
from streamer_support import backbone, serving, small_config, until

from streamer import auth

__all__ = ["backbone"]

SILENT_S = 3


def plant(stream):
    """A line on which three seconds are a silence; one that may be silent for ever."""
    return [
        {"record": "musc:plant:silent_seconds", "expr": f"vector({SILENT_S})", "labels": {"stream": stream}},
        {"record": "musc:plant:silent_seconds", "expr": "vector(Inf)", "labels": {"stream": "other"}},
    ]


@pytest.fixture(
    params=[
        pytest.param(True, id="with keys"),
        pytest.param(False, id="without keys", marks=pytest.mark.slow),
    ]
)
def keys(request, tmp_path):
    """The folder of the detector's keys, or None."""
    if not request.param:
        return None
    auth.create_keys(tmp_path / "keys", {"camera": "publishers"})
    return tmp_path / "keys"


@pytest.fixture
def token(keys, tmp_path):
    """A copy for Prometheus of what scrapes must show, or None."""
    return None if keys is None else shutil.copy(keys / "metrics.token", tmp_path / "metrics.token")


@pytest.fixture
def detector(backbone, keys):
    program("prometheus")
    pytest.importorskip("av", reason="PyAV is not installed: pip install -e '.[camera]'")
    sections = {"metrics": {"endpoint": "127.0.0.1:0"}, "transport": {"when_full": "drop_oldest"}}
    if keys is not None:
        sections["security"] = {"keys": str(keys)}
    with serving(small_config(**sections), backbone) as service:
        yield service


def sent_by(camera, detector, keys):
    """Options of `publish`."""
    options = ["--source", camera.url, "--stream", "line", "--endpoint", detector.endpoints["frames"]]
    options += ["--fps", "5", "--lost-after", "1"]
    if keys is not None:
        options += [
            "--key",
            str(keys / "clients" / "camera.key_secret"),
            "--server-key",
            str(keys / "server.key"),
        ]
    return options


def test_a_silence_is_told_until_frames_come_again(detector, keys, token, tmp_path):
    targets = {"musc": detector.endpoints["metrics"]}
    with (
        MjpegCamera() as camera,
        Publish(*sent_by(camera, detector, keys)),
        Prometheus(tmp_path / "prometheus", targets, plant("line"), token) as prometheus,
    ):
        until(lambda: prometheus.value('musc_source_state{state="live"}') == 1)
        until(lambda: prometheus.value('musc:silent_limit_seconds{stream="line"}') == SILENT_S)
        until(lambda: (prometheus.value("musc_uptime_seconds") or 0) > SILENT_S)
        until(lambda: prometheus.alert("MuscCameraSilent") is None)
        camera.hold(True)
        told = prometheus.wait_for("MuscCameraSilent", "firing")
        assert told["labels"] == {
            "alertname": "MuscCameraSilent",
            "instance": targets["musc"],
            "job": "musc",
            "severity": "critical",
            "stream": "line",
        }
        assert told["annotations"]["summary"].startswith("line: no part was looked at for ")
        prometheus.wait_for("MuscCameraLost", "pending", "firing")
        camera.hold(False)
        until(lambda: prometheus.alert("MuscCameraSilent") is None)
        until(lambda: prometheus.alert("MuscCameraLost") is None)
        assert prometheus.value('up{job="musc"}') == 1
        ours = [rule for group in prometheus.api("rules")["groups"] for rule in group["rules"]]
        assert {rule["name"] for rule in ours if rule["type"] == "alerting"} == alerts().keys()
        assert {(rule["health"], rule.get("lastError")) for rule in ours} == {("ok", None)}


@pytest.mark.slow
@pytest.mark.parametrize("keys", [True], ids=["with keys"], indirect=True)
def test_a_scrape_without_the_token_sees_a_detector_that_is_down(detector, tmp_path):
    targets = {"musc": detector.endpoints["metrics"]}
    with Prometheus(tmp_path / "prometheus", targets) as prometheus:
        until(lambda: prometheus.value('up{job="musc"}') == 0)
        assert (
            prometheus.wait_for("MuscDetectorDown", "pending", "firing")["labels"]["instance"]
            == targets["musc"]
        )
        (target,) = prometheus.api("targets")["activeTargets"]
        assert "401" in target["lastError"]

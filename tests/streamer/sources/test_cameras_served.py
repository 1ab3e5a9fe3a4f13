"""Cameras that are killed, held up, away at the start, and come back while they publish to a detector."""

import re
import signal

import pytest
from camera_support import MjpegCamera, Publish, RtspCamera
from streamer_support import PATIENCE_MS, identity_holds, until
from web_support import certificate

from streamer.ask import ask

pytest.importorskip("av", reason="PyAV is not installed: pip install -e '.[camera]'")

CAMERAS = pytest.mark.parametrize("kind", [RtspCamera, MjpegCamera])
RTSP_AT_LEAST = pytest.mark.parametrize(
    "kind", [RtspCamera, pytest.param(MjpegCamera, marks=pytest.mark.slow)]
)
"""`test_camera_told.py` and `test_watched.py` do the like with the other kind."""
MJPEG_AT_LEAST = pytest.mark.parametrize(
    "kind", [pytest.param(RtspCamera, marks=pytest.mark.slow), MjpegCamera]
)


class Line:
    """What the detector knows of one stream."""

    def __init__(self, detector, stream):
        self.stream, self._control = stream, detector.endpoints["control"]
        self.options = ["--stream", stream, "--endpoint", detector.endpoints["frames"]]
        self.reliable = ["--stream", stream, "--reliable", "--endpoint", detector.endpoints["reliable"]]

    def status(self, of="streams"):
        answer = ask({"kind": "status"}, self._control, timeout_s=PATIENCE_MS / 1000)
        return answer[of].get(self.stream, {})

    def scored(self):
        return self.status().get("scored", 0)

    def more_scored(self, count=3):
        """Wait until so many more are scored than by now."""
        wanted = self.scored() + count
        until(lambda: self.scored() >= wanted)

    def settled(self):
        """Once nothing waits any more, every frame is accounted for."""
        until(lambda: self.status()["queued"] == 0)
        assert identity_holds(self.status())
        return self.status()


@RTSP_AT_LEAST
def test_a_camera_that_is_killed_and_started_again_goes_on(detector, kind):
    line = Line(detector, f"killed-{kind.__name__}")
    with kind() as camera, Publish("--source", camera.url, "--fps", "5", *line.options) as publish:
        line.more_scored()
        camera.kill()
        publish.says("it is waited for")
        before = line.settled()
        camera.start()
        publish.says("is live", times=2)
        line.more_scored()
        camera.kill()
        publish.says("it is waited for", times=2)
        after = line.settled()
        assert after["received"] >= before["received"] + 3
        assert after["refused"] == {}
        assert publish.end() == 128 + signal.SIGTERM
        publish.says("1 reconnects")
        assert f" {after['received']} handed on" in publish.said[-1]
        assert not any("Traceback" in said for said in publish.said)


@MJPEG_AT_LEAST
def test_a_camera_that_is_not_there_yet_is_waited_for(detector, kind):
    line = Line(detector, f"later-{kind.__name__}")
    with kind() as camera:
        camera.kill()
        with Publish("--source", camera.url, "--fps", "5", *line.reliable) as publish:
            publish.says("it is waited for")
            assert line.status().get("received", 0) == 0
            camera.start()
            publish.says("is live")
            line.more_scored()
            publish.end(signal.SIGINT)
        line.settled()


@RTSP_AT_LEAST
def test_a_camera_that_falls_silent_is_noticed(detector, kind):
    line = Line(detector, f"silent-{kind.__name__}")
    with (
        kind() as camera,
        Publish("--source", camera.url, "--lost-after", "1", *line.options) as publish,
    ):
        line.more_scored()
        camera.hold(True)
        publish.says("silent for 1 s")
        camera.hold(False)
        publish.says("is live", times=2)
        line.more_scored()
        publish.end()
    line.settled()


@CAMERAS
def test_a_password_is_used_and_never_shown(detector, kind):
    line = Line(detector, f"secret-{kind.__name__}")
    with kind("--login", "eye:s3cr3t-word") as camera:
        right = camera.url.replace("://", "://eye:s3cr3t-word@")
        wrong = camera.url.replace("://", "://eye:wr0ng-word@")
        with Publish("--source", right, "--fps", "5", *line.options) as publish:
            line.more_scored()
            publish.end()
        assert "s3cr3t-word" not in "\n".join(publish.said)
        with Publish("--source", wrong, *line.options) as publish:
            publish.says("refuses our user or password")
            publish.end()
        assert "wr0ng-word" not in "\n".join(publish.said)
        assert camera.url in publish.said[0]


def test_what_is_older_than_the_limit_is_left_out_and_counted(detector):
    line = Line(detector, "aged")
    with (
        MjpegCamera() as camera,
        Publish("--source", camera.url, "--fps", "5", "--max-age", "1e-9", *line.options) as publish,
    ):
        publish.says("is live")
        until(lambda: line.status("sources").get("counts", {}).get("too_old", 0) > 0)
        publish.end()
    assert " 0 handed on" in publish.said[-1]
    assert line.status().get("received", 0) == 0


def test_what_no_detector_would_take_is_counted_as_not_sent(detector):
    line = Line(detector, "too-large")
    with (
        MjpegCamera() as camera,
        Publish("--source", camera.url, "--payload-bytes", "100", *line.options) as publish,
    ):
        publish.says("a picture cannot be sent")
        until(lambda: line.status("sources").get("counts", {}).get("not_sent", 0) > 0)
        assert line.status("sources")["counts"]["sent"] == 0
        publish.end()
    read, not_sent = re.search(
        r" (\d+) pictures read, 0 handed on, .* (\d+) not sent", publish.said[-1]
    ).groups()
    assert int(read) >= int(not_sent) > 0
    assert sum("cannot be sent" in said for said in publish.said) == 1


def test_an_encrypted_camera_is_known_by_its_certificate(detector, tmp_path):
    line = Line(detector, "encrypted")
    for name in ("camera", "another"):
        (tmp_path / name).mkdir()
    certificates, key = certificate(tmp_path / "camera", "IP:127.0.0.1")
    another, _ = certificate(tmp_path / "another", "IP:127.0.0.1")
    both = tmp_path / "both.pem"
    both.write_text(certificates.read_text() + key.read_text())
    with MjpegCamera("--certificate", str(both)) as camera:
        source = ["--source", camera.url.replace("http:", "https:"), *line.options]
        with Publish(*source, "--camera-ca", str(another)) as publish:
            publish.says("is its certificate signed by one of")
            publish.end()
        assert line.status().get("received", 0) == 0
        with Publish(*source, "--camera-ca", str(certificates)) as publish:
            line.more_scored()
            publish.end()

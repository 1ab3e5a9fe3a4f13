"""What a real camera goes through is heard of by who subscribes: waited for, live, lost, back, ended."""

import signal
import time

import pytest
from camera_support import MjpegCamera, Publish, RtspCamera
from streamer_support import PATIENCE_MS, PATIENCE_S, Screen

from streamer.ask import ask

pytest.importorskip("av", reason="PyAV is not installed: pip install -e '.[camera]'")


def hears(screen, state, reconnects=0):
    """Wait for a word with this state, from a camera that came back so often; every word comes again."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        said = screen.until(1, "source")[0]
        if said["state"] == state and said["counts"].get("reconnects", 0) >= reconnects:
            return said
    pytest.fail(f"nobody said {state}")


@pytest.mark.parametrize("way", ["frames", "reliable"])
def test_every_state_of_a_camera_is_heard_of(detector, way):
    stream = f"told-{way}"
    options = ["--stream", stream, "--endpoint", detector.endpoints[way], "--fps", "5"]
    options += ["--reliable"] if way == "reliable" else []
    kind = RtspCamera if way == "frames" else MjpegCamera
    with kind() as camera, Screen(detector, f"{stream}/") as screen:
        camera.kill()
        with Publish("--source", camera.url.replace("://", "://eye:s3cr3t@"), *options) as publish:
            waiting = hears(screen, "waiting")
            assert (waiting["source"], waiting["age_ms"]) == (camera.url, None)
            control = detector.endpoints["control"]
            status = ask({"kind": "status"}, control, timeout_s=PATIENCE_MS / 1000)
            assert status["sources"][stream]["state"] == "waiting"
            camera.start()
            hears(screen, "live")
            score = screen.until(1, "score")[0]
            assert score["late"] is False
            camera.kill()
            lost = hears(screen, "lost")
            assert lost["counts"]["sent"] >= 1
            assert lost["age_ms"] >= 0
            assert lost["since_ns"] > score["capture_ns"]
            assert lost["text"] != ""
            camera.start()
            live = hears(screen, "live", reconnects=1)
            publish.end(signal.SIGTERM)
            ended = hears(screen, "ended")
            assert ended["counts"]["reconnects"] == 1
            assert "s3cr3t" not in repr((waiting, lost, live, ended))
        status = ask({"kind": "status"}, control, timeout_s=PATIENCE_MS / 1000)
        assert status["streams"][stream]["source"]["state"] == "ended"


@pytest.mark.slow
def test_a_publisher_that_is_killed_is_missed(detector):
    stream = "missed"
    options = ["--stream", stream, "--endpoint", detector.endpoints["frames"], "--fps", "5"]
    with MjpegCamera() as camera, Screen(detector, f"{stream}/source") as screen:
        with Publish("--source", camera.url, *options) as publish:
            live = hears(screen, "live")
            publish.end(signal.SIGKILL)
        unknown = hears(screen, "unknown")
        assert unknown["source"] == live["source"] == camera.url
        assert unknown["since_ns"] - unknown["heard_ns"] == 15 * 10**9

"""Real cameras as processes: killed, held up, and started again on the same port."""

import os
import signal
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path

import pytest
from streamer_support import PATIENCE_S, until

_HERE = Path(__file__).resolve().parent
_SYSTEM_PYTHON = "/usr/bin/python3"
_ELEMENTS = {
    "appsrc": "gstreamer1.0-plugins-base",
    "jpegenc": "gstreamer1.0-plugins-good",
    "pngdec": "gstreamer1.0-plugins-good",
    "rtph264pay": "gstreamer1.0-plugins-good",
    "x264enc": "gstreamer1.0-plugins-ugly",
}
_H265 = {"rtph265pay": "gstreamer1.0-plugins-good", "x265enc": "gstreamer1.0-plugins-bad"}
_LOOK = """
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
import sys
print(*(name for name in sys.argv[1:] if Gst.ElementFactory.find(name) is None))
"""


@cache
def missing_for_rtsp(is_h265=False):
    """Why no RTSP camera can be started here; "" where one can."""
    elements = _ELEMENTS | (_H265 if is_h265 else {})
    if not Path(_SYSTEM_PYTHON).exists():
        return f"{_SYSTEM_PYTHON} is not there: Debian's python3"
    done = subprocess.run(
        [_SYSTEM_PYTHON, "-c", _LOOK, *elements], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return "Debian's python3-gi and gir1.2-gst-rtsp-server-1.0 are not installed"
    packages = sorted({elements[name] for name in done.stdout.split()})
    return f"Debian's {', '.join(packages)} is not installed" if packages else ""


class CameraProcess:
    """Starts at `with`, and is killed after it.

    Args:
        script: beside this file.
        options: of its command line.
    """

    path = "/line"

    def __init__(self, python, script, *options):
        self._command = [python, str(_HERE / script), *options]
        self._port = 0
        self._process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()

    @property
    def place(self):
        return f"127.0.0.1:{self._port}{self.path}"

    def start(self):
        """Start it, again on the port that it had, and wait until it answers."""
        self._process = subprocess.Popen(
            [*self._command, "--port", str(self._port)], stdout=subprocess.PIPE, text=True
        )
        line = self._process.stdout.readline()
        assert line.startswith("port "), "the camera did not come up"
        self._port = int(line.removeprefix("port "))

    def kill(self):
        self.hold(False)
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def hold(self, held):
        """Stop it as it is, its connections open; or let it go on."""
        self._process.send_signal(signal.SIGSTOP if held else signal.SIGCONT)


class RtspCamera(CameraProcess):
    def __init__(self, *options):
        if missing := missing_for_rtsp("h265" in options):
            pytest.skip(missing)
        super().__init__(_SYSTEM_PYTHON, "rtsp_camera.py", *options)

    @property
    def url(self):
        return f"rtsp://{self.place}"


class MjpegCamera(CameraProcess):
    def __init__(self, *options):
        super().__init__(sys.executable, "mjpeg_camera.py", *options)

    @property
    def url(self):
        return f"http://{self.place}"


class Publish:
    """`python -m streamer.publish` as a process; what it says on standard error is kept."""

    def __init__(self, *options):
        self.said = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "streamer.publish", *options],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end(signal.SIGKILL)

    def _read(self):
        for line in self._process.stderr:
            self.said.append(line.rstrip("\n"))

    def says(self, text, times=1):
        """Wait until it has said something so often."""
        until(lambda: self._ended() or sum(text in line for line in self.said) >= times)
        assert sum(text in line for line in self.said) >= times, self.said

    def _ended(self):
        return self._process.poll() is not None and not self._reader.is_alive()

    def end(self, number=signal.SIGTERM):
        """Its exit status, once it has ended."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        status = self._process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        self._process.stderr.close()
        return status

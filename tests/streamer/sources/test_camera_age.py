"""How old a camera's pictures are when they come out of `publish`, by the moment that is drawn into them."""

import time
from statistics import median

import cv2
import drawn_time
import msgpack
import numpy as np
import pytest
import zmq
from camera_support import MjpegCamera, Publish, RtspCamera
from streamer_support import PATIENCE_MS

pytest.importorskip("av", reason="PyAV is not installed: pip install -e '.[camera]'")

ALLOWED_MS = 300
MS = 1_000_000


class Receiver:
    """Takes frames as a detector does, as soon as they come."""

    def __init__(self):
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PULL)
        self._socket.setsockopt(zmq.RCVTIMEO, PATIENCE_MS)
        self.endpoint = f"tcp://127.0.0.1:{self._socket.bind_to_random_port('tcp://127.0.0.1')}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._context.destroy(0)

    def frame(self):
        """The next frame's capture time, the moment drawn into it, and when it came; ns since 1970."""
        while True:
            parts = self._socket.recv_multipart()
            came = time.time_ns()
            header = msgpack.unpackb(parts[0])
            if header["kind"] == "frame":
                picture = cv2.imdecode(np.frombuffer(parts[1], np.uint8), cv2.IMREAD_COLOR)
                return header["capture_ns"], drawn_time.read(picture), came


def ages(camera, fps, count):
    """True age on arrival, and how much older the publisher says the frame is; milliseconds, by frame."""
    paced = [] if fps is None else ["--fps", str(fps)]
    with (
        Receiver() as receiver,
        Publish("--source", camera.url, "--stream", "line", "--endpoint", receiver.endpoint, *paced),
    ):
        found = [receiver.frame() for _ in range(count)]
    moments = [drawn for _, drawn, _ in found]
    assert moments == sorted(set(moments)), "a picture came twice, or after a younger one"
    true = [(came - drawn) / MS for _, drawn, came in found]
    off = [(drawn - capture) / MS for capture, drawn, _ in found]
    print(f"age in ms: median {median(true):.1f}, largest {max(true):.1f}; "
          f"capture_ns off by {median(map(abs, off)):.1f}, at most {max(map(abs, off)):.1f}")  # fmt: skip
    return true, off


@pytest.mark.parametrize(
    ("kind", "camera_fps", "fps", "count"),
    [
        (RtspCamera, 10, 2, 8),
        (MjpegCamera, 10, 2, 8),
        pytest.param(RtspCamera, 30, None, 120, marks=pytest.mark.slow),
        pytest.param(RtspCamera, 30, 7, 40, marks=pytest.mark.slow),
        pytest.param(RtspCamera, 10, 0.5, 5, marks=pytest.mark.slow),
        pytest.param(MjpegCamera, 30, None, 120, marks=pytest.mark.slow),
    ],
)
def test_a_frame_is_no_older_than_an_interval_and_a_little(kind, camera_fps, fps, count):
    with kind("--fps", str(camera_fps)) as camera:
        true, off = ages(camera, fps, count)
    # Of these the median: a busy machine holds up single frames, a buffer all that come after.
    allowed = 1000 / camera_fps + ALLOWED_MS
    assert median(true) < allowed
    assert median(true[-4:]) < allowed
    assert median(map(abs, off)) < allowed


@pytest.mark.slow
@pytest.mark.parametrize("kind", [RtspCamera, MjpegCamera])
def test_what_a_camera_gave_before_it_died_is_not_sent_when_its_turn_comes(kind):
    with (
        Receiver() as receiver,
        kind() as camera,
        Publish(
            "--source", camera.url, "--stream", "line", "--endpoint", receiver.endpoint, "--fps", "0.1"
        ) as publish,
    ):
        receiver.frame()
        time.sleep(1)  # so that a newer one waits; its turn comes after 10 s
        camera.kill()
        publish.says("it is waited for")
        dead_ns = time.time_ns()
        camera.start()
        assert receiver.frame()[1] > dead_ns


def test_h265_by_rtsp_is_read_too():
    with RtspCamera("--codec", "h265") as camera:
        assert len(ages(camera, None, 3)[0]) == 3


def test_other_codecs_by_rtsp_and_parts_without_a_length_are_read_too():
    for codec in ("jpeg", "vp8"):
        with RtspCamera("--codec", codec) as camera:
            assert len(ages(camera, None, 3)[0]) == 3
    with MjpegCamera("--no-length") as camera:
        assert len(ages(camera, None, 3)[0]) == 3

"""Who takes frames as a detector does, as soon as they come: away, held up and back as a test says."""

import time
from dataclasses import dataclass

import cv2
import drawn_time
import msgpack
import numpy as np
import zmq
from streamer_support import PATIENCE_MS, until


@dataclass(frozen=True)
class Taken:
    """A frame: its id, its capture time, the moment drawn into it and when it came, ns since 1970."""

    frame_id: int | str
    capture_ns: int
    payload: bytes
    came_ns: int

    @property
    def drawn_ns(self) -> int:
        pixels = np.frombuffer(self.payload, np.uint8)
        return drawn_time.read(cv2.imdecode(pixels, cv2.IMREAD_COLOR))


class FrameReceiver:
    """Takes frames; over the reliable port it acknowledges each one as scored, unless it is told not to."""

    def __init__(self, *, reliable: bool = False) -> None:
        self._context = zmq.Context()
        self._kind = zmq.ROUTER if reliable else zmq.PULL
        self.acknowledges = True
        self._socket = self._bound("tcp://127.0.0.1:*")
        self.endpoint = self._socket.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\0").decode()

    def __enter__(self) -> "FrameReceiver":
        return self

    def __exit__(self, *_: object) -> None:
        self._context.destroy(0)

    def goes(self) -> None:
        """As if the detector was killed: what it had not read is lost."""
        self._socket.close(0)

    def comes_back(self) -> None:
        """On the port that it had."""
        self._socket = self._bound(self.endpoint)

    def frame(self) -> Taken:
        """The next frame."""
        while True:
            *sender, head, payload = self._socket.recv_multipart()
            came_ns = time.time_ns()
            header = msgpack.unpackb(head)
            if header["kind"] != "frame":
                continue
            if sender and self.acknowledges:
                answer = {
                    "v": 1,
                    "status": "scored",
                    "frame_id": header["frame_id"],
                    "stream": header["stream"],
                }
                self._socket.send_multipart([*sender, msgpack.packb(answer)])
            return Taken(header["frame_id"], header["capture_ns"], payload, came_ns)

    def _bound(self, endpoint: str) -> "zmq.Socket[bytes]":
        socket = self._context.socket(self._kind)
        socket.rcvtimeo = PATIENCE_MS
        until(lambda: _is_bound(socket, endpoint))  # the one before is closed by another thread, in its time
        return socket


def _is_bound(socket: "zmq.Socket[bytes]", endpoint: str) -> bool:
    try:
        socket.bind(endpoint)
    except zmq.ZMQError:
        return False
    return True

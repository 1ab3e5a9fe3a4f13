"""What a plain subscriber hears beside the page: when each score came, and which were alarms."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from streamer.errors import StreamerError
from streamer.subscribe import Subscriber

_TICK_S = 0.2


def key_of(frame_id: int | str) -> str:
    """As the page writes an id in its DOM: `i:17` or `s:part-0017`."""
    return f"i:{frame_id}" if isinstance(frame_id, int) else f"s:{frame_id}"


@dataclass
class Heard:
    """Of one stream, by key.

    Attributes:
        came: when its score came, milliseconds since 1970.
        anomalous: those whose score said so on arrival.
        dropped: frames told as dropped.
    """

    came: dict[str, float] = field(default_factory=dict)
    anomalous: set[str] = field(default_factory=set)
    dropped: int = 0


class Watch(threading.Thread):
    """Subscribes as any program does, and writes down when; a context manager."""

    def __init__(self, endpoint: str, stream: str) -> None:
        super().__init__(name="watch", daemon=True)
        self.heard = Heard()
        self._stream = stream
        self._stopping = threading.Event()
        self._up = threading.Event()
        self._subscriber = Subscriber(endpoint, timeout_s=_TICK_S, wait_s=30.0, queue=0)

    def __enter__(self) -> "Watch":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self.join()
        self._subscriber.close()

    def wait_up(self, timeout_s: float) -> None:
        """Wait for a heartbeat: from then on nothing is missed.

        Raises:
            StreamerError: none came.
        """
        if not self._up.wait(timeout_s):
            raise StreamerError(f"scores: no heartbeat within {timeout_s:g} s")

    def run(self) -> None:
        """Listen until stopped."""
        while not self._stopping.is_set():
            message = self._subscriber.receive()
            if message is None:
                continue
            came = time.time() * 1000
            self._up.set()
            if message.get("stream") == self._stream:
                self._take(message.kind, message, came)

    def _take(self, kind: str, header: Mapping[str, Any], came: float) -> None:
        if kind == "score":
            key = key_of(header["frame_id"])
            self.heard.came[key] = came
            if header["pred_label"]:
                self.heard.anomalous.add(key)
        elif kind == "dropped":
            self.heard.dropped += 1

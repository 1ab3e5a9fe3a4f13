"""What a load test sees from outside: every score and drop published, gaps filled from the history."""

import threading
import time
from collections import Counter, defaultdict
from typing import Any

from streamer.ask import ask
from streamer.errors import StreamerError
from streamer.published import Message
from streamer.subscribe import Subscriber
from streamer.wire import unpack

_HEADER = 4 * 1024 * 1024
_PAGE_S = 60.0


class Watch(threading.Thread):
    """Subscribes to everything and counts, until stopped.

    Attributes:
        latencies_ms: from capture to the score's arrival here, of scores that came live.
        fetched: scores that had to be fetched, because they were published while nobody listened.
    """

    def __init__(self, endpoint: str, prefix: str) -> None:
        super().__init__(name="watch", daemon=True)
        self.latencies_ms: list[float] = []
        self.fetched = 0
        self.dropped: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self._prefix = prefix
        self._scored: dict[str, dict[int, int | str]] = defaultdict(dict)
        self._stopping = threading.Event()
        self._up = threading.Event()
        self._subscriber = Subscriber(endpoint, timeout_s=0.2, wait_s=30.0, queue=0)

    def wait_up(self, timeout_s: float) -> None:
        """Wait for a heartbeat: from then on nothing is missed but by a restart.

        Raises:
            StreamerError: none came.
        """
        if not self._up.wait(timeout_s):
            raise StreamerError(f"scores: no heartbeat within {timeout_s:g} s")

    def run(self) -> None:
        """Count until stopped."""
        while not self._stopping.is_set():
            message = self._subscriber.receive()
            if message is None:
                continue
            self._up.set()
            if str(message.get("stream")).startswith(self._prefix):
                self._take(message)

    def stop(self) -> None:
        """Take what came already, then end."""
        time.sleep(0.5)
        self._stopping.set()
        self.join()
        self._subscriber.close()

    def fetch(self, control: str, streams: list[str]) -> None:
        """Ask the history for the scores that did not come live."""
        for stream in streams:
            topic, first, more = f"{stream}/score", 0, True
            while more:
                answer = ask({"kind": "history", "topic": topic, "first": first}, control, timeout_s=_PAGE_S)
                for entry in answer["messages"]:
                    first = entry["pub_seq"] + 1
                    if entry["pub_seq"] not in self._scored[stream]:
                        self.fetched += 1
                        header = unpack(entry["header"], _HEADER)
                        self._scored[stream][entry["pub_seq"]] = header["frame_id"]
                more = answer["more"]

    def scored(self, stream: str) -> Counter[Any]:
        """How often each frame of a stream was scored."""
        return Counter(self._scored[stream].values())

    def _take(self, message: Message) -> None:
        if message.kind == "score":
            self.latencies_ms.append((time.time_ns() - int(message["capture_ns"])) / 1e6)
            self._scored[message["stream"]][message["pub_seq"]] = message["frame_id"]
        elif message.kind == "dropped":
            self.dropped[str(message.get("reason"))] += 1
        elif message.kind == "error":
            self.errors[str(message.get("code"))] += 1

"""What a load test sees from outside: every score and drop published, gaps filled from the history."""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from streamer.ask import ask
from streamer.errors import StreamerError
from streamer.subscribe import Subscriber
from streamer.wire.frame import unpack
from streamer.wire.published import Message

_HEADER = 4 * 1024 * 1024
_PAGE_S = 60.0
_DRAIN_S = 5.0


class Watch(threading.Thread):
    """Subscribes to everything and counts, until stopped.

    Attributes:
        latencies_ms: from capture to the score's arrival here, of scores that came live.
        fetched: scores that had to be fetched, because they were published while nobody listened.
        errors: how many of each code.
    """

    def __init__(self, endpoint: str, prefix: str) -> None:
        super().__init__(name="watch", daemon=True)
        self.latencies_ms: list[float] = []
        self.fetched = 0
        self.errors: Counter[str] = Counter()
        self._prefix = prefix
        # By `pub_seq`: what is heard live and fetched as well counts once.
        self._scored: dict[str, dict[int, tuple[int | str, float | None]]] = defaultdict(dict)
        self._dropped: dict[str, dict[int, str]] = defaultdict(dict)
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

    @property
    def dropped(self) -> Counter[str]:
        """How many frames were told as dropped, by reason."""
        return Counter(reason for told in self._dropped.values() for reason in told.values())

    def run(self) -> None:
        """Count until stopped."""
        while not self._stopping.is_set():
            self._next()
        end = time.monotonic() + _DRAIN_S
        while self._next() and time.monotonic() < end:
            pass

    def stop(self) -> None:
        """Take what came already, then end."""
        self._stopping.set()
        self.join()
        self._subscriber.close()

    def fetch(self, control: str, streams: list[str]) -> None:
        """Ask the history for the scores and drops that did not come live; after `stop`."""
        for stream in streams:
            for number, header in _kept(control, f"{stream}/score"):
                if number not in self._scored[stream]:
                    self.fetched += 1
                    self._scored[stream][number] = header["frame_id"], header["raw_score"]
            for number, header in _kept(control, f"{stream}/dropped"):
                self._dropped[stream][number] = str(header["reason"])

    def scored(self, stream: str) -> Counter[Any]:
        """How often each frame of a stream was scored."""
        return Counter(frame_id for frame_id, _ in self._scored[stream].values())

    def raw_scores(self, stream: str) -> dict[Any, float | None]:
        """The score of each frame of a stream on arrival; null of the first, which has nothing to be like."""
        return dict(self._scored[stream].values())

    def _next(self) -> bool:
        """Take one message; False if none came for a while."""
        message = self._subscriber.receive()
        if message is None:
            return False
        self._up.set()
        if str(message.get("stream")).startswith(self._prefix):
            self._take(message)
        return True

    def _take(self, message: Message) -> None:
        if message.kind == "score":
            self.latencies_ms.append((time.time_ns() - int(message["capture_ns"])) / 1e6)
            self._scored[message["stream"]][message["pub_seq"]] = message["frame_id"], message["raw_score"]
        elif message.kind == "dropped":
            self._dropped[message["stream"]][message["pub_seq"]] = str(message.get("reason"))
        elif message.kind == "error":
            self.errors[str(message.get("code"))] += 1


def _kept(control: str, topic: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """`pub_seq` and header of the messages of a topic that the history holds, a page at a time."""
    first, more = 0, True
    while more:
        answer = ask({"kind": "history", "topic": topic, "first": first}, control, timeout_s=_PAGE_S)
        for entry in answer["messages"]:
            first = entry["pub_seq"] + 1
            yield entry["pub_seq"], unpack(entry["header"], _HEADER)
        more = answer["more"]

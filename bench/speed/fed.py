"""A detector in a process of its own that is fed with frames: one at a time, or as many as it takes."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from musc_online.errors import MuscError
from streamer.ask import ask
from streamer.errors import StreamerError
from streamer.process import ServerProcess
from streamer.publish import Publisher
from streamer.subscribe import Subscriber
from streamer.wire.codes import WARNINGS
from streamer.wire.published import Message

_PATIENCE_S = 180.0
_STATUS_S = 60.0
_STREAM = "speed-"
_UNDER_WAY, _LOOK_S = 32, 0.002
# Frames of a stream sent and not scored: more than queues and actors hold, less than sockets would take.


class Fed:
    """A server with a publisher a stream and one subscriber; ended by `with`.

    Args:
        root: folder for what the server keeps; it is made.
        settings: the server's configuration.
        frames: files that are sent, again from the first after the last.
        streams: how many.

    Raises:
        MuscError: the service did not come up.
    """

    def __init__(
        self, root: Path, settings: Mapping[str, Any], frames: Sequence[bytes], streams: int = 1
    ) -> None:
        root.mkdir()
        self._server = ServerProcess(root, settings)
        self._frames, self._sent, self._heard = frames, [0] * streams, [0] * streams
        self._held = ExitStack()

    def __enter__(self) -> "Fed":
        with ExitStack() as held:
            server = held.enter_context(self._server)
            self._scores = held.enter_context(
                Subscriber(server.endpoints["scores"], timeout_s=_PATIENCE_S, queue=0)
            )
            self._publishers = [
                held.enter_context(Publisher(server.endpoints["frames"], f"{_STREAM}{number}", wait_s=20.0))
                for number in range(len(self._sent))
            ]
            self._held = held.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    @property
    def gate(self) -> int:
        """Process id of the server itself."""
        return self._server.pid

    def engine(self) -> dict[str, Any]:
        """`engine` of its status; empty for the engine of one process."""
        status = ask({"kind": "status"}, self._server.endpoints["control"], timeout_s=_STATUS_S)
        found: dict[str, Any] = status.get("engine", {})
        return found

    def one(self) -> tuple[float, Message]:
        """Send a frame of the first stream, and wait for its score: how long that took, seconds."""
        began = time.perf_counter()
        self._send(0, _PATIENCE_S)
        message = self._next()
        return time.perf_counter() - began, message

    def _next(self) -> Message:
        """The next score.

        Raises:
            MuscError: a frame was refused, or none came.
        """
        for message in self._scores:
            if message.kind == "error" and message.get("code") not in WARNINGS:
                raise MuscError(f"service: refused a frame: {message.get('code')}, {message.get('text')}")
            if message.kind == "score":
                self._heard[int(message["stream"].removeprefix(_STREAM))] += 1
                return message
        raise MuscError(f"service: no score within {_PATIENCE_S:.0f} s")

    @contextmanager
    def fed(self) -> Iterator[None]:
        """In here every stream gets as many frames as it takes."""
        stop = threading.Event()
        senders = [threading.Thread(target=self._keep_sending, args=(number, stop), daemon=True)
                   for number in range(len(self._sent))]  # fmt: skip
        for sender in senders:
            sender.start()
        try:
            yield
        finally:
            stop.set()
            for sender in senders:
                sender.join(_PATIENCE_S)

    def _keep_sending(self, stream: int, stop: threading.Event) -> None:
        while not stop.is_set():
            if self._sent[stream] - self._heard[stream] >= _UNDER_WAY:
                stop.wait(_LOOK_S)
                continue
            with suppress(StreamerError):  # no room yet
                self._send(stream, 0.2)

    def _send(self, stream: int, timeout_s: float) -> None:
        number = self._sent[stream]
        self._publishers[stream].send(self._frames[number % len(self._frames)], number, timeout_s=timeout_s)
        self._sent[stream] += 1

    def scores(self, count: int) -> tuple[float, list[Message]]:
        """The next `count` scores after one that is passed over: seconds from that to the last, and they."""
        self._next()
        began = time.perf_counter()
        found = [self._next() for _ in range(count)]
        return time.perf_counter() - began, found

    def drain(self) -> None:
        """Pass over the scores of all that was sent."""
        while sum(self._heard) < sum(self._sent):
            self._next()

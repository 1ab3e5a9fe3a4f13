"""A camera of a load test as the test sees it: a process of its own, and how far it is."""

import multiprocessing
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

from bench.load import publisher
from bench.load.plan import Plan
from streamer import child
from streamer.process import ServerError

_SPAWN = multiprocessing.get_context("spawn")


class Camera:
    """A publisher in a process of its own.

    Args:
        plan: what it sends.
        number: of its stream, and the seed of its pictures.
        endpoints: of the server.
    """

    def __init__(self, plan: Plan, number: int, endpoints: Mapping[str, str]) -> None:
        self.stream, self._frames = plan.streams[number], plan.each
        with child.safe_path():
            theirs = self._start(plan, number, endpoints)
        theirs.close()  # so that `recv` fails, and does not wait, should the process die

    def _start(self, plan: Plan, number: int, endpoints: Mapping[str, str]) -> Connection:
        self._report, theirs = _SPAWN.Pipe(duplex=False)
        self._acknowledged = _SPAWN.Value("q", 0)
        self._process = _SPAWN.Process(
            target=publisher.run,
            args=(theirs, endpoints["reliable" if plan.reliable else "frames"], self.stream),
            kwargs={
                "reliable": plan.reliable,
                "fps": plan.fps,
                "seconds": plan.seconds,
                "size": plan.size,
                "seed": number,
                "window": plan.window,
                "patience_s": plan.patience_s,
                "acknowledged": self._acknowledged,
            },
            daemon=True,
        )
        self._process.start()
        return theirs

    @property
    def acknowledged(self) -> int:
        """Frames whose scores the server has acknowledged."""
        return int(self._acknowledged.value)

    @property
    def done(self) -> bool:
        """Whether no further frame of it will be acknowledged."""
        return self.acknowledged >= self._frames or self._report.poll()

    def facts(self) -> dict[str, Any]:
        """What it reports, once it is done.

        Raises:
            ServerError: its process died before.
        """
        try:
            facts: dict[str, Any] = self._report.recv()
        except EOFError:
            raise ServerError("publisher: its process died before it could report") from None
        return facts

    def end(self, failed: type[BaseException] | None, *_: object) -> None:
        """Wait for the process to end; end it where the run was given up."""
        if failed is not None:
            self._process.terminate()
        self._process.join(30.0)

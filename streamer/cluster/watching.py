"""Whether the head still lives: told within seconds, before Ray itself ends this process without a word."""

import contextlib
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping

import structlog
from ray import NodeID
from ray._raylet import GcsClient
from ray.exceptions import RayError

from streamer.errors import StreamerError

log = structlog.get_logger()

_ASK_EVERY_S = 2.0
_ANSWER_S = 5.0
_PATIENCE_S = 20.0
"""How long nobody may answer: a machine may be busy. Ray itself aborts the process after 60 s."""


class HeadWatch:
    """A thread that waits for the end of processes, and asks the head whether it and this node are well.

    Args:
        address: of the head, for what is told.
        processes: number by name, of this machine, without which nothing goes on.
        gcs: asks the head; used by this thread alone.
        node: id of this machine's node.
        failed: told once, by the thread.
    """

    def __init__(
        self,
        address: str,
        processes: Mapping[str, int],
        gcs: GcsClient,
        node: str,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._address = address
        self._gcs = gcs
        self._node = NodeID.from_hex(node)
        self._failed = failed
        self._answered = time.monotonic()
        self._stopped, self._stop = os.pipe()
        self._watched = dict(_opened(processes))
        self._thread = threading.Thread(target=self._run, name="head-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Nothing is told any more; returns once the thread has ended, or is the one that calls."""
        if self._thread is threading.current_thread() or self._stop < 0:
            return
        os.close(self._stop)
        self._stop = -1
        self._thread.join()

    def _run(self) -> None:
        poll = select.poll()
        for descriptor in (self._stopped, *self._watched):
            poll.register(descriptor, select.POLLIN)
        why = None
        while why is None:
            ready = [descriptor for descriptor, _ in poll.poll(_ASK_EVERY_S * 1000)]
            if self._stopped in ready:
                break
            why = next((f"{self._watched[one]} has ended" for one in ready), None) or self._ask()
        for descriptor in (self._stopped, *self._watched):
            os.close(descriptor)
        if why is not None:
            self._failed(StreamerError(f"engine: Ray's head at {self._address} is gone: {why}"))

    def _ask(self) -> str | None:
        """Why to go on no more; None while all is well."""
        try:
            (alive,) = self._gcs.check_alive([self._node], timeout=_ANSWER_S)
        except (RayError, OSError) as error:
            silent = time.monotonic() - self._answered
            log.debug("head_silent", silent_s=round(silent, 1), error=str(error)[:200])
            return None if silent < _PATIENCE_S else f"it has not answered for {silent:.0f} s"
        self._answered = time.monotonic()
        return None if alive else "it has given up this machine's node"


def _opened(processes: Mapping[str, int]) -> list[tuple[int, str]]:
    """A descriptor of each process, readable as soon as it ends."""
    opened = []
    for name, number in processes.items():
        with contextlib.suppress(OSError):
            opened.append((os.pidfd_open(number), f"{name} (process {number})"))
    return opened


def listener(path: str) -> int | None:
    """The process that listens at a socket's path; None where this process cannot see it."""
    with socket.socket(socket.AF_UNIX) as peer, contextlib.suppress(OSError):
        peer.settimeout(_ANSWER_S)
        peer.connect(path)
        number, _, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(number) or None
    return None

"""Whether the head still lives: told within seconds, before Ray itself ends this process without a word."""

import contextlib
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping

from ray import NodeID
from ray._raylet import GcsClient
from ray.exceptions import RayError

from streamer.errors import StreamerError

_LOOK_EVERY_S = 2.0
_CONNECT_S = 5.0
_DEAF_S = 15.0
_SILENT_S = 45.0
"""How long nobody may listen at the head's address, or answer there. Ray itself aborts after 60 s."""


class HeadWatch:
    """Waits for the end of processes, and asks the head whether it and this node are well.

    Args:
        address: of the head, `host:port`.
        processes: number by name, of this machine, without which nothing goes on.
        gcs: asks the head.
        node: id of this machine's node.
        failed: told once, by a thread of its own.
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
        self._listened = self._answered = time.monotonic()
        self._given_up = False
        self._ending = threading.Event()
        self._stopped, self._stop = os.pipe()
        self._watched = dict(_opened(processes))
        self._threads = [
            threading.Thread(target=self._watch, name="head-watch", daemon=True),
            threading.Thread(target=self._ask, name="head-ask", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Nothing is told any more. For the end of a question that gets no answer it does not wait long."""
        if self._ending.is_set() or threading.current_thread() in self._threads:
            return
        self._ending.set()
        os.close(self._stop)
        for thread in self._threads:
            thread.join(_CONNECT_S)

    def _watch(self) -> None:
        poll = select.poll()
        for descriptor in (self._stopped, *self._watched):
            poll.register(descriptor, select.POLLIN)
        why = None
        while why is None:
            ready = [descriptor for descriptor, _ in poll.poll(_LOOK_EVERY_S * 1000)]
            if self._stopped in ready:
                break
            why = next((f"{self._watched[one]} has ended" for one in ready), None) or self._unwell()
        for descriptor in (self._stopped, *self._watched):
            os.close(descriptor)
        if why is not None:
            self._failed(StreamerError(f"engine: Ray's head at {self._address} is gone: {why}"))

    def _unwell(self) -> str | None:
        """Why to go on no more; None while all is well."""
        if self._given_up:
            return "it has given up this machine's node"
        host, _, port = self._address.rpartition(":")
        with contextlib.suppress(OSError):
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
            self._listened = time.monotonic()
        deaf, silent = time.monotonic() - self._listened, time.monotonic() - self._answered
        if deaf > _DEAF_S:
            return f"nobody has listened there for {deaf:.0f} s"
        return f"it has not answered for {silent:.0f} s" if silent > _SILENT_S else None

    def _ask(self) -> None:
        """In a thread of its own: a head that hangs does not answer, and Ray waits for it."""
        while not self._ending.wait(_LOOK_EVERY_S):
            with contextlib.suppress(RayError, OSError):
                (alive,) = self._gcs.check_alive([self._node], timeout=_CONNECT_S)
                self._answered = time.monotonic()
                self._given_up = not alive


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
        peer.settimeout(_CONNECT_S)
        peer.connect(path)
        number, _, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(number) or None
    return None

"""What a service says on standard output and error: whoever reads it may stop, go away or be full.

A write to a pipe that nobody reads waits for ever, and one to a reader that has gone fails: neither may
happen to a thread that has frames to score. So both descriptors become pipes of our own, whose writing end
never waits, and a thread passes on what comes out of them. That covers Python and the libraries in C alike.
"""

import faulthandler
import fcntl
import io
import os
import select
import sys
import threading
from contextlib import suppress
from typing import Any

_DRAIN_S = 2.0
"""How long the end of a service waits for a reader of its log."""
_CHUNK = 64 * 2**10
_ROOM = 2**20


class Output:
    """Takes over descriptors 1 and 2 inside `with`, and gives them back after it. `lost` counts lines."""

    def __enter__(self) -> "Output":
        self._before = sys.stdout, sys.stderr
        self._relays = [_Relay(1), _Relay(2)]
        sys.stdout, sys.stderr = (_Text(relay) for relay in self._relays)
        if faulthandler.is_enabled():
            # Whoever asked for it gets it: the thread that passes on dies with the process.
            faulthandler.enable(self._relays[1].target)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Pass on what was said, as far as it is read within seconds, and give the descriptors back."""
        sys.stdout, sys.stderr = self._before
        if faulthandler.is_enabled():
            faulthandler.enable(2)
        for relay in self._relays:
            relay.close()

    def lost(self) -> int:
        """Lines (at least) that no reader took."""
        return sum(relay.lost for relay in self._relays)


class _Relay:
    """One descriptor: `write` never waits and never fails; what finds no room is counted in `lost`."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.lost = 0
        self._lock = threading.Lock()
        self._torn = False
        try:
            self.target = os.dup(number)
        except OSError:  # closed by whoever started us: what is said goes nowhere
            self.target = os.open(os.devnull, os.O_WRONLY)
        self._reading, writing = os.pipe()
        with suppress(OSError, AttributeError):  # as much as Linux lets anyone have: bursts are not lost
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _ROOM)
        os.set_blocking(writing, False)
        os.dup2(writing, number)
        os.close(writing)
        self._thread = threading.Thread(target=self._pass_on, name=f"output-{number}", daemon=True)
        self._thread.start()

    def write(self, data: bytes) -> None:
        """Hand over one or more whole lines."""
        with self._lock:
            data = b"\n" * self._torn + data  # the rest of a line found no room: the next begins its own
            try:
                written = os.write(self.number, data)
            except OSError:  # full
                written = 0
            self._torn = 0 < written < len(data) or (self._torn and not written)
            self._count(data[written:])

    def close(self) -> None:
        """Wait a while until all is passed on; then the descriptor is as it was, or leads nowhere."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.number)  # ends the pipe, once no child of ours holds it either
        os.close(nowhere)
        self._thread.join(_DRAIN_S)
        if not self._thread.is_alive():
            os.dup2(self.target, self.number)
            os.close(self.target)
            os.close(self._reading)

    def _pass_on(self) -> None:
        room = select.poll()
        room.register(self.target, select.POLLOUT)
        while chunk := os.read(self._reading, _CHUNK):
            left = memoryview(chunk)
            try:
                while left:
                    # Whoever started us may have made it non-blocking; this thread may wait.
                    room.poll()
                    left = left[os.write(self.target, left) :]
            except OSError:  # its reader, terminal or room on disk has gone; it may come back
                with self._lock:
                    self._count(bytes(left))

    def _count(self, lost: bytes) -> None:
        if lost:
            self.lost += max(lost.count(b"\n"), 1)


class _Text(io.TextIOBase):
    """`sys.stdout` or `sys.stderr` on a relay."""

    def __init__(self, relay: _Relay) -> None:
        self._relay = relay
        self.buffer = _Bytes(relay)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """As log lines are written."""
        return "utf-8"

    def writable(self) -> bool:
        """Yes."""
        return True

    def fileno(self) -> int:
        """1 or 2."""
        return self._relay.number

    def isatty(self) -> bool:
        """Whether a person reads it."""
        try:
            return os.isatty(self._relay.target)
        except OSError:
            return False

    def write(self, text: str) -> int:
        """Never waits, never fails."""
        self._relay.write(text.encode("utf-8", "backslashreplace"))
        return len(text)


class _Bytes(io.RawIOBase):
    def __init__(self, relay: _Relay) -> None:
        self._relay = relay

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._relay.write(bytes(data))
        return len(data)

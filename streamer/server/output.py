"""What a service says on standard output and error: whoever reads it may stop, go away or be full.

A write to a pipe that nobody reads waits for ever, and one to a reader that has gone fails: neither may
happen to a thread that has frames to score. So both descriptors become pipes of our own, whose writing end
never waits, and a thread passes on what comes out of them. That covers Python and the libraries in C alike.
The same thread keeps the line of progress below all of it.
"""

import faulthandler
import fcntl
import io
import os
import select
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

_DRAIN_S = 2.0
"""How long the end of a service waits for a reader of its log."""
_CHUNK = 64 * 2**10
_ROOM = 2**20
_ERASED = b"\r\x1b[K"
_WIDTH = 80
"""Of a terminal that does not say."""


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

    def stand(self, facts: Mapping[str, Any] | None) -> None:
        """Have one line stand on the terminal of standard error, below all that is said; None takes it away.

        Never waits. Facts that the terminal's width has no room for are left out from the end, whole.
        """
        error = self._relays[1]
        error.stand(b"" if facts is None else _fitting(facts, _width(error.target)).encode())


def _width(terminal: int) -> int:
    try:
        return os.get_terminal_size(terminal).columns or _WIDTH
    except OSError:
        return _WIDTH


def _fitting(facts: Mapping[str, Any], width: int) -> str:
    """Names and values on one line, which leaves the last column free: a full line would begin another."""
    told = [f"{name} {value}" for name, value in facts.items()]
    for gap in ("  ", " "):
        if len(gap.join(told)) < width:
            return gap.join(told)
    while told and len(" ".join(told)) >= width:
        told.pop()
    return " ".join(told)


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
        self._standing = self._shown = b""
        self._open = False
        self._reading, writing = os.pipe()
        self._waking, self._wakes = os.pipe()
        os.set_blocking(self._wakes, False)
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
        self._standing = b""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.number)  # ends the pipe, once no child of ours holds it either
        os.close(nowhere)
        self._thread.join(_DRAIN_S)
        if not self._thread.is_alive():
            os.dup2(self.target, self.number)
            for descriptor in (self.target, self._reading, self._waking, self._wakes):
                os.close(descriptor)

    def stand(self, line: bytes) -> None:
        """Have a line stand below what is passed on; an empty one takes it away."""
        self._standing = line
        with suppress(OSError):  # full: it is awake
            os.write(self._wakes, b"!")

    def _pass_on(self) -> None:
        said = select.poll()
        said.register(self._reading, select.POLLIN)
        said.register(self._waking, select.POLLIN)
        ends = False
        while not ends:
            ready = [descriptor for descriptor, _ in said.poll()]
            if self._waking in ready:
                os.read(self._waking, _CHUNK)
            chunk = os.read(self._reading, _CHUNK) if self._reading in ready else b""
            ends = self._reading in ready and not chunk
            self._hand_over(chunk, self._around(chunk))

    def _around(self, chunk: bytes) -> bytes:
        """What is said, with the line that stands taken away before it and put below it."""
        erased = _ERASED if self._shown else b""
        if chunk:
            self._open = not chunk.endswith(b"\n")
        # Of a line that is longer than a chunk more will come: nothing may stand within it.
        self._shown = b"" if self._open else self._standing
        return erased + chunk + self._shown

    def _hand_over(self, said: bytes, data: bytes) -> None:
        """Write `data`; what of `said`, which is in it, nobody takes is counted."""
        room = select.poll()
        room.register(self.target, select.POLLOUT)
        left = memoryview(data)
        try:
            while left:
                # Whoever started us may have made it non-blocking; this thread may wait.
                room.poll()
                left = left[os.write(self.target, left) :]
        except OSError:  # its reader, terminal or room on disk has gone; it may come back
            with self._lock:
                self._count(said[max(len(said) + len(self._shown) - len(left), 0) :])

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

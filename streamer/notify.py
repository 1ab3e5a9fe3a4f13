"""What a service tells the supervisor that started it, by sd_notify: ready, alive, how it is, ending.

systemd's protocol, which others speak too: datagrams of `NAME=value` to the socket that `NOTIFY_SOCKET`
names. Of libraries, cysystemd compiles against libsystemd, and sdnotify, of 2017, knows no watchdog: the
protocol is shorter than what either leaves to be done.
"""

import os
import socket
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from typing import Self

import structlog

log = structlog.get_logger()

_EVERY_S = 5.0
_SEND_S = 1.0
_STATUS_BYTES = 400
_SHORTEST_US, _LONGEST_US = 1_000, 10**13
# Of WATCHDOG_USEC: a millisecond, and four months, beyond which no pings are as good.


class Notify:
    """Speaks to the supervisor. Without one nothing happens; that it cannot be told is logged once.

    Its variables are taken out of the environment: processes that this one starts are not the service, and
    must not speak in its name. Methods may be called from any thread.

    Args:
        environment: where the variables are; None is the process's own.

    Attributes:
        watchdog_s: seconds within which the supervisor wants to hear `watchdog`; None where it does not.
        every_s: seconds between words, at most: half of `watchdog_s` where that is short.
    """

    def __init__(self, environment: MutableMapping[str, str] | None = None) -> None:
        taken = os.environ if environment is None else environment
        self._address = _address(taken.pop("NOTIFY_SOCKET", ""))
        watchdog = {name: taken.pop(name, "") for name in ("WATCHDOG_USEC", "WATCHDOG_PID")}
        self._socket: socket.socket | None = None
        self._failed = False
        self._status = ""
        if self._address is not None:
            with suppress(OSError):  # none left: `_send` says so
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
                self._socket.settimeout(_SEND_S)
        self.watchdog_s = _watchdog_s(watchdog) if self.is_on else None
        self.every_s = _EVERY_S if self.watchdog_s is None else min(_EVERY_S, self.watchdog_s / 2)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_on(self) -> bool:
        """Whether there is a supervisor that listens."""
        return self._address is not None

    def ready(self) -> None:
        """The service does what it is there for."""
        self._send("READY=1")

    def stopping(self) -> None:
        """It has begun to end."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """How it is, on one line for people (`systemctl status`); said only where it has changed."""
        # The protocol is lines: a name with a line break in it must not say `READY=1`.
        line = " ".join(text.split()).encode("utf-8", "replace")[:_STATUS_BYTES].decode("utf-8", "ignore")
        if line != self._status:
            self._status = line
            self._send(f"STATUS={line}")

    def watchdog(self) -> None:
        """It is alive and gets on; only where the supervisor asked to hear so of this process."""
        if self.watchdog_s is not None:
            self._send("WATCHDOG=1")

    def extend(self, seconds: float) -> None:
        """It needs longer to start or to end: `seconds` more from now on, unless it says so again."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def close(self) -> None:
        """Say nothing more."""
        self._address = None
        if self._socket is not None:
            self._socket.close()

    def _send(self, line: str) -> None:
        if self._address is None:
            return
        try:
            if self._socket is None:
                raise OSError("no socket can be made")
            self._socket.sendto(line.encode(), self._address)
        except OSError as error:  # a service does not end for a supervisor that is gone, or does not read
            if not self._failed:
                self._failed = True
                log.warning("supervisor_not_told", what=line, error=str(error))


def _address(name: str) -> str | bytes | None:
    """Where the supervisor listens; None where there is none, or one of a machine's host (`vsock:`)."""
    if name.startswith("@"):
        return b"\0" + os.fsencode(name[1:])
    if name.startswith("/"):
        return name
    if name:
        log.warning("supervisor_not_told", what="NOTIFY_SOCKET", error="expected a path, or @ and a name")
    return None


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    """Seconds of WATCHDOG_USEC, where they are meant for this process."""
    pid, usec = environment["WATCHDOG_PID"], environment["WATCHDOG_USEC"]
    if (pid and pid != str(os.getpid())) or not usec:
        return None
    try:
        microseconds = int(usec)
    except ValueError:
        microseconds = 0
    if not _SHORTEST_US <= microseconds <= _LONGEST_US:
        log.warning("watchdog_off", text=f"WATCHDOG_USEC: got {usec[:40]!r}, expected microseconds")
        return None
    return microseconds / 1e6

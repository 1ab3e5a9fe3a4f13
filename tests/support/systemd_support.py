"""A supervisor that does with a unit file what systemd would: starts it, hears its words, ends it.

What a service says comes by a datagram socket, as systemd's does, with the id of the process that said it.
Tests wait for words, never for time.
"""

import contextlib
import os
import random
import re
import shlex
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from streamer_support import PATIENCE_S

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
INSTALLED = "/opt/musc-online/bin/musc-online"
_CREDENTIALS = struct.Struct("3i")


class Unit:
    """A unit file.

    Args:
        path: of the file, a template's with its `@`.
        instance: of a template.
        prefix: stands before `/var/lib`, `/run`, `/var/cache` and `/etc`.
    """

    def __init__(self, path: Path, prefix: Path, instance: str = "") -> None:
        self._prefix = prefix
        self.name = path.stem.replace("@", f"@{instance}")
        self._specifiers = {
            "%N": self.name,
            "%i": instance,
            "%S": f"{prefix}/var/lib",
            "%C": f"{prefix}/var/cache",
            "%t": f"{prefix}/run",
        }
        self._lines = [
            (key, value)
            for line in path.read_text(encoding="utf-8").splitlines()
            if not line.startswith(("#", "[")) and "=" in line
            for key, value in [line.split("=", 1)]
        ]

    def all(self, key: str) -> list[str]:
        """Every value of a key, its specifiers replaced."""
        return [self._resolved(value) for found, value in self._lines if found == key]

    def one(self, key: str) -> str:
        """The only value of a key."""
        (value,) = self.all(key)
        return value

    @property
    def config(self) -> Path:
        """Where its configuration is looked for."""
        return Path(self.command[-1])

    @property
    def command(self) -> list[str]:
        """What is started: this checkout's entry point for the installed one."""
        words = shlex.split(self.one("ExecStart"))
        assert words[0] == INSTALLED
        return [
            sys.executable,
            "-m",
            "musc_online",
            *(word.replace("/etc/", f"{self._prefix}/etc/", 1) for word in words[1:]),
        ]

    def environment(self) -> dict[str, str]:
        """What the unit sets, and this checkout; kernels that were compiled before are taken."""
        said = dict(pair.split("=", 1) for line in self.all("Environment") for pair in line.split())
        said.pop("NUMBA_CACHE_DIR", None)
        return {**os.environ, "PYTHONPATH": str(ROOT), **said}

    def make_folders(self) -> Path:
        """Those that systemd makes; returns the one it starts in."""
        for key, where in (("StateDirectory", "%S"), ("CacheDirectory", "%C"), ("RuntimeDirectory", "%t")):
            for name in self.all(key):
                Path(self._resolved(where), name).mkdir(mode=0o700, parents=True, exist_ok=True)
        return Path(self.one("WorkingDirectory"))

    def _resolved(self, text: str) -> str:
        found = re.sub("%[A-Za-z]", lambda match: self._specifiers[match[0]], text)
        assert "%" not in found
        return found


class Supervisor:
    """Starts a unit's service and hears it, until the end of `with`.

    Args:
        unit: what is started.
        folder: for its log.
        watchdog_s: in the place of the unit's WatchdogSec, so that pings come soon.
        command: in the place of the unit's.
    """

    def __init__(
        self, unit: Unit, folder: Path, *, watchdog_s: float, command: list[str] | None = None
    ) -> None:
        assert unit.one("Type") == "notify"
        assert unit.one("NotifyAccess") == "main"
        assert float(unit.one("WatchdogSec")) > 0
        self._unit, self._watchdog_s = unit, watchdog_s
        self._command = unit.command if command is None else command
        self._log = folder / f"{unit.name}.log"
        self._name = f"musc-test-{os.getpid()}-{random.getrandbits(64):x}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(f"\0{self._name}")
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Supervisor":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._socket.close()

    @property
    def log(self) -> str:
        """What it wrote, in all its lives."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """As systemd would: its folders, its environment, its socket."""
        folder = self._unit.make_folders()
        environment = {
            **self._unit.environment(),
            "NOTIFY_SOCKET": f"@{self._name}",
            "WATCHDOG_USEC": str(round(self._watchdog_s * 1e6)),
        }
        # The id of a process is known to itself only, before it becomes the service.
        shell = ["sh", "-c", 'WATCHDOG_PID=$$ exec "$@"', "sh", *self._command]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(shell, cwd=folder, env=environment, stdout=log, stderr=log)

    def words(self) -> Iterator[str]:
        """What it says, as it says it; that of its children is none of it, and fails."""
        end = time.monotonic() + PATIENCE_S
        while True:
            said = self.hear(1.0)
            if said is not None:
                yield said
            elif self.process is not None and self.process.poll() is not None:
                return
            assert time.monotonic() < end, f"nothing more than this was said: {self.log[-2000:]}"

    def until(self, is_it: Callable[[str], bool]) -> list[str]:
        """The words up to the one that it is."""
        heard = []
        for said in self.words():
            heard.append(said)
            if is_it(said):
                return heard
        raise AssertionError(f"it ended, and had said {heard}: {self.log[-2000:]}")

    def hear(self, patience_s: float) -> str | None:
        """One word, if one comes in time."""
        self._socket.settimeout(patience_s)
        try:
            said, rest, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size))
        except TimeoutError:
            return None
        (sender,) = [_CREDENTIALS.unpack(data)[0] for _, kind, data in rest if kind == socket.SCM_CREDENTIALS]
        assert sender == self.pid, "somebody else spoke in its name"
        return said.decode()

    def terminate(self) -> int:
        """SIGTERM; its exit status. What it says meanwhile is there to be heard."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(PATIENCE_S)

    def abort(self) -> None:
        """What systemd does to a service that does not say that it is alive."""
        assert self.process is not None
        self.process.send_signal(signal.SIGABRT)
        assert self.process.wait(PATIENCE_S) == -signal.SIGABRT
        while self.hear(0.01) is not None:  # said before
            pass

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()

    def children(self) -> list[dict[str, str]]:
        """The environments of its child processes."""
        found = []
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(OSError):
                for child in (task / "children").read_text().split():
                    pairs = Path(f"/proc/{child}/environ").read_bytes().decode().split("\0")
                    found.append(dict(pair.split("=", 1) for pair in pairs if "=" in pair))
        return found

"""A real detector, page or bridge in a process of its own: loaded, killed, started on the same ports."""

import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

from streamer import child
from streamer.commands import undisturbed
from streamer.errors import StreamerError

ANY_PORT = "tcp://127.0.0.1:*"
_ANY_ADDRESS = "127.0.0.1:0"
_START_S = 300.0
_STOP_S = 60.0
_PORTS, _TRIED = range(20_000, 32_768), 100


class ServerError(StreamerError):
    """The process ended or stalled."""


def free_port() -> str:
    """An endpoint on loopback that nobody has just now, for a server that must know it before it starts.

    Between a stop and the next start nobody gets it by chance: it is none of those that systems hand out.

    Raises:
        ServerError: all that were tried are taken.
    """
    for port in random.SystemRandom().sample(_PORTS, _TRIED):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return f"tcp://127.0.0.1:{port}"
    raise ServerError(f"ports: {_TRIED} of {_PORTS.start} to {_PORTS.stop - 1} were tried, and all are taken")


class OwnProcess:
    """Starts at `with`, ends after it in the orderly way.

    Args:
        folder: for its configuration, log, and the file that says it is up.
        settings: the whole configuration.
    """

    module: ClassVar[str]
    called: ClassVar[str]
    """Its command, as messages name it."""
    name: str
    """Of its files in `folder`."""
    arguments: tuple[str, ...] = ()
    """Of its command, before the options."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._folder = folder
        self._settings = dict(settings)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.terminate()

    @property
    def log(self) -> str:
        """What it wrote to its log, in all its lives."""
        return (self._folder / f"{self.name}.log").read_text(encoding="utf-8", errors="replace")

    @property
    def pid(self) -> int:
        """Of the running process.

        Raises:
            ServerError: it is not running.
        """
        if self._process is None or self._process.poll() is not None:
            raise ServerError(f"{self.called}: has ended; last line: {self._last_line()}")
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it is up.

        Raises:
            ServerError: it ends, or is not up in time.
        """
        import yaml  # noqa: PLC0415  (a camera host, which has none, can ask a command for help)

        config, ready = self._folder / f"{self.name}.yaml", self._folder / f"{self.name}-ready.json"
        runtime = self._folder / "runtime"
        runtime.mkdir(mode=0o700, exist_ok=True)
        config.write_text(yaml.safe_dump(self._settings), encoding="utf-8")
        ready.unlink(missing_ok=True)
        options = ["--config", str(config), "--ready-file", str(ready)]
        command = child.command(self.module, *self.arguments, *options)
        try:
            with (self._folder / f"{self.name}.log").open("ab") as log, undisturbed():
                # What it has beside its configuration ends with the folder, and no other server finds it.
                environment = child.environment(XDG_RUNTIME_DIR=str(runtime.resolve()))
                self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
            self._wait_up(ready)
        except BaseException:  # a signal too: nobody else would end it
            self.kill()
            raise
        self._is_up(json.loads(ready.read_text(encoding="utf-8")))

    def _is_up(self, said: dict[str, Any]) -> None:
        """Take over what the process says of itself."""
        raise NotImplementedError

    def _wait_up(self, ready: Path) -> None:
        deadline = time.monotonic() + _START_S
        while not ready.exists():
            if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                raise ServerError(f"{self.called}: did not come up: {self._last_line()}")
            time.sleep(0.05)

    def kill(self) -> None:
        """`kill -9`."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def terminate(self) -> int:
        """SIGTERM, and its exit status; killed if it does not end."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL

    def rss(self) -> int:
        """Bytes of memory it holds.

        Raises:
            ServerError: it is not running, or this system does not say.
        """
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        except OSError:
            raise ServerError("memory: /proc is not there; this needs Linux") from None
        return pages * os.sysconf("SC_PAGE_SIZE")

    def _last_line(self) -> str:
        lines = self.log.strip().splitlines()
        return lines[-1][-300:] if lines else "it said nothing"


class ServerProcess(OwnProcess):
    """`musc-online serve`: ports of its `settings` may be `*`, a restart gets the same ones."""

    module = "streamer.serve"
    called = "musc-online serve"
    name = "serve"

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        transport = {
            name: free_port() if port == ANY_PORT else port
            for name, port in settings.get("transport", {}).items()
        }
        super().__init__(folder, {**settings, "transport": transport})
        self.endpoints: dict[str, str] = {}
        self.model_id = ""

    def _is_up(self, said: dict[str, Any]) -> None:
        self.endpoints, self.model_id = said["endpoints"], said["model_id"]
        transport = self._settings["transport"]
        transport |= {name: port for name, port in self.endpoints.items() if name in transport}


class PageProcess(OwnProcess):
    """`musc-online page`: `listen.address` of its `settings` may have port 0, a restart gets the same one."""

    module = "streamer.page"
    called = "musc-online page"
    name = "page"

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        listen = dict(settings.get("listen", {}))
        if listen.get("address") == _ANY_ADDRESS:
            listen["address"] = urlsplit(free_port()).netloc
        super().__init__(folder, {**settings, "listen": listen})
        self.url = ""
        self.logins: dict[str, str] = {}
        """By role (`admin`, `operator`, `viewer`) the address that logs a browser in; it holds a token."""

    def _is_up(self, said: dict[str, Any]) -> None:
        self.url, self.logins = said["url"], said["tokens"]
        self._settings["listen"]["address"] = urlsplit(self.url).netloc


class BridgeProcess(OwnProcess):
    """`musc-online bridge`: `status.endpoint` of its `settings` may have port 0, a restart gets the same one.

    Args:
        bridge: its name, or a module of one's own that the process can import.
        folder: for its configuration, log, and the file that says it is up.
        settings: the whole configuration; the queue is in `folder` where it does not say.
    """

    module = "streamer.bridge"
    called = "musc-online bridge"

    def __init__(self, bridge: str, folder: Path, settings: Mapping[str, Any]) -> None:
        queue = {"path": str(folder / f"{bridge}-queue"), **settings.get("queue", {})}
        status = dict(settings.get("status", {}))
        if status.get("endpoint") == _ANY_ADDRESS:
            status["endpoint"] = urlsplit(free_port()).netloc
        super().__init__(folder, {**settings, "queue": queue, "status": status})
        self.name, self.arguments = f"bridge-{bridge}", (bridge,)
        self.status: str | None = None
        """Where it answers scrapes, `host:port`."""

    @property
    def config(self) -> Path:
        """Its configuration, once it was started."""
        return self._folder / f"{self.name}.yaml"

    @property
    def queue(self) -> Path:
        """The folder of its queue."""
        return Path(self._settings["queue"]["path"])

    def _is_up(self, said: dict[str, Any]) -> None:
        self.status = said["status"]
        if self.status is not None:
            self._settings["status"]["endpoint"] = self.status

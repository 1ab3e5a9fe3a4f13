"""A cluster of Ray on this machine whose nodes can be killed: each has an address of its own on loopback."""

import os
import secrets
import signal
import subprocess
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from bench.machine import below
from streamer import child
from streamer.commands import undisturbed
from streamer.extras import not_installed
from streamer.process import ServerError, free_port

_HEAD = "127.0.0.9"
_STORE_BYTES = 256 * 2**20
_UP = "Ray runtime started."
_START_S, _END_S = 120.0, 30.0


class Nodes:
    """A head that has no room for actors, and nodes that have; started and ended by `with`.

    Args:
        folder: for the token, logs and Ray's own files; its path is short, for Ray makes sockets in it.
        cpus: of each node: so many that all actors fit on one, once the others are lost.
        count: nodes beside the head.

    Attributes:
        address: of the head, `host:port`.
        token: file with the cluster's token.
    """

    def __init__(self, folder: Path, cpus: int, count: int = 2) -> None:
        if find_spec("ray") is None:
            raise ServerError(not_installed("ray"))
        self._folder, self._cpus = folder, cpus
        self._addresses = [f"127.0.0.{10 + number}" for number in range(count)]
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._port = urlsplit(free_port()).port
        self.address, self.token = f"{_HEAD}:{self._port}", folder / "token"

    def __enter__(self) -> Self:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self.token.touch(mode=0o600)
        self.token.write_text(secrets.token_hex(32), encoding="ascii")
        try:
            for address in (_HEAD, *self._addresses):  # one by one: two at once take each other's ports
                self.start(address)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._end()

    def start(self, address: str) -> None:
        """Start the node of an address, and wait until it is one of the cluster.

        Raises:
            ServerError: it ends, or is not up in time.
        """
        log = self._folder / f"{address}.log"
        environment = child.environment(
            RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(self.token), RAY_USAGE_STATS_ENABLED="0"
        )
        with log.open("wb") as out, undisturbed():
            self._processes[address] = subprocess.Popen(
                self._command(address), stdout=out, stderr=out, env=environment, start_new_session=True
            )
        deadline = time.monotonic() + _START_S
        while _UP not in (said := log.read_text(encoding="utf-8", errors="replace")):
            if self._processes[address].poll() is not None or time.monotonic() > deadline:
                last = said.strip().splitlines() or ["it said nothing"]
                raise ServerError(f"ray: node {address} did not come up: {last[-1][-300:]}")
            time.sleep(0.05)

    def _command(self, address: str) -> list[str]:
        common = [f"--node-ip-address={address}", "--block", f"--object-store-memory={_STORE_BYTES}"]
        if address == _HEAD:
            own = ["--head", f"--port={self._port}", "--num-cpus=0", "--include-dashboard=false",
                   f"--temp-dir={self._folder.resolve()}"]  # fmt: skip
        else:
            own = [f"--address={self.address}", f"--num-cpus={self._cpus}"]
        return child.command("ray.scripts.scripts", "start", *common, *own)

    def kill(self, address: str) -> None:
        """kill -9 of every process of a node, its actors among them.

        Raises:
            ServerError: there is no such node.
        """
        process = self._processes.pop(address, None)
        if process is None:
            raise ServerError(f"--kill-node: no node {address}; expected one of {', '.join(self._processes)}")
        for pid in (*below(process.pid), process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()

    def _end(self) -> None:
        """The head last: nodes that lose it would only say so."""
        for address in [*self._processes][::-1]:
            process = self._processes[address]
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_END_S)
            self.kill(address)

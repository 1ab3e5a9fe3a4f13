"""The sink: keeps what it is given, triggers its event, and writes the variables of its stream."""

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import structlog
from asyncua import ua
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from streamer.auth import client_keys
from streamer.bridges.common import Common
from streamer.bridges.hidden import name_of
from streamer.bridges.identity import bridge_id
from streamer.bridges.opcua import logs, names
from streamer.bridges.opcua.config import OpcuaSection, Security
from streamer.bridges.opcua.events import Events
from streamer.bridges.opcua.kept import Kept, State
from streamer.bridges.opcua.methods import Calls
from streamer.bridges.opcua.names import object_id
from streamer.bridges.opcua.people import Trusted, Users, read_certificate
from streamer.bridges.opcua.server import BridgeServer
from streamer.bridges.opcua.session import Door
from streamer.bridges.opcua.space import Space, value_of
from streamer.bridges.opcua.told import is_up, told
from streamer.bridges.sink import Item, Undelivered
from streamer.errors import StreamerError
from streamer.operate import operate
from streamer.progress import Progress

_BATCH = 200
"""Items at a time: clients are answered in between."""
_NAME = "musc-online"


class OpcuaSink:
    """An OPC UA server as the receiver of what a bridge tells.

    What it is given is on its disk when `deliver` returns, and its event is with everybody who is subscribed;
    who was not fetches it later.

    Args:
        section: of the configuration.
        common: what all bridges have in common; its queue has been opened.

    Attributes:
        progress: of threads that write what it keeps.

    Raises:
        StreamerError: a certificate, a key, or the file of users cannot be used.
    """

    def __init__(self, section: OpcuaSection, common: Common) -> None:
        self._section = section
        self._folder: Path = common.queue.path
        self._queue = bridge_id(self._folder)
        self._control = common.detector.control
        self._keys = client_keys(common.detector.key, common.detector.server_key)
        security = section.security
        self._door = Door(
            None if security is None else Trusted(security.trusted),
            None if security is None else Users(security.users),
        )
        self._own = None if security is None else read_own(security)
        self._port = section.address[1]
        self._broken = False
        self.progress = Progress()
        self._server: BridgeServer | None = None
        self._kept: Kept | None = None
        self._space: Space | None = None
        self._events: Events | None = None
        self._beat: asyncio.Task[None] | None = None
        self._log = structlog.get_logger().bind(bridge="opcua")

    @property
    def endpoint(self) -> str:
        """Where clients connect, with the port that was found where the configuration has 0."""
        url = urlsplit(self._section.endpoint)
        host = url.netloc.rpartition(":")[0]
        return urlunsplit(url._replace(netloc=f"{host}:{self._port}"))

    async def open(self) -> None:
        """Start the server, with what was told before the restart.

        Raises:
            Undelivered: the port is taken, or the disk does not have what is kept.
        """
        if self._server is not None and not self._broken:  # a disk that was full: clients stay connected
            return
        await self._stop()
        logs.quiet()
        try:
            await self._check_port()
            await self._start()
        except (OSError, sqlite3.Error, StreamerError) as error:
            await self._stop()
            raise Undelivered(
                f"opcua.endpoint: {self._section.endpoint}: cannot be served ({error})"
            ) from None
        except BaseException:
            await self._stop()
            raise
        self._log.info("serving", endpoint=self.endpoint, newest=self._kept.newest if self._kept else 0)

    async def _check_port(self) -> None:
        """Before the address space is built: that takes seconds of this process each time."""
        host, _ = self._section.address
        probe = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, self._port)
        probe.close()
        await probe.wait_closed()

    async def _start(self) -> None:
        limits = self._section.limits
        self._kept = kept = Kept(self._folder, self._queue, self._section.keep.results, limits.streams)
        self._server = server = await self._new_server()
        calls = Calls(kept, self._section.commands, self._say, value_of, int(limits.message_bytes))
        self._space = space = Space(server, limits.streams)
        await space.build(calls.by_name())
        for stream, state in kept.states.items():
            if stream:
                await space.add_stream(stream, state)
        await space.write(object_id(names.BRIDGE, "LastItemNumber"), "UInt64", kept.newest)
        self._events = Events(server)
        await server.start()
        self._port = server.port
        self._beat = asyncio.create_task(self._beating(space))
        self._broken = False

    async def _new_server(self) -> BridgeServer:
        server = BridgeServer(self._door, self._section.limits)
        server.manufacturer_name, server.name, server.product_uri = _NAME, _NAME, f"urn:{_NAME}"
        server.application_type = ua.ApplicationType.Server
        await server.init()
        await server.set_application_uri(self._section.application_uri)
        await server.set_build_info(f"urn:{_NAME}", _NAME, _NAME, _version(), "", datetime.now(UTC))
        server.set_endpoint(self.endpoint)
        host, _ = self._section.address
        server.socket_address = (host, self._port)
        if self._own is None:
            server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
            server.set_identity_tokens([ua.AnonymousIdentityToken])
        else:
            server.iserver.certificate, server.iserver.private_key = self._own
            server.set_security_policy([ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])
            server.set_identity_tokens([ua.UserNameIdentityToken])
        return server

    def _say(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return operate(request, self._control, self._keys, self._section.commands.timeout_s)

    async def _beating(self, space: Space) -> None:
        """A PLC that sees the heartbeat stand still knows that what else it reads is old."""
        count = 0
        while True:
            await space.write(object_id(names.BRIDGE, "Heartbeat"), "UInt32", count)
            count = (count + 1) % 2**32
            await asyncio.sleep(self._section.heartbeat_s)

    async def deliver(self, items: Sequence[Item]) -> int:
        """Keep items, trigger their events, write their variables; how many of them.

        Raises:
            Undelivered: the disk does not take them, or the server is not open.
        """
        kept, space, events = self._kept, self._space, self._events
        if kept is None or space is None or events is None:
            raise Undelivered("opcua: the server is not open")
        batch = [
            told(replace(item, number=kept.number_of(item.number)), self._section.names)
            for item in items[:_BATCH]
        ]
        try:
            with self.progress.step("keep what is told"):
                whole = await asyncio.to_thread(kept.add, batch)
        except sqlite3.Error as error:
            raise Undelivered(f"{kept.path}: cannot be written ({error})") from None
        self._broken = True  # unless all of it goes well
        for one in whole:
            known = bool(one.stream) and await space.add_stream(
                one.stream, kept.states.get(one.stream) or State()
            )
            await events.trigger(one, kept.instance, has_object=known)
        for stream in dict.fromkeys(one.stream for one in whole):
            if stream in kept.states and space.has(stream):
                await space.show(stream, kept.states[stream])
        await self._show_bridge(items[:_BATCH], whole[-1].number)
        self._broken = False
        return len(whole)

    async def _show_bridge(self, items: Sequence[Item], number: int) -> None:
        space = self._space
        if space is None:
            return
        await space.write(object_id(names.BRIDGE, "LastItemNumber"), "UInt64", number)
        ups = [is_up(item.header) for item in items if item.kind == "availability"]
        heard = any(item.kind == "verdict" for item in items)
        if ups or heard:
            await space.write(object_id(names.BRIDGE, "DetectorUp"), "Boolean", ups[-1] if ups else True)

    async def close(self) -> None:
        """End the sessions and stop listening."""
        await self._stop()

    async def _stop(self) -> None:
        if self._beat is not None:
            self._beat.cancel()
            with suppress(asyncio.CancelledError):
                await self._beat
        if self._server is not None:
            with suppress(Exception):  # nothing that it says now would change anything
                await self._server.stop()
        if self._kept is not None:
            self._kept.close()
        self._beat = self._server = self._kept = self._space = self._events = None


def read_own(security: Security) -> tuple[x509.Certificate, PrivateKeyTypes]:
    """The server's certificate and its key.

    Raises:
        StreamerError: one line: which cannot be used, and why.
    """
    try:
        certificate = read_certificate(security.certificate)
    except (OSError, ValueError) as error:
        raise StreamerError(
            f"security.certificate: {security.certificate} is no certificate ({_reason(error)}); "
            "make one with python -m streamer.bridges.opcua.keys DIR"
        ) from None
    try:
        if security.key.stat().st_mode & 0o077:
            raise StreamerError(
                f"security.key: {security.key} can be read by others; chmod 600 {security.key}"
            )
        key = load_pem_private_key(security.key.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise StreamerError(
            f"security.key: {name_of(security.key)} is no private key as PEM without a password "
            f"({_reason(error)})"
        ) from None
    if key.public_key() != certificate.public_key():
        raise StreamerError(f"security.key: {security.key} is not that of {security.certificate}")
    return certificate, key


def _reason(error: Exception) -> str:
    return (error.strerror or "unreadable") if isinstance(error, OSError) else type(error).__name__


def _version() -> str:
    try:
        return version(_NAME)
    except PackageNotFoundError:
        return "0"

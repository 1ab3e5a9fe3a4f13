"""Where the server listens, bounded in what a connection may make it hold.

asyncua 2.1 buffers a message of any announced size, and answers that nobody reads without end.
"""

import asyncio
import math
import struct
from typing import Any

from asyncua import Server, ua
from asyncua.common.connection import TransportLimits
from asyncua.server.binary_server_asyncio import BinaryServer, OPCUAProtocol

from streamer.bridges.opcua.config import Limits
from streamer.bridges.opcua.session import Door, Inner

_CHUNK_BYTES = 65_535
_SMALLEST_CHUNK = 8_192
"""What OPC UA asks of every client at least."""
_STALLED_S = 60.0
"""A client that reads nothing for so long, while answers wait for it, is cut off."""


class _Transport(TransportLimits):  # type: ignore[misc]
    """The library's limits. A client may ask for small chunks, and not for ones of a byte."""

    def create_acknowledge_and_set_limits(self, msg: ua.Hello) -> ua.Acknowledge:
        msg.ReceiveBufferSize = max(msg.ReceiveBufferSize, _SMALLEST_CHUNK)
        msg.SendBufferSize = max(msg.SendBufferSize, _SMALLEST_CHUNK)
        return super().create_acknowledge_and_set_limits(msg)


class _Connection(OPCUAProtocol):  # type: ignore[misc]
    """One connection: bounded in what it buffers either way."""

    _buffer: bytes
    _stalled: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """The library waits for as many bytes as a message announces; up to 4 GiB, from anybody."""
        super().data_received(data)
        if len(self._buffer) >= 8:
            (announced,) = struct.unpack_from("<I", self._buffer, 4)
            if announced > _CHUNK_BYTES + 1 or len(self._buffer) > 2 * _CHUNK_BYTES:
                self._buffer = b""
                self._cut()

    async def _process_one_msg(self, header: Any, buf: Any) -> bool:
        """Ends with a message that cannot be read or is not secured as it must be; the library goes on."""
        try:
            return bool(await super()._process_one_msg(header, buf))
        except Exception:
            self._cut()
            raise

    def pause_writing(self) -> None:
        """Who does not read its answers is not asked for more, and cut off in the end."""
        if self.transport is not None:
            self.transport.pause_reading()
            self._watch(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """It reads again."""
        if self._stalled is not None:
            self._stalled.cancel()
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def _watch(self, before: int) -> None:
        self._stalled = asyncio.get_running_loop().call_later(_STALLED_S, self._look, before)

    def _look(self, before: int) -> None:
        waiting = 0 if self.transport is None else self.transport.get_write_buffer_size()
        if waiting >= before:
            self._cut()
        else:  # slowly, but it reads
            self._watch(waiting)

    def connection_lost(self, ex: BaseException | None) -> None:
        """Also of a connection that was refused: the library looks for it among those that were not."""
        if self._stalled is not None:
            self._stalled.cancel()
        super().connection_lost(ex)

    def _cut(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class _Listener(BinaryServer):  # type: ignore[misc]
    def _make_protocol(self) -> OPCUAProtocol:
        return _Connection(
            iserver=self.iserver,
            policies=self._policies,
            clients=self.clients,
            closing_tasks=self.closing_tasks,
            limits=self.limits,
        )


class BridgeServer(Server):  # type: ignore[misc]
    """A server that listens where it is told, with the limits above.

    Args:
        door: who may come in.
        limits: what clients may take.
    """

    def __init__(self, door: Door, limits: Limits) -> None:
        super().__init__(iserver=Inner(door, limits))
        self.limits = _Transport(
            max_recv_buffer=_CHUNK_BYTES,
            max_send_buffer=_CHUNK_BYTES,
            max_chunk_count=math.ceil(limits.message_bytes / _CHUNK_BYTES),
            max_message_size=int(limits.message_bytes),
        )

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port cannot be had; `stop` is still to be called.
        """
        await self._setup_server_nodes()
        host, port = self._get_bind_socket_info()
        self.bserver = _Listener(self.iserver, host or "127.0.0.1", port or 0, self.limits)
        self.bserver.set_policies(self._policies)
        await self.bserver.start()
        await self.iserver.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return 0 if self.bserver is None else int(self.bserver.port)

"""A bridge of one's own, as a plant would write it: each item a line of JSON over TCP, acknowledged."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress

from streamer.bridges.common import Section
from streamer.bridges.registry import Bridge
from streamer.bridges.sink import Item, Refused, Undelivered


class Settings(Section):
    port: int
    watches: bool = False


class Tcp:
    def __init__(self, port: int) -> None:
        self._port = port

    async def open(self) -> None:
        await self.close()
        try:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**24)
        except OSError as error:
            raise Undelivered(f"127.0.0.1:{self._port}: {error.strerror}") from None

    async def deliver(self, items: Sequence[Item]) -> int:
        try:
            for item in items:
                fields = {**vars(item), "header": dict(item.header)}
                for name in ("payload", "picture"):
                    fields[name] = fields[name] and len(fields[name])
                self._writer.write(json.dumps(fields).encode() + b"\n")
            await self._writer.drain()
            for n, _ in enumerate(items):
                answer = await self._reader.readline()
                if answer == b"refused\n" and n == 0:
                    await self.close()  # what it was sent behind it is not heard any more
                    await self.open()
                    raise Refused("the receiver says no")
                if answer != b"ok\n":
                    if n:
                        await self.close()
                        await self.open()
                        return n
                    raise Undelivered("the connection ended")
        except OSError as error:
            raise Undelivered(str(error)) from None
        return len(items)

    async def close(self) -> None:
        with suppress(AttributeError, OSError):
            self._writer.close()
            await self._writer.wait_closed()


class WatchfulTcp(Tcp):
    async def lost(self) -> None:
        with suppress(OSError):
            await self._reader.read(1)


def make(section: Settings, _common: object) -> Tcp:
    return WatchfulTcp(section.port) if section.watches else Tcp(section.port)


BRIDGE = Bridge(Settings, make)

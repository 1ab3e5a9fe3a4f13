"""The MQTT bridge's sink, driven as the base drives it, and a way to a broker that can be held up."""

import asyncio
import contextlib
from contextlib import asynccontextmanager

from item_support import queue_folder
from streamer_support import PATIENCE_S

from streamer.bridges.common import Common
from streamer.bridges.mqtt import BRIDGE
from streamer.bridges.sink import Undelivered

BASE = "musc/line"


def sink_of(folder, address, tell=None, detector=None, **section):
    common = Common.model_validate(
        {
            "queue": {"path": str(queue_folder(folder / "queue", "mqtt"))},
            "tell": tell or {},
            "detector": detector or {},
        }
    )
    return BRIDGE.make(BRIDGE.section.model_validate({"address": address, **section}), common)


@asynccontextmanager
async def sinking(folder, address, tell=None, **section):
    sink = sink_of(folder, address, tell, **section)
    try:
        await sink.open()
        yield sink
    finally:
        await sink.close()


async def all_delivered(sink, items):
    """As the base does it: until all have arrived."""
    while items:
        items = items[await sink.deliver(items) :]


async def delivered_at_last(sink, items):
    """As the base does it, whatever happens in between."""
    while items:
        with contextlib.suppress(Undelivered):
            items = items[await sink.deliver(items) :]
        await asyncio.sleep(0.01)


def run(work):
    return asyncio.run(asyncio.wait_for(work, PATIENCE_S))


@asynccontextmanager
async def between(port):
    """An address that leads to a broker, and an event: cleared, nothing that the broker says gets through."""
    speaks, pumps = asyncio.Event(), []
    speaks.set()

    async def pump(source, sink, gate):
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if gate is not None:
                    await gate.wait()
                sink.write(data)
                await sink.drain()
        sink.close()

    async def connected(reader, writer):
        broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", port)
        pumps.append(asyncio.ensure_future(pump(broker_reader, writer, speaks)))
        await pump(reader, broker_writer, None)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", speaks
        speaks.set()
        await asyncio.gather(*pumps)

"""The OPC UA bridge's sink in a loop of its own, and real clients of it.

Order comes from item numbers and from what a client has got, never from time. Every server builds the whole
standard address space, which takes seconds: tests of one file share one where they can.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from asyncua import Client, Node, ua
from bridge_support import Arrival
from item_support import queue_folder
from streamer_support import PATIENCE_S

from streamer.bridges.common import Common
from streamer.bridges.opcua import BRIDGE
from streamer.bridges.opcua.names import RESULT_FIELDS, STREAMS_INDEX, TYPES_INDEX, object_id
from streamer.bridges.sink import Item

ENDPOINT = "opc.tcp://127.0.0.1:0/musc-online"
BRIDGE_OBJECT = object_id("bridge")
EVENT_FIELDS = tuple(field.name for field in RESULT_FIELDS)
NANOSECONDS = 1_790_000_000 * 10**9


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a client to its end; one that waits for ever is ended."""
    return asyncio.run(asyncio.wait_for(work, 2 * PATIENCE_S))


class Served:
    """A sink that is open, its loop in a thread; `deliver` returns when the sink has."""

    def __init__(self, folder: Path, control: str | None = None, **section: Any) -> None:
        self.folder = folder
        self.detector = {} if control is None else {"control": control}
        self.section = {"endpoint": ENDPOINT, **section}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.number = 0

    def __enter__(self) -> "Served":
        self._thread.start()
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    def open(self) -> None:
        """Start the server, at the same port as before."""
        self.sink = BRIDGE.make(
            BRIDGE.section(**self.section),
            Common(queue={"path": queue_folder(self.folder, "opcua")}, detector=self.detector),
        )
        self.do(self.sink.open())
        self.section["endpoint"] = self.endpoint

    def close(self) -> None:
        self.do(self.sink.close())

    @property
    def endpoint(self) -> str:
        return self.sink.endpoint

    def deliver(self, *items: Item) -> None:
        """As the bridge does: what is left over is delivered again."""
        left: Sequence[Item] = items
        while left:
            left = left[self.do(self.sink.deliver(left)) :]

    def tell(self, **fields: Any) -> Item:
        """Deliver one more verdict."""
        self.number += 1
        item = verdict(self.number, **fields)
        self.deliver(item)
        return item


def verdict(number: int, frame_id: Any = None, stream: str = "line", **fields: Any) -> Item:
    """A score (or a revision, by `kind`) as the detector says it."""
    before = fields.pop("before", None)
    kind = fields.get("kind", "score")
    header = {
        "v": 1,
        "kind": "score",
        "stream": stream,
        "frame_id": f"part-{number}" if frame_id is None else frame_id,
        "seq": number,
        "capture_ns": NANOSECONDS + number * 10**9,
        "scored_ns": NANOSECONDS + number * 10**9 + 40_000_000,
        "meta": {"part_id": f"P{number}"},
        "raw_score": 0.5,
        "rscin_score": 0.5,
        "pred_score": 0.7,
        "pred_label": True,
        "threshold": 0.4,
        "state": "ready",
        "n_references": 12,
        "revision": 0,
        "is_final": False,
        "regions": [[1, 2, 3, 4, 0.5]],
        "anomaly_map": None,
        "latency_ms": {"total": 31.5},
        "model_id": "small",
        "known_defect": None,
        **fields,
    }
    return Item(number, "verdict", f"{stream}/{kind}", number, stream, header, before)


class Watcher:
    """What a subscription got, in its order."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.values: list[tuple[str, Any]] = []

    def event_notification(self, event: Any) -> None:
        self.events.append(event)

    def datachange_notification(self, node: Node, value: Any, _data: Any) -> None:
        self.values.append((str(node.nodeid.Identifier), value))

    async def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, f"waited in vain; {len(self.events)} events came"
            await asyncio.sleep(0.01)


@asynccontextmanager
async def watching(client: Client, node: ua.NodeId = BRIDGE_OBJECT, event: str = "ResultReadyEventType"):
    """A watcher of a node's events; nothing that is told from here on is missed."""
    watcher = Watcher()
    subscription = await client.create_subscription(50, watcher)
    await subscription.subscribe_events(client.get_node(node), client.get_node(ua.NodeId(event, TYPES_INDEX)))
    try:
        yield watcher
    finally:
        await subscription.delete()


def node_of(client: Client, identifier: str) -> Node:
    """By what docs/bridges-opcua.md writes after `s=`."""
    return client.get_node(ua.NodeId(identifier, STREAMS_INDEX))


async def call(client: Client, identifier: str, method: str, *given: Any) -> Any:
    """The outputs of a method of some `ResultManagement`."""
    node = node_of(client, identifier)
    return await node.call_method(ua.QualifiedName(method, TYPES_INDEX), *given)


async def fetched(
    client: Client, after: int, identifier: str = "bridge/ResultManagement"
) -> list[dict[str, Any]]:
    """All results behind a number, as a client fetches what it missed: by names of the outputs."""
    method = await node_of(client, identifier).get_child(ua.QualifiedName("GetResultsAfter", TYPES_INDEX))
    described = await method.get_child("0:OutputArguments")
    names = [one.Name for one in await described.read_value()]
    found: list[dict[str, Any]] = []
    more = True
    while more:
        asked = (ua.Variant(after, ua.VariantType.UInt64), ua.Variant(0, ua.VariantType.UInt32))
        more, _, *columns = await call(client, identifier, "GetResultsAfter", *asked)
        found += [dict(zip(names[2:], row, strict=True)) for row in zip(*columns, strict=True)]
        after = found[-1]["ItemNumber"] if found else after
    return found


class Plc:
    """A client as a plant has one: it hears events, connects again when it must, and fetches what it missed.

    Attributes:
        got: fields of every result by name, in the order of their numbers, each once.
        messages: of every DetectorMessage event that it heard.
        connections: how often it was connected.
    """

    def __init__(self, endpoint: str) -> None:
        self.got: list[dict[str, Any]] = []
        self.messages: list[Any] = []
        self.connections = 0
        self._endpoint, self._last = endpoint, 0
        self._ending, self._away = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()), daemon=True)

    def __enter__(self) -> "Plc":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def leave(self) -> None:
        """Disconnect, until `come_back`."""
        self._away.set()

    def come_back(self) -> None:
        self._away.clear()

    def arrived(self) -> list[Arrival]:
        labels = {0: None, 1: False, 2: True}
        return [
            Arrival(
                one["StreamName"],
                one["FrameId"],
                one["Revision"],
                "revision" if one["IsRevision"] else "score",
                labels[one["Verdict"]],
            )
            for one in list(self.got)
        ]

    async def _live(self) -> None:
        while not self._ending.is_set():
            if not self._away.is_set():
                with suppress(OSError, ua.UaError, TimeoutError, asyncio.CancelledError):
                    await self._connected()
            await asyncio.sleep(0.05)

    async def _connected(self) -> None:
        async with (
            Client(self._endpoint, timeout=10) as opc,
            watching(opc) as results,
            watching(opc, event="DetectorMessageEventType") as messages,
        ):
            # First subscribe, then fetch: what is told in between comes twice, and nothing never.
            for one in await fetched(opc, self._last):
                self._take(one)
            self.connections += 1
            while not (self._ending.is_set() or self._away.is_set()):
                await opc.check_connection()
                while results.events:
                    event = results.events.pop(0)
                    self._take({name: getattr(event, name) for name in EVENT_FIELDS})
                while messages.events:
                    self.messages.append(messages.events.pop(0))
                await asyncio.sleep(0.02)

    def _take(self, result: dict[str, Any]) -> None:
        if result["ItemNumber"] > self._last:
            self._last = result["ItemNumber"]
            self.got.append(result)

"""Items as a queue hands them out, for tests of what becomes of them."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from streamer.bridges.queue import Queue
from streamer.bridges.sink import Item, Sink

One = TypeVar("One", bound=Sink)

AT_NS = 1_796_000_000_250_000_000
"""2026-11-30T00:53:20.250Z: a Monday in UTC, a Sunday in New York."""
HOUR_NS = 3600 * 10**9


def verdict(number: int, *, label: bool | None = False, stream: str = "line", **more: Any) -> Item:
    """A provisional score; keys of the header, or attributes of the item, are taken from `more`."""
    own = {key: more.pop(key) for key in ("before", "payload", "picture") if key in more}
    kind = more.pop("kind", "score")
    header = {
        "v": 1,
        "kind": kind,
        "stream": stream,
        "frame_id": f"part-{number}",
        "seq": number,
        "capture_ns": AT_NS - 10**8,
        "scored_ns": AT_NS + number * 10**6,
        "meta": {"part_id": f"P{number}"},
        "raw_score": 0.5,
        "rscin_score": 0.25,
        "pred_score": 0.75,
        "pred_label": label,
        "threshold": 0.4,
        "state": "ready",
        "n_references": 9,
        "revision": 0,
        "is_final": False,
        "regions": [],
        "anomaly_map": None,
        **more,
    }
    return Item(number, "verdict", f"{stream}/{kind}", number, stream, header, kept_ns=AT_NS, **own)


def event(number: int, **more: Any) -> Item:
    header = {
        "v": 1, "kind": "event", "stream": "line", "event": "repeat", "group": 3, "frame_ids": ["a", "b"],
        "name": "scratch", "event_ns": AT_NS, **more,
    }  # fmt: skip
    return Item(number, "event", "line/event", number, "line", header, kept_ns=AT_NS)


def queue_folder(folder: Path, bridge: str) -> Path:
    """A folder with an empty queue, from which a sink has its bridge's id."""
    folder.mkdir(parents=True, exist_ok=True)
    Queue(folder, bridge, max_items=100, max_bytes=2**20).close()
    return folder


def availability(number: int, detector: str) -> Item:
    return Item(number, "availability", "", -1, None, {"v": 1, "detector": detector}, kept_ns=AT_NS)


def using(sink: One, work: Callable[[One], Awaitable[Any]]) -> Any:
    """Open a sink, work with it, close it; what the work gives."""

    async def run() -> Any:
        await sink.open()
        try:
            return await work(sink)
        finally:
            await sink.close()

    return asyncio.run(run())

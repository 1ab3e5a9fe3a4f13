"""What the files bridge writes, written and read back: items in, rows, objects and names out."""

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from item_support import AT_NS, HOUR_NS, queue_folder, using

from streamer.bridges.files import Files, FilesSink
from streamer.bridges.sink import Item
from streamer.maps import PatchGrid, encode_map, interpolate

DAY = "2026-11-30"
NOW_NS = AT_NS + HOUR_NS


def sink(folder: Path, now_ns: int = NOW_NS, queue: str = "queue", **more: Any) -> FilesSink:
    return FilesSink(
        Files(folder=folder / "told", **more), queue_folder(folder / queue, "files"), lambda: now_ns
    )


def write(one: FilesSink, *items: Item) -> int:
    return using(one, lambda opened: opened.deliver(items))


def rows(folder: Path, name: str = f"{DAY}/told-0001.csv") -> list[dict[str, str]]:
    with (folder / "told" / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


def objects(folder: Path, name: str = f"{DAY}/told-0001.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "told" / name).read_text("ascii").splitlines()]


def names(folder: Path) -> list[str]:
    told = folder / "told"
    return sorted(
        str(path.relative_to(told))
        for path in told.rglob("*")
        if path.is_file() and path not in {told / "lock", told / ".clock"}
    )


def jpeg(height: int = 96, width: int = 128) -> bytes:
    return cv2.imencode(".jpg", np.full((height, width, 3), 90, np.uint8))[1].tobytes()


def mapped(encoding: str = "grid") -> dict[str, Any]:
    """A map that is hot in its upper left quarter, as it travels."""
    scores = np.full((8, 8), 0.1, np.float32)
    scores[:4, :4] = 0.9
    entry, payload = encode_map(interpolate(scores, (56, 56)), encoding, PatchGrid(scores))
    return {"anomaly_map": entry, "payload": payload}

"""Names of what is written: safe on every file system, whatever frames and streams are called."""

import re
from typing import Any

from streamer.bridges.sink import Item

DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
LINES = re.compile(r"told-(\d{4,9})\.(csv|jsonl)", re.ASCII)
OVERLAYS, NEW, CLOCK = "overlays", ".new", ".clock"
OVERLAY = re.compile(r"[A-Za-z0-9_-]+_\d{10,20}-[0-9a-f]{8}\.(?:jpg|png)|\.new", re.ASCII)
"""`NEW` is what a process that was killed has left of the last one; `CLOCK` is beside the days."""

_UNSAFE = re.compile(r"[^A-Za-z0-9_]+")
_CHARACTERS = 48


def lines_name(suffix: str, part: int) -> str:
    """Of the table or the JSON lines of a day: `told-0001.csv`, `told-0002.csv`, ...; they sort by age."""
    return f"told-{part:04d}.{suffix}"


def part_of(name: str, suffix: str) -> int:
    """The number of a day's file, 0 where it is none of ours."""
    found = LINES.fullmatch(name)
    return int(found[1]) if found and found[2] == suffix else 0


def overlay_name(item: Item, bridge: str, image_format: str) -> str:
    """`STREAM_FRAME_NUMBER-BRIDGE.jpg`: names that become the same are told apart by the item's number.

    No dot but that of the suffix: some systems reserve names such as `con.` whatever follows.
    """
    suffix = "jpg" if image_format == "jpeg" else "png"
    frame = item.header.get("frame_id")
    return f"{_safe(item.stream)}_{_safe(frame)}_{item.number:010d}-{bridge[:8]}.{suffix}"


def _safe(name: Any) -> str:
    """A name in letters, digits, `_` and `-`, its end where it is too long: there the numbers are."""
    text = "" if name is None else str(name)
    return _UNSAFE.sub("-", text[-4 * _CHARACTERS :])[-_CHARACTERS:].strip("-") or "x"

"""What a change of the store is to those who look: one message of the page's WebSocket."""

import json
import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Any

_OPTIONAL = frozenset({"score", "picture", "health"})


@dataclass(frozen=True)
class Update:
    """One message to every client.

    Attributes:
        header: the JSON, with its `type`.
        grid: float32 little-endian, row by row, of a score that has a map; else None.
        stream: whom it concerns; None for everybody.
        must_arrive: whether it is kept for a client that is slow, whatever else is dropped.
    """

    header: dict[str, Any]
    grid: bytes | None = None
    stream: str | None = None
    must_arrive: bool = True

    @cached_property
    def encoded(self) -> str | bytes:
        """Text, or with a grid `[u32 header length][header][grid]`, little-endian."""
        text = json.dumps(self.header, ensure_ascii=False, separators=(",", ":"))
        if self.grid is None:
            return text
        head = text.encode()
        return struct.pack("<I", len(head)) + head + self.grid


def update(
    header: dict[str, Any], *, stream: str | None = None, grid: bytes | None = None, may_drop: bool = False
) -> Update:
    """An update; scores, pictures and health may be dropped, and a revision that flips nothing."""
    must_arrive = header["type"] not in _OPTIONAL and not may_drop
    return Update(header, grid, stream, must_arrive)

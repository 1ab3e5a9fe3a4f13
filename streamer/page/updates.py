"""What a change of the store is to those who look: one message of the page's WebSocket."""

import json
import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Any

_OPTIONAL = frozenset({"score", "picture", "health"})
_PUSHED_BYTES = 64 * 1024
"""Of a picture that goes with its message, and may wait for slow browsers; larger ones are asked for."""


@dataclass(frozen=True)
class Update:
    """One message to every client.

    Attributes:
        header: the JSON, with its `type`.
        grid: float32 little-endian, row by row, of a score that has a map; else None.
        stream: whom it concerns; None for everybody.
        must_arrive: whether it is kept for a client that is slow, whatever else is dropped.
        jpeg: of a picture, for those who draw it as it comes; else None.
    """

    header: dict[str, Any]
    grid: bytes | None = None
    stream: str | None = None
    must_arrive: bool = True
    jpeg: bytes | None = None

    @cached_property
    def encoded(self) -> str | bytes:
        """Text, or with a grid `[u32 header length][header][grid]`, little-endian."""
        text = json.dumps(self.header, ensure_ascii=False, separators=(",", ":"))
        return text if self.grid is None else _with_bytes(text, self.grid)

    @cached_property
    def pictured(self) -> str | bytes:
        """As `encoded`, with the picture, if it has one, in a grid's place."""
        if self.jpeg is None or len(self.jpeg) > _PUSHED_BYTES or not isinstance(self.encoded, str):
            return self.encoded
        return _with_bytes(self.encoded, self.jpeg)


def _with_bytes(text: str, payload: bytes) -> bytes:
    head = text.encode()
    return struct.pack("<I", len(head)) + head + payload


def update(
    header: dict[str, Any],
    *,
    stream: str | None = None,
    grid: bytes | None = None,
    may_drop: bool = False,
    jpeg: bytes | None = None,
) -> Update:
    """An update; scores, pictures and health may be dropped, and a revision that flips nothing."""
    must_arrive = header["type"] not in _OPTIONAL and not may_drop
    return Update(header, grid, stream, must_arrive, jpeg)

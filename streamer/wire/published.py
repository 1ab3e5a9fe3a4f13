"""What goes out: `[topic, header, payload?]`, topic `stream/kind`, and how a subscriber reads it."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from streamer.errors import WireError
from streamer.maps import MapEncoding, decode_map, encode_map
from streamer.wire.frame import VERSION, pack, unpack

__all__ = [
    "KINDS",
    "MapEncoding",
    "Message",
    "decode_map",
    "encode_map",
    "pack_message",
    "topic_of",
    "unpack_message",
]

KINDS = ("score", "revision", "event", "operator", "dropped", "error", "status", "picture", "source")
_MAX_HEADER = 4 * 1024 * 1024
# A subscriber trusts its detector more than a detector its cameras, but not without a limit.


class Message(dict[str, Any]):
    """A published header as a mapping, and what came with it.

    `payload` is the third part, None where there was none: of a `score` or `revision` its map, which
    `anomaly_map` reads, of a `picture` the JPEG. `packed` is the header as it came, b"" if it did not.
    """

    def __init__(
        self, header: Mapping[str, Any], topic: str = "", payload: bytes | None = None, packed: bytes = b""
    ) -> None:
        super().__init__(header)
        self.topic = topic
        self.payload = payload
        self.packed = packed

    @property
    def kind(self) -> str:
        """One of `KINDS`; of a newer detector perhaps another, "" where there is none."""
        return str(self.get("kind", ""))

    @cached_property
    def anomaly_map(self) -> npt.NDArray[np.float32] | None:
        """`[H, W]` float32 in the units of `raw_score`, or None where none was sent.

        Raises:
            WireError: the map is damaged.
        """
        entry = self.get("anomaly_map")
        if entry is None or self.payload is None:
            return None
        return decode_map(entry, self.payload)


def topic_of(stream: str, kind: str) -> str:
    """`stream/kind`; a stream's name has no '/', so that `stream/` is a prefix of its topics only."""
    return f"{stream}/{kind}"


def pack_message(topic: str, header: Mapping[str, Any], payload: bytes | None = None) -> list[bytes]:
    """The parts of a published message; `v` is set here."""
    parts = [topic.encode(), pack({"v": VERSION, **header})]
    return parts if payload is None else [*parts, payload]


def unpack_message(parts: Sequence[bytes]) -> Message:
    """A published message from its parts.

    Raises:
        WireError: `bad_parts`, `bad_header`, `unsupported_version`.
    """
    if len(parts) not in {2, 3}:
        raise WireError(
            "bad_parts", f"message: got {len(parts)} parts, expected topic, header and maybe a payload"
        )
    header = unpack(parts[1], _MAX_HEADER)
    if header.get("v") != VERSION:
        raise WireError("unsupported_version", f"v: got {header.get('v')!r}, expected {VERSION}")
    payload = parts[2] if len(parts) == 3 else None
    return Message(header, parts[0].decode("utf-8", "replace"), payload, parts[1])

"""An accepted frame on its way to its score."""

from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from streamer.wire.frame import VERSION, FrameMessage

if TYPE_CHECKING:
    from streamer.server.stream import Line

Ack = tuple[bytes, dict[str, Any]]
"""Routing id of a reliable sender, and what it is told."""


@dataclass(eq=False)
class Waiting:
    """A frame whose fate is open. `sender` is the routing id of a reliable sender, who waits for an ack."""

    message: FrameMessage
    line: "Line"
    capture_ns: int
    sender: bytes | None = None
    received_ns: int = field(default_factory=perf_counter_ns)


def ack(
    sender: bytes,
    stream: str | None,
    frame_id: str | int | None,
    seq: int | None,
    status: str,
    code: str = "",
) -> Ack:
    """What a reliable sender is told of a frame.

    Args:
        sender: its routing id.
        stream, frame_id, seq: of the frame, as far as known.
        status: `scored` or `refused` are final; after `busy` or `dropped` the frame is to be sent again.
        code: why it was refused.
    """
    return sender, {
        "v": VERSION,
        "kind": "ack",
        "stream": stream,
        "frame_id": frame_id,
        "seq": seq,
        "status": status,
        "code": code,
    }

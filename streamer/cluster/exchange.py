"""What passes between gate, backbones and lines: plain data, no sockets, no detectors, no handles."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from musc_online.arrays import FrameId
from streamer.errors import StreamerError
from streamer.server.ledger import LastFrame
from streamer.server.pictures import Picture
from streamer.wire.frame import FrameMessage

Code = tuple[str, str]
"""A code of `streamer.wire.codes` and its text."""

Tokens = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
"""Patch tokens `[S, P, C]`, with tiles `[T, S, P, C]`, and the frame's class token `[D]`."""


class ShardLostError(StreamerError):
    """A shard is gone, and a part of the ring with it: the line is to be made anew from its files."""


class LineEndedError(StreamerError):
    """A process was asked something of a line that it has no more."""


@dataclass(frozen=True)
class BackboneIdentity:
    """What a detector says of the backbone that it never runs itself, as attributes of the same names."""

    fingerprint: str
    precision: str


@dataclass(frozen=True)
class Job:
    """A frame for a backbone: its message, payload and all."""

    message: FrameMessage
    stream: str


@dataclass(frozen=True)
class Extracted:
    """What a backbone says of a frame beside its tokens.

    `error` is set where there are none; `in_time` is false if its picture ran into `limits.decode_s`.
    `latency_ms` are the phases so far, beginning as the backbone got the frame.
    """

    shape: tuple[int, int] = (0, 0)
    contrast: float | None = None
    picture: Picture | None = None
    warnings: tuple[Code, ...] = ()
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    error: Code | None = None
    in_time: bool = True


@dataclass(frozen=True)
class Frame:
    """A frame for a line, beside its tokens.

    `age_ms` is what passed since its time began (its capture, or its arrival where that cannot be) by the
    gate's clock, `waited_ms` since it arrived: clocks of machines differ.
    """

    frame_id: FrameId
    seq: int | None
    capture_ns: int
    meta: Mapping[str, Any]
    age_ms: float
    waited_ms: float
    shape: tuple[int, int]
    contrast: float | None
    latency_ms: Mapping[str, float]


@dataclass(frozen=True)
class Settled:
    """A frame whose score is out: as the gate entered it in the ledger."""

    frame: LastFrame
    late: bool


@dataclass(frozen=True)
class Told:
    """A message to publish: the header without `v` and `pub_seq`; the anomaly map is encoded in `payload`.

    `spent_ms` is a score's: what passed since its frame's time began, the line's part measured there.
    """

    kind: Literal["score", "revision", "event", "operator", "error"]
    header: dict[str, Any]
    payload: bytes | None = None
    spent_ms: float = 0.0


@dataclass(frozen=True)
class Reply:
    """What came of one operation.

    Attributes:
        told: what to publish, in order; a frame's score comes first.
        state: `Detector.status()` after it.
        held: ids in the ring, quarantine and all.
        change: number of the stream's next change; None without a folder for snapshots.
        wants_snapshot: whether not to wait for the next round.
        journal_bytes: on disk since the last snapshot.
        answer: of `operate`; of `flush`, how many scores are final.
        error: why nothing was done.
    """

    told: list[Told] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)
    held: tuple[FrameId, ...] = ()
    change: int | None = None
    wants_snapshot: bool = False
    journal_bytes: int = 0
    answer: Any = None
    error: Code | None = None


@dataclass(frozen=True)
class Redone:
    """A change that was done before a line died, and whose reply the gate never had: done again.

    `told` is what the reply would have held, but for the score of a frame: that waits in the line until the
    gate sends the frame again. `answer` is that of a word or a flush.
    """

    number: int
    kind: Literal["frame", "word", "flush"]
    frame_id: FrameId | None
    told: list[Told]
    answer: Any = None


@dataclass(frozen=True)
class Opened:
    """A line that is up.

    Attributes:
        reply: its state; `told` holds what went wrong with files.
        tally: of its snapshot and journal; None where nothing was restored.
        scored: ids that its snapshot or journal knows to be scored and published, oldest first.
        unpublished: ids in its ring whose score only the ring holds, and nobody saw.
        waiting: ids whose scores it holds to be published as soon as their frames come again.
        redone: changes since the number the gate asked for.
    """

    reply: Reply
    tally: dict[str, Any] | None = None
    scored: list[FrameId] = field(default_factory=list)
    unpublished: list[FrameId] = field(default_factory=list)
    waiting: list[FrameId] = field(default_factory=list)
    redone: list[Redone] = field(default_factory=list)

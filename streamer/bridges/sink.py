"""What a bridge hands on, and to whom: one item a word of the detector, one sink a system of the plant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from streamer.errors import StreamerError
from streamer.progress import Progress

Kind = Literal["verdict", "event", "operator", "dropped", "error", "availability"]


@dataclass(frozen=True)
class Item:
    """One thing to tell, in the order in which it is told.

    Attributes:
        number: of this bridge's queue, counting up, the same at every try: what comes twice can be told.
        kind: `verdict` is a score or a revision.
        topic: of the detector, `stream/kind`; "" where none is concerned.
        pub_seq: of that topic; -1 where there is none.
        stream: whom it concerns; None for the detector.
        header: as published (`docs/wire.md`), without its map.
        before: of a verdict the label that was told of this frame before, None where none was; `header` has
            the one that counts now.
        payload: of a verdict its map as published, or None; `header["anomaly_map"]` says how to read it.
        picture: of a verdict the JPEG that the detector sent of the frame, None where none came.
        kept_ns: when the bridge heard it, nanoseconds since 1970; the same at every try.
    """

    number: int
    kind: Kind
    topic: str
    pub_seq: int
    stream: str | None
    header: Mapping[str, Any]
    before: bool | None = None
    payload: bytes | None = None
    picture: bytes | None = None
    kept_ns: int = 0

    @property
    def is_partial(self) -> bool:
        """Of a verdict: whether a later one may say otherwise."""
        return self.kind == "verdict" and not self.header.get("is_final", False)


class Undelivered(StreamerError):  # noqa: N818
    """The receiver did not take it now: it is tried again, with growing pauses, for as long as it takes."""


class Refused(StreamerError):  # noqa: N818
    """The receiver will never take this item: it goes to the dead letters, counted and told."""


class Sink(Protocol):
    """Hands items to one receiver. All methods run in the bridge's one event loop.

    A sink keeps no queue of its own: what `deliver` has not returned for is delivered again.
    """

    async def open(self) -> None:
        """Connect; called again after a failure, when what is left of the old connection is to be dropped.

        Raises:
            Undelivered: not now.
        """

    async def deliver(self, items: Sequence[Item]) -> int:
        """Hand over items in order; returns how many, from the first, arrived for certain (1 or more).

        Raises:
            Undelivered: not even the first arrived.
            Refused: the first will never be taken.
        """

    async def close(self) -> None:
        """Say goodbye and disconnect; never raises."""


@runtime_checkable
class Watchful(Protocol):
    """A sink may have this method too, where it notices by itself that its connection is gone."""

    async def lost(self) -> None:
        """Return, or raise Undelivered, once the connection that `open` made is gone: it is opened again.

        Waited for while nothing is to be delivered; cancelled and called again as that goes on.
        """


@runtime_checkable
class Working(Protocol):
    """A sink may have this too, where threads of its own do its work: one that hangs is seen by it."""

    progress: Progress


@runtime_checkable
class Counting(Protocol):
    """A sink may have this method too: figures of its own, in the bridge's status."""

    def counts(self) -> Mapping[str, tuple[str, int]]:
        """By name what it is, for a person, and how often since the start; from any thread."""

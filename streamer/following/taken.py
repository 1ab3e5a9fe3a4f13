"""What a follower takes of what a detector published: messages in order, and the holes among them."""

from dataclasses import dataclass, field

from streamer.wire.published import Message


@dataclass(frozen=True)
class Hole:
    """Numbers `first` to `last` of a topic did not come live: so many are lost, so many filled.

    Neither: they were gone before anybody could miss them, and are kept as known.
    """

    topic: str
    first: int
    last: int
    lost: int
    filled: int


@dataclass(frozen=True)
class Came:
    """A message, and whether it came by itself; what only the history gave did not."""

    message: Message
    live: bool


@dataclass
class Taken:
    """`steps`: messages to keep and holes to tell, in order; `anew`: topics that are numbered anew."""

    steps: list[Came | Hole] = field(default_factory=list)
    anew: list[str] = field(default_factory=list)

    @property
    def messages(self) -> list[Message]:
        """The messages, in order."""
        return [one.message for one in self.steps if isinstance(one, Came)]

    @property
    def holes(self) -> list[Hole]:
        """The holes, in order."""
        return [one for one in self.steps if isinstance(one, Hole)]

    def add(self, more: "Taken") -> None:
        """What came after it."""
        self.steps += more.steps
        self.anew += more.anew

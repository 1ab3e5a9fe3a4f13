"""The names of all topics, safe whatever a stream is called."""

from dataclasses import dataclass
from urllib.parse import quote

from streamer.errors import StreamerError

EMPTY = "%"
"""The level of an empty name; no other name is encoded so."""
_MOST_PREFIX = 200
_MOST_TOPIC = 1024


def level(name: str) -> str:
    """A name as one level of a topic, percent-encoded as in a URL but for ASCII letters, digits and `_.-~`.

    Two names never become one level, and `urllib.parse.unquote` gives the name back.
    """
    return quote(name, safe="", errors="surrogatepass") or EMPTY


def check_levels(text: str) -> str:
    """A topic, or its beginning, as somebody may write it in a configuration or a message.

    Raises:
        StreamerError: a wildcard, a control character, an empty level, a broker's own topic, or too long.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        size = 0
    if not 0 < size <= _MOST_TOPIC or not text.isprintable() or set(text) & set("+#"):
        raise StreamerError(
            f"got '{text[:80]}', expected 1 to {_MOST_TOPIC} bytes of printable text without + and #"
        )
    if text.startswith("$") or not all(text.split("/")):
        raise StreamerError(f"got '{text[:80]}', expected levels that are not empty, the first without $")
    return text


def check_prefix(text: str) -> str:
    """What all topics of a bridge begin with: as `check_levels`, and of at most 200 bytes.

    Raises:
        StreamerError: it is no such text.
    """
    if len(check_levels(text).encode()) > _MOST_PREFIX:
        raise StreamerError(f"got {len(text.encode())} bytes, expected at most {_MOST_PREFIX}")
    return text


@dataclass(frozen=True)
class Topics:
    """Topics of one bridge.

    Attributes:
        prefix: of one or more levels, as `check_prefix` takes it.
        line: whose detector it is; any text.
    """

    prefix: str
    line: str

    @property
    def base(self) -> str:
        """What all of them begin with, without a slash at the end."""
        return f"{self.prefix}/{level(self.line)}"

    @property
    def availability(self) -> str:
        """Of the bridge: `online` or `offline`, retained, and its last will."""
        return f"{self.base}/availability"

    @property
    def detector(self) -> str:
        """Of the detector: `online` or `offline`, retained."""
        return f"{self.base}/detector/availability"

    @property
    def bridge(self) -> str:
        """Counts of the bridge itself, retained."""
        return f"{self.base}/bridge"

    def of(self, stream: str | None, what: str) -> str:
        """What is told of a stream, or of none."""
        return f"{self.base}/{what}" if stream is None else f"{self.base}/streams/{level(stream)}/{what}"

    def command(self, name: str) -> str:
        """Where an operator's word is taken."""
        return f"{self.base}/commands/{name}"

    def answer(self, name: str) -> str:
        """Where it is answered, if the sender names no other topic."""
        return f"{self.base}/answers/{name}"

    def takes_answers(self, topic: str, more: tuple[str, ...] = ()) -> bool:
        """Whether a sender may have its answer there: below `answers` or one of `more`, not among ours."""
        try:
            check_levels(topic)
        except StreamerError:
            return False
        if topic.startswith(f"{self.base}/"):
            return topic.startswith(f"{self.base}/answers/")
        return any(topic == one or topic.startswith(f"{one}/") for one in more)

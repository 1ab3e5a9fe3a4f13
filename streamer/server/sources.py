"""What publishers say of their cameras: the newest of each stream, until nothing more is heard."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from streamer.errors import WireError
from streamer.server.rate import Rates
from streamer.wire.source import SILENT_S, UNKNOWN, SourceMessage

RATE = 100.0
"""Messages a second that one sender may send of its sources; a hundred may come at once."""
_SILENT_NS = round(1e9 * SILENT_S)


@dataclass
class _Source:
    """What was said last, when by both clocks, and whether its silence has been told."""

    message: SourceMessage
    heard: float
    heard_ns: int
    told_silent: bool = False


class Sources:
    """The newest word on each stream's source; safe from any thread.

    Args:
        most: streams that are kept without having had a frame: for one more, that of which nothing was heard
            for longest makes room, if it is silent or ended.
        clock: seconds, monotonic.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._lock = threading.Lock()
        self._sources: dict[str, _Source] = {}
        self._rates = Rates(RATE)

    def heard(self, message: SourceMessage, peer: str, *, is_open: bool) -> dict[str, Any]:
        """A publisher said how its source is; what is to be published of it. For the receiving thread.

        Args:
            message: what it said.
            peer: whose rate it counts to.
            is_open: whether the stream has had a frame: there is room for such.

        Raises:
            WireError: `rate_limited`; `too_many_streams` where all that are kept are being heard of.
        """
        if not self._rates.allow(peer):
            raise WireError(
                "rate_limited",
                f"peer {peer}: more than {RATE:.0f} messages a second on sources",
                stream=message.stream,
            )
        with self._lock:
            if message.stream not in self._sources and not is_open:
                self._make_room(message.stream)
            source = _Source(message, self._clock(), time.time_ns())
            self._sources[message.stream] = source
            return {"stream": message.stream, **self._facts(source)}

    def fallen_silent(self) -> list[dict[str, Any]]:
        """What is to be published of sources that fell silent since last asked: each once."""
        with self._lock:
            found = [one for one in self._sources.values() if not one.told_silent and self._is_silent(one)]
            for source in found:
                source.told_silent = True
            return [{"stream": source.message.stream, **self._facts(source)} for source in found]

    def status(self) -> dict[str, dict[str, Any]]:
        """By stream what `status` shows: `state` is `unknown` after `SILENT_S` without a word."""
        with self._lock:
            return {stream: self._facts(source) for stream, source in self._sources.items()}

    def _facts(self, source: _Source) -> dict[str, Any]:
        facts = {**source.message.facts(), "heard_ns": source.heard_ns}
        if self._is_silent(source):
            facts |= {"state": UNKNOWN, "since_ns": source.heard_ns + _SILENT_NS, "fps": None}
        return facts

    def _is_silent(self, source: _Source) -> bool:
        # Who has ended has said its last word, and is not missed.
        return source.message.state != "ended" and self._clock() - source.heard >= SILENT_S

    def _make_room(self, stream: str) -> None:
        if len(self._sources) < self._most:
            return
        gone = [one for one in self._sources.values() if one.message.state == "ended" or self._is_silent(one)]
        if not gone:
            raise WireError(
                "too_many_streams",
                f"stream: '{stream}' would be one more than {self._most} with a source "
                "(limits.streams and limits.sleeping)",
                stream=stream,
            )
        del self._sources[min(gone, key=lambda one: one.heard).message.stream]

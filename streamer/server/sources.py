"""What publishers say of their cameras: the newest of each stream, until nothing more is heard."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from streamer.errors import WireError
from streamer.server.logs import RateLimitedLog
from streamer.server.rate import Rates
from streamer.wire.source import SILENT_S, UNKNOWN, SourceMessage

RATE = 100.0
"""Messages a second that one sender may send of its sources; a hundred may come at once."""
NEW_RATE = 0.1
"""Streams a second that one sender may name anew; twice as many as are kept may come at once."""
IN_HEARTBEAT = 1024
"""Streams whose source a heartbeat names: it stays within what a subscriber reads, however many are kept."""
_SILENT_NS = round(1e9 * SILENT_S)


@dataclass
class _Source:
    """What was said last, by whom, when by both clocks, and whether its silence has been told."""

    message: SourceMessage
    peer: str
    heard: float
    heard_ns: int
    told_silent: bool = False


class Sources:
    """The newest word on each stream's source; safe from any thread.

    Args:
        most: streams that are kept without a ring. For one more makes room what is silent or ended, longest
            first, or the stream of a sender that has more of them than this one.
        has_ring: whether a stream has had a frame that could be used: there is room for all such.
        clock: seconds, monotonic.
    """

    def __init__(
        self, most: int, has_ring: Callable[[str], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most, self._has_ring, self._clock = most, has_ring, clock
        self._lock = threading.Lock()
        self._sources: dict[str, _Source] = {}
        self._log = RateLimitedLog()
        self._rates = Rates(RATE)
        self._new_rates = Rates(NEW_RATE, at_once=2 * most)

    def heard(self, message: SourceMessage, peer: str) -> dict[str, Any]:
        """A publisher said how its source is; what is to be published of it. For the receiving thread.

        Args:
            message: what it said.
            peer: whose rate it counts to.

        Raises:
            WireError: `rate_limited`; `too_many_streams` where all that are kept are being heard of.
        """
        stream = message.stream
        if not self._rates.allow(peer):
            raise WireError(
                "rate_limited",
                f"peer {peer}: more than {RATE:.0f} messages a second on sources",
                stream=stream,
            )
        with self._lock:
            before = self._sources.get(stream)
            if before is None:
                self._make_room(stream, peer)
            elif before.peer != peer and not self._is_gone(before):
                # Any publisher may, as it may send its frames; but it is seldom meant.
                self._log.warning("source_said_by_two", "source", stream=stream, peers=[before.peer, peer])
            source = _Source(message, peer, self._clock(), time.time_ns())
            self._sources[stream] = source
            return {"stream": stream, **self._facts(source)}

    def frames_came(self, begun_ns: Mapping[str, int]) -> None:
        """Forget sources that ended and whose stream goes on: another sends it, and its silence counts again.

        Args:
            begun_ns: when the frame of each stream that was scored last was captured, or came where its
                capture time cannot be, since 1970. When it was scored, or came, says nothing: it may have
                waited for minutes, here or at its sender.
        """
        with self._lock:
            for stream, at_ns in begun_ns.items():
                source = self._sources.get(stream)
                if source and source.message.state == "ended" and at_ns > source.heard_ns + _SILENT_NS:
                    del self._sources[stream]

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

    def _is_gone(self, source: _Source) -> bool:
        return source.message.state == "ended" or self._is_silent(source)

    def _make_room(self, stream: str, peer: str) -> None:
        """For one more: streams may have lost their rings since they were heard of, and count again then."""
        has_ring = self._has_ring(stream)
        # First, whether there is room or not: whoever goes on and on costs no look at all that is kept.
        if not has_ring and not self._new_rates.allow(peer):
            raise WireError(
                "rate_limited",
                f"peer {peer}: more than {2 * self._most} new streams with a source, and one every "
                f"{1 / NEW_RATE:.0f} s from then on",
                stream=stream,
            )
        room = self._most - (not has_ring)
        if len(self._sources) <= room:
            return
        kept = [one for one in self._sources.values() if not self._has_ring(one.message.stream)]
        while len(kept) > room:
            given_up = self._given_up(kept, peer, is_own=not has_ring and len(kept) == self._most)
            if given_up is None:
                raise WireError(
                    "too_many_streams",
                    f"stream: '{stream}' would be one more than {self._most} with a source "
                    "(limits.streams and limits.sleeping)",
                    stream=stream,
                )
            kept.remove(given_up)
            del self._sources[given_up.message.stream]

    def _given_up(self, kept: list[_Source], peer: str, *, is_own: bool) -> _Source | None:
        """What makes room; where it is for a stream of `peer`, it costs no sender that has fewer of them."""
        held = Counter(one.peer for one in kept)
        own = held[peer] + 1

        def may_go(one: _Source) -> bool:
            if not is_own or held[one.peer] > own:
                return True
            return self._is_gone(one) and (one.peer == peer or held[one.peer] == own)

        return min(filter(may_go, kept), key=lambda one: (not self._is_gone(one), one.heard), default=None)


def in_heartbeat(sources: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Of sources, as `status` has them, what a heartbeat says: all else is in their own messages.

    Returns:
        `sources`, the state of each and since when, and `sources_left_out`, how many more there are: those
        that have ended are left out first, then those that were heard of longest ago.
    """
    first = sorted(sources, key=lambda name: (sources[name]["state"] == "ended", -sources[name]["heard_ns"]))
    return {
        "sources": {
            name: {key: sources[name][key] for key in ("state", "since_ns")} for name in first[:IN_HEARTBEAT]
        },
        "sources_left_out": max(0, len(sources) - IN_HEARTBEAT),
    }

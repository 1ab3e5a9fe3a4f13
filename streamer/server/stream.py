"""One stream: its configuration, its detector, the ids it knows, its frames in flight, what scores echo."""

import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import cached_property
from itertools import islice
from time import perf_counter_ns
from typing import Any, Protocol

from musc_online.arrays import FrameId
from musc_online.config import Config
from musc_online.detector import Detector
from musc_online.score import Score
from streamer.server.journals import Journal
from streamer.server.known_ids import ANY_PICTURE, KnownIds, picture_digest, same_picture
from streamer.server.ledger import LastFrame
from streamer.server.logs import RateLimitedLog
from streamer.server.timing import Latencies, begun_ns, clock_is_off
from streamer.wire.frame import FrameMessage

_FAILED = 1000
"""Ids whose failures are counted, per stream."""
_WAITING = 400
"""Scores, with maps, that wait for their frames to be sent again: more than are on their way at a kill."""


class Claim(Enum):
    """What an id is when a frame comes under it."""

    NEW = auto()
    IN_FLIGHT = auto()
    SCORED = auto()
    REUSED = auto()
    """In flight or scored, with another picture."""


@dataclass(frozen=True)
class Origin:
    """What a score echoes of its frame."""

    seq: int | None
    capture_ns: int
    meta: Mapping[str, Any]


@dataclass(eq=False)
class QueuedFrame:
    """A frame whose fate is open. `sender` is the routing id of a reliable sender, who waits for an ack.

    `peer`: whose message it is, by key or address.
    """

    message: FrameMessage
    stream: "Stream"
    capture_ns: int
    sender: bytes | None = None
    peer: str = ""
    received_ns: int = field(default_factory=perf_counter_ns)
    arrived_ns: int = field(default_factory=time.time_ns)
    """The same moment by the clock that capture times are of."""

    @property
    def clock_is_off(self) -> bool:
        """Whether its capture time cannot be."""
        return clock_is_off(self.capture_ns, self.arrived_ns)

    @property
    def begun_ns(self) -> int:
        """When its time began: at its capture, or at its arrival where that cannot be."""
        return begun_ns(self.capture_ns, self.arrived_ns)

    @cached_property
    def digest(self) -> bytes:
        """Of its picture; computed where it is first wanted, in the publishing thread as a rule."""
        return picture_digest(self.message)


class Line(Protocol):
    """What owns a stream's ring in another process."""

    def settle(self, frame: LastFrame, *, late: bool) -> None:
        """A frame's score is out; from any thread."""
        ...


class Stream:
    """A stream. Ids are claimed by the receiving thread and settled by others, under a lock.

    `detector`, `origins`, `held`, `unsaved` and `emptied` belong to the matching thread alone; `last_seq` and
    `clock_was_off` to the receiving one; `warned` to the decoding one; `asleep` and `opening` to `Streams`,
    but for a start or a reset. Others may set `unsaved`, never clear it.
    """

    def __init__(self, name: str, config: Config, known: KnownIds | None = None) -> None:
        self.name = name
        self.config = config
        self.last_seq: int | None = None
        self.clock_was_off = False
        """Whether the capture time of its last frame could not be."""
        self.latencies = Latencies()
        self.newest_ns = 0
        """When the time of the frame that was scored last began, since 1970; 0 before the first in this run.
        The publishing thread's."""
        self.warned: set[str] = set()
        """Codes of what was odd about its pixels and has been told."""
        self.detector: Detector | None = None
        self.line: Line | None = None
        """What has the ring, and writes the journal, where the matching thread of this process does not."""
        self.origins: OrderedDict[FrameId, Origin] = OrderedDict()
        self.state: dict[str, Any] = {"state": "warmup", "images": 0, "capacity": config.ring.capacity}
        self._ids = threading.Lock()
        self._in_flight: dict[FrameId, QueuedFrame] = {}
        # The newest, and those in the ring, by digest; the rest is looked up.
        self._scored: OrderedDict[FrameId, bytes] = OrderedDict()
        self._known = known
        self._failed: OrderedDict[FrameId, int] = OrderedDict()
        self._log = RateLimitedLog()
        self.unsaved = False
        """Something changed since the last snapshot."""
        self.emptied = False
        """On purpose: an older snapshot must not come back."""
        self.asleep = False
        """The ring is on disk only; `detector` is None."""
        self.opening = False
        """The detector is being made: a place is taken."""
        self.used_at = time.monotonic()
        """When it last had a frame, or was woken."""
        self._unpublished: set[FrameId] = set()
        self._waiting: dict[FrameId, Score] = {}
        """Scores that nobody saw yet: on their way out, or replayed from a journal."""
        self.journal: Journal | None = None
        """Where changes of the ring are written down; the matching thread's."""
        self.held: Container[FrameId] = frozenset()
        """Ids in the ring: old ones may be among them, pinned or in a ring that takes in no others."""
        self.resets = 0

    def claim(self, queued: QueuedFrame) -> Claim:
        """Take a frame's id, unless it is in flight or was scored: in the ring, or at any distance.

        For the receiving thread: nobody else claims, so what is not in flight stays as it is found.
        """
        found = self.look(queued)
        if found is Claim.NEW:
            with self._ids:
                self._in_flight[queued.message.frame_id] = queued
            self.used_at = time.monotonic()
        return found

    def look(self, queued: QueuedFrame) -> Claim:
        """What `claim` finds. A frame in flight that comes again is acknowledged where it came from."""
        frame_id = queued.message.frame_id
        with self._ids:
            earlier = self._in_flight.get(frame_id)
        if earlier is not None:
            return self._again(earlier, queued)
        # Looked up after that: what was settled in between was written before.
        known = self._digest_known(frame_id)
        if known is None:
            return Claim.SCORED if self._scored_earlier(queued) else Claim.NEW
        return Claim.SCORED if same_picture(known, queued.message) else Claim.REUSED

    def failed(self, frame_id: FrameId) -> int:
        """Count a failure of the service's own with a frame; how many there were."""
        with self._ids:
            self._failed[frame_id] = self._failed.pop(frame_id, 0) + 1
            if len(self._failed) > _FAILED:
                self._failed.popitem(last=False)
            return self._failed[frame_id]

    def was_scored(self, frame_id: FrameId) -> bool:
        """Whether a frame has its score already, from before a restart too."""
        return self._digest_known(frame_id) is not None

    def _again(self, earlier: QueuedFrame, queued: QueuedFrame) -> Claim:
        ours, theirs = earlier.message, queued.message
        same = ours.payload == theirs.payload and earlier.digest == queued.digest
        if same and queued.sender is not None:
            # Resent, perhaps by a sender that was restarted: the ack goes to where it is now.
            earlier.sender = queued.sender
        return Claim.IN_FLIGHT if same else Claim.REUSED

    def _digest_known(self, frame_id: FrameId) -> bytes | None:
        """The digest of the picture that was scored under an id, None if none was."""
        with self._ids:
            known = self._scored.get(frame_id)
        if known or self._known is None:
            return known
        try:
            found = self._known.find(self.name, frame_id)
        except sqlite3.Error as error:  # scoring goes on without a disk
            self._log.warning("known_ids_failed", "known_ids", stream=self.name, error=str(error))
            return known
        return known if found is None else found

    def _scored_earlier(self, queued: QueuedFrame) -> bool:
        """Whether an earlier process, that was to keep nothing, scored this very picture under this id.

        Asked for reliable frames only, which are sent again until acknowledged. Another picture is no reason
        to refuse: whoever wants nothing kept may number anew after a restart.
        """
        if queued.sender is None or self._known is None:
            return False
        try:
            found = self._known.find_earlier(self.name, queued.message.frame_id)
        except sqlite3.Error as error:
            self._log.warning("known_ids_failed", "known_ids", stream=self.name, error=str(error))
            return False
        return found is not None and found == queued.digest

    def release(self, queued: QueuedFrame, scored_in: int | None = None) -> None:
        """The frame is settled; unless it was scored its id may be used again.

        Args:
            queued: a frame that was claimed.
            scored_in: `resets` when it was scored, None if it was not. After a reset its id is free.
        """
        frame_id = queued.message.frame_id
        with self._ids:
            self._in_flight.pop(frame_id, None)
            if scored_in is not None:
                self._waiting.pop(frame_id, None)
                self._failed.pop(frame_id, None)
            if scored_in == self.resets:
                self._scored[frame_id] = queued.digest
                # The newest `capacity`, and whatever is older and in the ring, quarantine and all.
                for old in list(islice(self._scored, max(0, len(self._scored) - self.config.ring.capacity))):
                    if old not in self.held:
                        del self._scored[old]

    def in_flight(self) -> list[QueuedFrame]:
        """Frames claimed and not settled."""
        with self._ids:
            return list(self._in_flight.values())

    def has_settled(self, frames: Iterable[QueuedFrame]) -> bool:
        """Whether none of these frames is in flight any more."""
        with self._ids:
            return all(self._in_flight.get(queued.message.frame_id) is not queued for queued in frames)

    def ids(self) -> tuple[list[FrameId], list[FrameId]]:
        """Ids scored lately, oldest first, and ids in flight: for a snapshot."""
        with self._ids:
            return list(self._scored), list(self._in_flight)

    def wait_for_publishing(self, score: Score) -> None:
        """A score is on its way out: whatever happens meanwhile, nobody saw it yet."""
        with self._ids:
            self._waiting[score.frame_id] = score

    @property
    def has_ring(self) -> bool:
        """Whether it had a frame that could be used, and is awake."""
        return self.detector is not None or self.line is not None

    def note_published(self, frame_id: FrameId) -> None:
        """A score is out: a restart must know."""
        if self.journal is not None:
            self.journal.published(frame_id)

    def waiting(self) -> list[Score]:
        """Scores that nobody saw yet, oldest first."""
        with self._ids:
            return list(self._waiting.values())

    def resume_replayed(
        self, published: Iterable[FrameId], waiting: Iterable[Score], marked: Container[FrameId] = ()
    ) -> None:
        """Know what a journal knew: scores that were out, those that were not, and what is out by now."""
        self._unpublished = {frame_id for frame_id in self._unpublished if frame_id not in marked}
        with self._ids:
            kept = {score.frame_id: score for score in (*self._waiting.values(), *waiting)}
            self._waiting = {frame_id: score for frame_id, score in kept.items() if frame_id not in marked}
            # Plain senders never send theirs again: without a bound each kill would leave some for good.
            given_up = list(self._waiting)[:-_WAITING]
            for frame_id in given_up:
                del self._waiting[frame_id]
            for frame_id in published:
                self._scored.setdefault(frame_id, ANY_PICTURE)
        for frame_id in given_up:
            self.keep_unpublished(frame_id)

    def resume(
        self,
        scored: Iterable[FrameId],
        unpublished: Iterable[FrameId],
        origins: Iterable[tuple[FrameId, Origin]],
    ) -> None:
        """Know what a snapshot knew of the frames; of those `unpublished` nobody saw the score yet.

        The ids known beside it may be newer or older: whatever either knows to be scored and published is.
        """
        scored, unpublished = list(scored), list(unpublished)
        if self._known is not None:
            try:
                published = {one for one in unpublished if self._known.find(self.name, one) is not None}
                scored += [one for one in unpublished if one in published]
                unpublished = [one for one in unpublished if one not in published]
                self._known.learn(self.name, scored)
            except sqlite3.Error as error:
                self._log.warning("known_ids_failed", "known_ids", stream=self.name, error=str(error))
        self._unpublished = set(unpublished)
        self.origins = OrderedDict(origins)
        with self._ids:
            known = dict.fromkeys([*scored, *self._scored], ANY_PICTURE)
            self._scored = OrderedDict({**known, **self._scored})

    def forget_scored(self) -> None:
        """The ring that held them is lost: ids that no history on disk knows may come again."""
        with self._ids:
            self._scored.clear()
        if self._known is not None and not self._known.in_history:
            self._forget_known(self._known)

    def take_unpublished(self, frame_id: FrameId) -> Score | None:
        """The score of a frame sent again that is in the ring from before a restart, but nobody ever saw."""
        with self._ids:
            score = self._waiting.get(frame_id)
        if score is not None:
            self._unpublished.discard(frame_id)
            return score
        if frame_id not in self._unpublished:
            return None
        self._unpublished.discard(frame_id)
        ring = None if self.detector is None else self.detector.ring
        if self.detector is None or ring is None or frame_id not in ring.slot_of:
            return None
        return self.detector.window.entries[ring.slot_of[frame_id]].score

    def keep_unpublished(self, frame_id: FrameId) -> None:
        """A frame got into the ring, but its score could not be told: it is, when the frame is sent again."""
        ring = None if self.detector is None else self.detector.ring
        if ring is not None and frame_id in ring.slot_of:
            self._unpublished.add(frame_id)

    @property
    def idle(self) -> bool:
        """Whether nothing of it is in flight."""
        with self._ids:
            return not self._in_flight

    def remember(self, frame_id: FrameId, origin: Origin) -> None:
        """Keep what later revisions echo, for as long as the frame can be in the ring."""
        self.origins[frame_id] = origin
        # A frame just evicted still gets its final score: keep a few more than the ring holds, with its
        # quarantine. Frames that are kept out come and go, and those in the ring may be old: pinned, or all
        # there is.
        ring = None if self.detector is None else self.detector.ring
        self.held = frozenset(() if ring is None else ring.slot_of)
        while len(self.origins) > self.config.ring.capacity + self.config.ring.n_quarantine + 16:
            del self.origins[next(known for known in self.origins if known not in self.held)]

    @property
    def unpublished(self) -> frozenset[FrameId]:
        """Ids of frames in the ring whose score nobody saw yet."""
        return frozenset(self._unpublished)

    def release_ring(self) -> None:
        """Let go of the ring, which its snapshot holds as it is; ids are known on, duplicates refused."""
        self.detector = self.line = None
        self.origins.clear()
        self.emptied = False
        self.state = {**self.state, "state": "asleep", "bytes": 0}

    def reset(self) -> None:
        """Forget the ring and every id that is not in flight."""
        self.asleep = False
        self.detector = self.line = None
        self.origins.clear()
        self.emptied = True
        if self.journal is not None:
            self.journal.empty()
        self._unpublished.clear()
        self.state = {"state": "warmup", "images": 0, "capacity": self.config.ring.capacity}
        with self._ids:
            self.resets += 1  # what was scored before and is not out yet does not count as scored
            self.held = frozenset()
            self._waiting.clear()
            self._scored.clear()
            self._failed.clear()
        if self._known is not None:  # after `resets`, or what is on its way out would be known again
            self._forget_known(self._known)

    def _forget_known(self, known: KnownIds) -> None:
        try:
            known.forget(self.name)
        except sqlite3.Error as error:
            self._log.warning("known_ids_failed", "known_ids", stream=self.name, error=str(error))

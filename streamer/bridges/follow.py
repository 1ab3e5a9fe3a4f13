"""The bridge's follower: what a detector says goes into the queue, with the cursors it moves."""

import sqlite3
import time
from collections.abc import Callable, Mapping

import structlog

from streamer.auth import ClientKeys
from streamer.bridges.joining import Joining
from streamer.bridges.queue import Queue
from streamer.bridges.telling import Joined, Telling, availability
from streamer.following.follower import Endpoints, Follower
from streamer.following.gaps import Taken
from streamer.following.presence import DOWN_S, Presence
from streamer.wire.published import Message

log = structlog.get_logger()

_LOOK_S = 1.0


class BridgeFollower(Follower):
    """Follows one detector for a bridge; ends when `stop` is called.

    Args:
        endpoints: where the detector is.
        keys: CURVE keys where it asks for them.
        queue: takes what is to be told.
        telling: what that is.
        pictures: whether scores wait for their pictures.
        wake: called from this thread when the queue has more.

    Raises:
        StreamerError: an endpoint is malformed.
    """

    whose = "bridge"

    def __init__(
        self,
        endpoints: Endpoints,
        keys: ClientKeys | None,
        queue: Queue,
        telling: Telling,
        *,
        pictures: bool,
        wake: Callable[[], object],
    ) -> None:
        self._queue, self._telling, self._wake = queue, telling, wake
        self.presence = Presence()
        self._joining = Joining(self._expects if pictures else lambda _: False)
        self._told_up: bool | None = None
        self._failing = False
        self._look_at, self._begun = 0.0, time.monotonic()
        self._n_unread = 0
        super().__init__(endpoints, keys, self.presence, queue.topics(), scores_first=True)

    @property
    def n_bad(self) -> int:
        """Messages that no detector sends, passed over."""
        return self._n_unread + self._telling.bad

    def _known(self) -> Mapping[str, tuple[int, bytes | None]]:
        return self._queue.topics()

    def _bad(self) -> None:
        self._n_unread += 1

    def _expects(self, score: Message) -> bool:
        of = self.presence.pictures_of(str(score.get("stream")))
        return of == "all" or (of == "alarms" and bool(score.get("pred_label") or score.get("known_defect")))

    def _keep(self, taken: Taken, *, quiet: bool = False) -> None:
        self._write(taken, self._joining.take(taken.messages, live=not quiet))

    def _write(self, taken: Taken, joined: list[Joined]) -> None:
        for topic in taken.anew:
            log.warning("bridge_counted_anew", topic=topic, what_now="the detector began anew")
        for hole in taken.holes:
            log.info("bridge_gap", topic=hole.topic, filled=hole.filled, lost=hole.lost)
        if not (joined or taken.holes or taken.anew) or self._failing:
            return
        try:
            with self._queue.writing() as writing:
                self._telling.write(taken, joined, writing)
        except sqlite3.Error:
            self._failing = True
            return
        self._wake()

    def _look(self) -> None:
        """Notice a detector that is gone, a picture that stays away, a disk that takes more again."""
        if self._joining.holds:
            self._write(Taken(), self._joining.overdue())
        now, up = time.monotonic(), self.presence.is_up
        if up != self._told_up and (up or self._told_up or now - self._begun > DOWN_S) and not self._failing:
            self._tell_up(up)
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_S
        if self._failing and self._queue.mend():
            self._failing = False
            self._joining.clear()
            self._begin_again()  # what was not kept is asked for again

    def _tell_up(self, up: bool) -> None:
        if not up:
            self._answers = None
        try:
            with self._queue.writing() as writing:
                writing.put(availability("up" if up else "down"))
        except sqlite3.Error:  # told once the disk takes it
            self._failing = True
            return
        self._told_up = up
        (log.info if up else log.warning)("bridge_detector_up" if up else "bridge_detector_down")
        self._wake()

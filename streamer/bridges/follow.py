"""The bridge's follower: what a detector says goes into the queue, with the cursors it moves."""

import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence

import structlog

from streamer.auth import ClientKeys
from streamer.bridges.joining import Joining
from streamer.bridges.queue import Queue
from streamer.bridges.seldom import Seldom
from streamer.bridges.telling import Joined, Telling, availability
from streamer.following.follower import Follower
from streamer.following.presence import DOWN_S, Endpoints, Presence
from streamer.following.taken import Hole, Taken
from streamer.following.topic import SCORE, Cursor
from streamer.wire.published import Message

log = structlog.get_logger()

_LOOK_S, _LONGEST_S = 1.0, 60.0
_SAY_S = 60.0
# Between lines in the log on what goes on being lost.


class BridgeFollower(Follower):
    """Follows one detector for a bridge; ends when `stop` is called.

    Args:
        endpoints: where the detector is.
        keys: CURVE keys where it asks for them.
        queue: takes what is to be told.
        telling: what that is.
        pictures: whether scores wait for their pictures.
        patience_s: that a history which does not answer is waited for, what comes waiting as well.
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
        patience_s: float = 600.0,
    ) -> None:
        self._queue, self._telling, self._wake = queue, telling, wake
        self.presence = Presence()
        self._joining = Joining(self._expects if pictures else lambda _: False)
        self._told_up: bool | None = None
        self._once_whole = queue.was_whole
        self._failing = False
        self._look_at, self._begun = 0.0, time.monotonic()
        self._mended_at, self._pause_s = -float("inf"), _LOOK_S
        self._n_unread = self._n_lost = self._n_left_out = 0
        self._say_at = 0.0
        self.history_away = False
        self._unreadable = Seldom("bridge_history_cannot_read", "times")
        super().__init__(
            endpoints, keys, self.presence, queue.topics(), scores_first=True, patience_s=patience_s
        )

    @property
    def n_bad(self) -> int:
        """Messages that no detector sends, passed over."""
        return self._n_unread + self._telling.bad

    @property
    def n_left_out(self) -> int:
        """Messages that found no room while the history was away, and are asked for again."""
        return self._gaps.left_out

    def _known(self) -> Mapping[str, Cursor]:
        return self._queue.topics()

    def _cursor(self, topic: str) -> Cursor | None:
        return self._queue.topic(topic)

    def _was_whole(self) -> bool:
        return self._once_whole

    def _is_whole(self) -> None:
        # A score that waits for its picture is not kept: of a topic that has no cursor it would be missed.
        holds_first = any(self._cursor(stream + SCORE) is None for stream in self._joining.holds)
        if self._once_whole or self._failing or holds_first:
            return
        try:
            with self._queue.writing() as writing:
                writing.note_whole()
        except sqlite3.Error:
            self._fail()
            return
        self._once_whole = True

    def _unkept(self) -> Collection[str] | None:
        return None if self._failing else self._joining.holds

    def _begin_again(self) -> None:
        self._joining.clear()  # it comes again
        super()._begin_again()

    def _answering(self, answers: bool) -> None:
        if answers and self.history_away:
            log.info("bridge_history_back")
        if not answers and not self.history_away:
            log.warning(
                "bridge_history_away",
                what_now="it is asked again; what follows a gap waits",
                gives_up_after_s=self._patience.seconds,
            )
        self.history_away = not answers

    def _gave_up(self, topic: str | None = None) -> None:
        if topic is not None:
            self._unreadable.add(topic=topic, what_now="what comes of it goes on; what is missing is lost")
            return
        log.warning("bridge_history_given_up", what_now="what comes goes on; what is missing is told as lost")

    def _bad(self) -> None:
        self._n_unread += 1

    def _expects(self, score: Message) -> bool:
        of = self.presence.pictures_of(str(score.get("stream")))
        return of == "all" or (of == "alarms" and bool(score.get("pred_label") or score.get("known_defect")))

    def _keep(self, taken: Taken, *, quiet: bool = False) -> None:
        self._write(taken, self._joining.take(taken.steps, live=not quiet))

    def _write(self, taken: Taken, joined: Sequence[Joined | Hole]) -> None:
        for topic in taken.anew:
            log.warning("bridge_counted_anew", topic=topic, what_now="the detector began anew")
        if not (joined or taken.anew) or self._failing:
            return
        try:
            with self._queue.writing() as writing:
                self._telling.write(taken, joined, writing)
        except sqlite3.Error:
            self._fail()
            return
        for hole in [one for one in taken.holes if one.lost or one.filled]:
            log.info("bridge_gap", topic=hole.topic, filled=hole.filled, lost=hole.lost)
            self._n_lost += hole.lost
        self._wake()

    def _look(self) -> None:
        """Notice a detector that is gone, a picture that stays away, a disk that takes more again."""
        if self._joining.holds:
            self._write(Taken(), self._joining.overdue())
        self._say()
        now, up = time.monotonic(), self.presence.is_up
        if up != self._told_up and (up or self._told_up or now - self._begun > DOWN_S) and not self._failing:
            self._tell_up(up)
        if self._failing and now >= self._look_at:
            self._look_at = now + _LOOK_S
            if self._queue.mend():
                self._failing, self._mended_at = False, now
                self._begin_again()  # what was not kept is asked for again

    def _fail(self) -> None:
        """Nothing is kept for a while: the longer the sooner it failed again after it had seemed to work."""
        now = time.monotonic()
        soon = now - self._mended_at < 2 * _LONGEST_S
        self._failing, self._pause_s = True, min(2 * self._pause_s, _LONGEST_S) if soon else _LOOK_S
        self._look_at = now + self._pause_s

    def _say(self) -> None:
        """Warn of what is lost or found no room: at once, then every minute."""
        left_out = self._gaps.left_out - self._n_left_out
        if not (self._n_lost or left_out) or time.monotonic() < self._say_at:
            return
        self._say_at = time.monotonic() + _SAY_S
        if self._n_lost:
            log.warning("bridge_lost", messages=self._n_lost, what_now="they are told as dropped")
        if left_out:
            log.warning("bridge_too_many_topics", messages=left_out, what_now="they are asked for later")
        self._n_lost, self._n_left_out = 0, self._gaps.left_out

    def _tell_up(self, up: bool) -> None:
        if not up:
            self._patience.answers, self.history_away = None, False
        try:
            with self._queue.writing() as writing:
                writing.put(availability("up" if up else "down"))
        except sqlite3.Error:  # told once the disk takes it
            self._fail()
            return
        self._told_up = up
        (log.info if up else log.warning)("bridge_detector_up" if up else "bridge_detector_down")
        self._wake()

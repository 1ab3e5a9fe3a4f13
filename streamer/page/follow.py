"""The page's follower: what a detector says is kept and told, how it is, and what is too old deleted."""

import time
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import structlog

from streamer.auth import ClientKeys
from streamer.errors import StreamerError
from streamer.following.follower import Follower as Following
from streamer.following.presence import Endpoints
from streamer.following.taken import Taken
from streamer.page.health import DOWN_S, Health
from streamer.page.hub import Hub
from streamer.page.overview import Overview
from streamer.page.store import Store
from streamer.page.updates import Update, update
from streamer.wire.checks import NO_STREAM

log = structlog.get_logger()

_TIDY_S = 60.0
_LOOK_S = 1.0


class Follower(Following):
    """Follows one detector for the page; ends when `stop` is called.

    Args:
        store: keeps what comes.
        hub: is told of it.
        settings: where the detector is.
        keys: CURVE keys where it asks for them.

    Raises:
        StreamerError: an endpoint is malformed.
    """

    whose = "page"

    def __init__(self, store: Store, hub: Hub, settings: Endpoints, keys: ClientKeys | None) -> None:
        self._store, self._hub = store, hub
        self._health = Health()
        hub.tell([], store.cursor)
        self._overview = Overview(store, self._health, settings)
        self._begun = time.monotonic()
        self._tidy_at = self._look_at = self._told_at = 0.0
        self._kept_failing = False
        super().__init__(settings, keys, self._health, store.topics())

    @property
    def is_up(self) -> bool:
        """Whether the detector is heard."""
        return self._health.is_up

    def detector(self) -> dict[str, Any]:
        """A `Detector`: how it is, and which numbers did not come by themselves."""
        return self._overview.detector()

    def health(self) -> list[dict[str, Any]]:
        """A `Health` of each stream heard of."""
        return self._overview.streams()

    def _known(self) -> dict[str, tuple[int, bytes | None]]:
        return self._store.topics()

    def _unkept(self) -> Collection[str] | None:
        return None if self._store.failed is not None else ()

    def _bad(self) -> None:
        self._store.count_bad()

    def _answering(self, answers: bool) -> None:
        self._overview.control_answers = answers

    def _keep(self, kept: Taken, *, quiet: bool = False) -> None:
        for topic in kept.anew:
            log.warning(
                "page_counted_anew", topic=topic, what_now="the detector began anew; nothing is deleted"
            )
            self._store.restart_topic(topic)
            with suppress(StreamerError):  # a full disk is told anyhow
                self._store.note(None, None, "page", "counted_anew", topic)
        if kept.messages:
            updates = self._store.take_all(kept.messages)
            self._hub.tell(_summed(updates) if quiet else updates, self._store.cursor)
        for hole in kept.holes:
            self._store.note_gap(hole.topic, hole.first, hole.last, hole.lost, hole.filled)
            log.info("page_gap", topic=hole.topic, filled=hole.filled, lost=hole.lost)
        if self._store.failed is not None:
            self._kept_failing = True
        elif self._kept_failing:
            self._kept_failing = False
            self._begin_again()  # what was not kept is asked for again

    def _beat(self) -> None:
        """Tell how things are, once a second at most."""
        now = time.monotonic()
        if now - self._told_at >= _LOOK_S:
            self._told_at = now
            self._hub.tell([self._overview.update()], self._store.cursor)

    def _look(self) -> None:
        """Notice what stays away, and delete what is too old, now and then."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK_S
            was_up, up = self._overview.was_up, self._health.look()
            if up != was_up and (up or was_up or now - self._begun > DOWN_S):
                self._overview.was_up = up
                if not up:
                    self._overview.control_answers = self._patience.answers = None
                change = self._store.end_alarm if up else self._store.begin_alarm
                told = change(NO_STREAM, "detector")
                self._hub.tell([*told, self._overview.update()], self._store.cursor)
            if up:
                self._tell_silent()
        if now >= self._tidy_at:
            self._tidy_at = now + (0.0 if self._store.tidy() else _TIDY_S)

    def _tell_silent(self) -> None:
        for stream, silent in self._overview.turned():
            change = self._store.begin_alarm if silent else self._store.end_alarm
            self._hub.tell(change(stream, "silent"), self._store.cursor)


def _summed(updates: list[Update]) -> list[Update]:
    """Many scores of before as their number: who looks asks for those it shows."""
    rest = [one for one in updates if one.header["type"] not in {"score", "picture"}]
    return [*rest, update({"type": "missed", "n": len(updates) - len(rest)})]

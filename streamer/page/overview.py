"""How the detector and each stream are, with what the store knows of today: the `health` of the page."""

import time
from contextlib import suppress
from typing import Any, Protocol

from streamer.page.health import Health
from streamer.page.queries import Queries
from streamer.page.store import Store
from streamer.page.updates import Update, update
from streamer.page.writer import StoreError


class _Endpoints(Protocol):
    @property
    def scores(self) -> str: ...
    @property
    def control(self) -> str: ...


class Overview:
    """Joins what was heard with what is kept; safe from any thread.

    Attributes:
        control_answers: whether requests are answered; without, the page can only look. None while that is
            not known: a page that was just opened must not take all its buttons away.
        was_up: whether the detector was up when it was last looked at; None before.
    """

    def __init__(self, store: Store, health: Health, settings: _Endpoints) -> None:
        self._store, self._queries, self._health = store, Queries(store), health
        self._endpoints = {"scores": settings.scores, "control": settings.control}
        self._silent: dict[str, bool] = {}
        self.control_answers: bool | None = None
        self.was_up: bool | None = None

    def detector(self) -> dict[str, Any]:
        """A `Detector`."""
        return {
            **self._health.detector(),
            **self._endpoints,
            "read_only": self.control_answers is False,
            "gaps": self._gaps(),
            "store": {"failed": self._store.unusable, "bytes": self._store.n_bytes, "bad": self._store.bad},
        }

    def streams(self) -> list[dict[str, Any]]:
        """A `Health` of each stream that is heard of or kept."""
        today, open_alarms, newest = self._kept()
        found = []
        for name in sorted({*self._health.streams(), *newest}):
            inspected, anomalous = today.get(name, (0, 0))
            counts = {"inspected": inspected, "anomalous": anomalous, "open_alarms": open_alarms.get(name, 0)}
            heard = self._health.stream(name)
            found.append({**heard, "last_frame": heard["last_frame"] or newest.get(name), "today": counts})
        return found

    def update(self) -> Update:
        """Both, for every page."""
        return update({"type": "health", "detector": self.detector(), "streams": self.streams()})

    def _gaps(self) -> list[dict[str, Any]]:
        with suppress(StoreError):  # told as `store`
            return self._queries.gaps()
        return []

    def _kept(self) -> tuple[dict[str, tuple[int, int]], dict[str, int], dict[str, float | None]]:
        """Counts of today, open alarms, and newest frames; none where the store cannot be read."""
        start = _midnight()
        with suppress(StoreError):
            today = self._queries.tallies(start, start + 36 * 3600_000)
            return today, self._queries.open_alarms(), self._queries.newest()
        return {}, {}, {}

    def turned(self) -> list[tuple[str, bool]]:
        """Streams that fell silent since this was last asked (True), or whose frames come again (False)."""
        silent = self._health.silent()
        turned = [(name, now) for name, now in silent.items() if now != self._silent.get(name, False)]
        self._silent.update(silent)
        return turned


def _midnight() -> float:
    """When today began where the page runs, milliseconds since 1970."""
    now = time.localtime()
    return 1000 * time.mktime((now.tm_year, now.tm_mon, now.tm_mday, 0, 0, 0, 0, 0, -1))

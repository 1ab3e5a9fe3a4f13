"""Which day it is, for deleting what is old: a clock that leaps is not believed at once."""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import structlog

from streamer.bridges.files.days import days_of
from streamer.bridges.files.names import CLOCK

log = structlog.get_logger()

_BELIEVED_S = 24 * 3600.0
_LOOK_S = 2 * 3600.0
# A look comes at least every hour: longer than that we have not run.


@dataclass
class _Seen:
    """What the last look saw: the day that counts, the clock, and seconds that we have run in doubt of it."""

    day: str
    clock_ns: int
    doubted_s: float = 0.0


class Calendar:
    """Follows the clock day by day, over restarts too.

    Where the clock is ahead of the last look or behind it by more than a tenth of `days`, a week at most, it
    may be wrong: then the day of before counts, until the bridge has run for a day and the clock still says
    so.

    Args:
        folder: of the days; what was seen is kept in it.
        days: how many are kept.
    """

    def __init__(self, folder: Path, days: int) -> None:
        self._folder = folder
        self._step = max(1, min(7, days // 10))
        self._doubts = False
        self._counted: date | None = None

    def today(self, clock: date, clock_ns: int) -> date:
        """The day from which the age of others counts.

        Args:
            clock: what the clock says, by the calendar that names the days.
            clock_ns: the same in nanoseconds since 1970.

        Raises:
            OSError: the folder cannot be read.
        """
        seen = self._read() or _Seen(str(self._newest(clock)), clock_ns)
        day = date.fromisoformat(seen.day)
        ran_s = min(max(0.0, (clock_ns - seen.clock_ns) / 1e9), _LOOK_S)
        doubted_s = seen.doubted_s + ran_s
        if abs((clock - day).days) > self._step and doubted_s < _BELIEVED_S:
            self._doubt(clock, day)
        else:
            self._doubts, day, doubted_s = False, clock, 0.0
        self._write(_Seen(str(day), clock_ns, doubted_s))
        self._counted = day
        return day

    def filed(self, day: date, clock: date) -> date:
        """The day under which something is filed.

        By a clock that is in doubt and behind, nothing goes under a day of the past: once the clock is right
        again that would be deleted as old.

        Args:
            day: on which it was said.
            clock: what the clock says.
        """
        counted = self._counted
        return day if counted is None or (counted - clock).days <= self._step else max(day, counted)

    def _doubt(self, clock: date, day: date) -> None:
        if not self._doubts:
            log.warning(
                "files_clock_jumped", clock=str(clock), counted_from=str(day),
                what_now="days are deleted and named by the clock once it has said so for a day",
            )  # fmt: skip
        self._doubts = True

    def _newest(self, clock: date) -> date:
        """Of the days that have files the newest: of one to come the clock counts."""
        found: list[date] = []
        for folder in days_of(self._folder):
            with suppress(ValueError):  # 2026-99-99
                found.append(date.fromisoformat(folder.name))
        return min(clock, max(found, default=clock))

    def _read(self) -> _Seen | None:
        try:
            seen = _Seen(**json.loads((self._folder / CLOCK).read_text("ascii")[:1000]))
            date.fromisoformat(seen.day)
            return _Seen(seen.day, int(seen.clock_ns), float(seen.doubted_s))
        except (OSError, ValueError, TypeError):
            return None

    def _write(self, seen: _Seen) -> None:
        beside = self._folder / f"{CLOCK}.new"
        with suppress(OSError):  # of a full disk others tell, and then nothing is deleted too early
            beside.write_text(json.dumps(asdict(seen)), encoding="ascii")
            beside.replace(self._folder / CLOCK)

"""Every stream's line: opened on its first frame, with its own configuration, in one of so many places."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase

from musc_online.config import Config, load
from musc_online.config_service import StreamOverride
from musc_online.errors import ConfigError
from streamer.errors import WireError
from streamer.server.stream import FrameId, Line


class Lines:
    """The streams that are open, up to `limits.streams`, and those asleep, up to `limits.sleeping`.

    Args:
        config: of the service.
        settled_before: ids of a stream's frames that were scored before this process started.
        closed: told the name of a stream that lost its place, having nothing in its ring.

    Raises:
        ConfigError: a section of `streams` does not make a valid configuration.
    """

    def __init__(
        self,
        config: Config,
        settled_before: Callable[[str], Iterable[FrameId]],
        closed: Callable[[str], None],
    ) -> None:
        self._config = config
        self._settled_before, self._closed = settled_before, closed
        self._lines: dict[str, Line] = {}
        self._lock = threading.Lock()
        self._admitted: Line | None = None
        """The receiving thread's, until its next: it may be about to claim a frame's id."""
        self._overrides = [(entry.match, _merged(config, entry)) for entry in config.streams]

    def admit(self, name: str) -> Line:
        """The stream's line, opened on its first frame.

        Raises:
            WireError: `too_many_streams`.
        """
        with self._lock:
            self._admitted = None
            if name not in self._lines:
                self._make_place(name)
                self._new(name)
            self._admitted = self._lines[name]
            return self._admitted

    @contextmanager
    def opening(self, line: Line) -> Iterator[None]:
        """A place for a stream whose detector is made or woken inside; if that fails all is as before.

        Raises:
            WireError: `too_many_streams`, for one that was asleep, perhaps until a reset.
        """
        with self._lock:
            self._make_place(line.name)
            line.opening = True
        try:
            yield
            line.asleep = False
            line.used_at = time.monotonic()
        except BaseException:
            line.detector = None
            raise
        finally:
            line.opening = False

    def lay_down(self, name: str) -> Line | None:
        """The stream's line, asleep from now on: it takes no place, and its detector is the caller's to drop.

        None, and nothing has changed, where no stream may sleep or `limits.sleeping` do already.
        """
        with self._lock:
            if not self._may_sleep():
                return None
            line = self._lines.get(name) or self._new(name)
            line.asleep = True
            return line

    def may_sleep(self) -> bool:
        """Whether one more stream may sleep."""
        with self._lock:
            return self._may_sleep()

    def config_of(self, name: str) -> Config:
        """The configuration of a stream: the first entry of `streams` that matches, over the rest."""
        return next((made for match, made in self._overrides if fnmatchcase(name, match)), self._config)

    def get(self, name: str) -> Line | None:
        """An open stream's line."""
        with self._lock:
            return self._lines.get(name)

    def known(self) -> list[Line]:
        """All open streams."""
        with self._lock:
            return list(self._lines.values())

    def room_for(self, line: Line) -> int:
        """Bytes that `limits.total_bytes` leaves to a ring, besides the others'."""
        used = sum(int(other.state.get("bytes", 0)) for other in self.known() if other is not line)
        return int(self._config.limits.total_bytes) - used

    def _new(self, name: str) -> Line:
        line = Line(name, self.config_of(name), self._settled_before(name))
        self._lines[name] = line
        return line

    def _may_sleep(self) -> bool:
        limit = 0 if self._config.sleep_after_s is None else self._config.limits.sleeping
        return sum(line.asleep for line in self._lines.values()) < limit

    def _make_place(self, name: str) -> None:
        limit = self._config.limits.streams
        while sum(line.opening or not line.asleep for line in self._others(name)) >= limit:
            if not self._close_unused(name):
                raise WireError(
                    "too_many_streams", f"stream: '{name}' would be one more than limits.streams ({limit})"
                )

    def _others(self, name: str) -> list[Line]:
        return [line for line in self._lines.values() if line.name != name]

    def _close_unused(self, but: str) -> bool:
        # A stream none of whose frames could be used must not keep its place.
        others = (line for line in self._others(but) if line is not self._admitted)
        awake = (line for line in others if not line.asleep)
        unused = next((line for line in awake if line.detector is None and line.idle), None)
        if unused is None:
            return False
        del self._lines[unused.name]
        self._closed(unused.name)
        return True


def _merged(config: Config, entry: StreamOverride) -> Config:
    values = config.model_dump()
    for key, value in entry.model_dump(exclude={"match"}, exclude_defaults=True).items():
        if key in {"queue", "when_full"}:
            values["transport"][key] = value
        elif isinstance(value, dict):
            values[key] |= value
        else:
            values[key] = value
    values["streams"] = ()
    try:
        return load(values)
    except ConfigError as error:
        raise ConfigError(f"streams (match '{entry.match}'): {error}") from None

"""Every stream: opened on its first frame, with its own configuration, in one of so many places."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

from musc_online.anomaly_map import FrameMaps
from musc_online.config import Config, load
from musc_online.config_service import StreamOverride
from musc_online.errors import ConfigError
from streamer.errors import WireError
from streamer.server.known_ids import KnownIds
from streamer.server.stream import Stream


class Streams:
    """The streams that are open, up to `limits.streams`, and those asleep, up to `limits.sleeping`.

    Args:
        config: of the service.
        known: the frames that were scored, of all streams; None where nothing is known beyond the rings.
        closed: told the name of a stream that lost its place, having nothing in its ring.

    Raises:
        ConfigError: a section of `streams` does not make a valid configuration.
    """

    def __init__(
        self,
        config: Config,
        known: KnownIds | None,
        closed: Callable[[str], None],
    ) -> None:
        self._config = config
        self._known, self._closed = known, closed
        self._streams: dict[str, Stream] = {}
        self._lock = threading.Lock()
        self._admitted: Stream | None = None
        """The receiving thread's, until its next: it may be about to claim a frame's id."""
        self._overrides = [(entry.match, _merged(config, entry)) for entry in config.streams]

    def admit(self, name: str) -> Stream:
        """The stream, opened on its first frame.

        Raises:
            WireError: `too_many_streams`.
        """
        with self._lock:
            self._admitted = None
            if name not in self._streams:
                self._make_place(name)
                self._new(name)
            self._admitted = self._streams[name]
            return self._admitted

    @contextmanager
    def opening(self, stream: Stream) -> Iterator[None]:
        """A place for a stream whose detector is made or woken inside; if that fails all is as before.

        Raises:
            WireError: `too_many_streams`, for one that was asleep, perhaps until a reset.
        """
        with self._lock:
            self._make_place(stream.name)
            stream.opening = True
        try:
            yield
            stream.asleep = False
            stream.used_at = time.monotonic()
        except BaseException:
            stream.detector = stream.line = None
            raise
        finally:
            stream.opening = False

    def put_to_sleep(self, name: str) -> Stream | None:
        """The stream, asleep from now on: it takes no place, and its detector is the caller's to drop.

        None, and nothing has changed, where no stream may sleep or `limits.sleeping` do already.
        """
        with self._lock:
            if not self._may_sleep():
                return None
            stream = self._streams.get(name) or self._new(name)
            stream.asleep = True
            return stream

    def may_sleep(self) -> bool:
        """Whether one more stream may sleep."""
        with self._lock:
            return self._may_sleep()

    def config_of(self, name: str) -> Config:
        """The configuration of a stream: the first entry of `streams` that matches, over the rest."""
        return next((made for match, made in self._overrides if fnmatchcase(name, match)), self._config)

    def get(self, name: str) -> Stream | None:
        """An open stream."""
        with self._lock:
            return self._streams.get(name)

    def has_ring(self, name: str) -> bool:
        """Whether a stream is open and had a frame that could be used, or sleeps: it keeps its place."""
        stream = self.get(name)
        return stream is not None and (stream.has_ring or stream.asleep)

    def known(self) -> list[Stream]:
        """All open streams."""
        with self._lock:
            return list(self._streams.values())

    def has_place(self) -> bool:
        """Whether one more stream can be awake without another losing its place."""
        with self._lock:
            awake = sum(stream.opening or not stream.asleep for stream in self._streams.values())
            return awake < self._config.limits.streams

    def room_for(self, stream: Stream) -> int:
        """Bytes that `limits.total_bytes` leaves to a ring, besides the others'."""
        used = sum(int(other.state.get("bytes", 0)) for other in self.known() if other is not stream)
        return int(self._config.limits.total_bytes) - used

    def _new(self, name: str) -> Stream:
        stream = Stream(name, self.config_of(name), self._known)
        self._streams[name] = stream
        return stream

    def _may_sleep(self) -> bool:
        limit = 0 if self._config.sleep_after_s is None else self._config.limits.sleeping
        return sum(stream.asleep for stream in self._streams.values()) < limit

    def _make_place(self, name: str) -> None:
        limit = self._config.limits.streams
        while sum(stream.opening or not stream.asleep for stream in self._others(name)) >= limit:
            if not self._close_unused(name):
                raise WireError(
                    "too_many_streams", f"stream: '{name}' would be one more than limits.streams ({limit})"
                )

    def _others(self, name: str) -> list[Stream]:
        return [stream for stream in self._streams.values() if stream.name != name]

    def _close_unused(self, but: str) -> bool:
        # A stream none of whose frames could be used must not keep its place.
        others = (stream for stream in self._others(but) if stream is not self._admitted)
        awake = (stream for stream in others if not stream.asleep)
        unused = next((stream for stream in awake if not stream.has_ring and stream.idle), None)
        if unused is None:
            return False
        del self._streams[unused.name]
        if unused.journal is not None:
            unused.journal.close()
        self._closed(unused.name)
        return True


def _merged(config: Config, entry: StreamOverride) -> Config:
    values = config.model_dump()
    for key, value in entry.model_dump(exclude={"match"}).items():
        if key in {"queue", "when_full"}:
            values["transport"][key] = value
        elif isinstance(value, dict) and key != "ignore":
            values[key] = _laid_over(values[key], value)
        else:
            values[key] = value
    values["streams"] = ()
    try:
        merged = load(values)
        FrameMaps(merged)  # refuses tiles, masks and maps that cannot be before a port is open
        return merged
    except ConfigError as error:
        raise ConfigError(f"streams (match '{entry.match}'): {error}") from None


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """A section with what an entry says of it; a section within a section, key by key too."""
    both = {**below}
    for key, value in above.items():
        before = below.get(key)
        sections = isinstance(before, Mapping) and isinstance(value, Mapping)
        both[key] = _laid_over(before or {}, value) if sections else value
    return both

"""How a detector and its streams are, from its heartbeats and from what comes: nothing is asked for."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

from streamer.following.presence import DOWN_S
from streamer.following.recent import Recent
from streamer.wire.checks import NO_STREAM
from streamer.wire.published import Message

__all__ = ["DOWN_S", "Health"]

_MINUTE = 60.0
_LATENCIES = 200
_SILENT_S = 10.0
_INTERVALS = 50
_NAME = 128
_ENOUGH = 5
# Frames before it is known how often a stream's come.
Facts = dict[str, Any]


@dataclass
class _Stream:
    """Times are seconds of the monotonic clock, but for `last_frame`, milliseconds since 1970."""

    status: Facts = field(default_factory=dict)
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES))
    arrivals: deque[float] = field(default_factory=lambda: deque(maxlen=_INTERVALS))
    scored: deque[tuple[float, int]] = field(default_factory=deque)
    received: deque[tuple[float, int]] = field(default_factory=deque)
    last_frame: float | None = None
    map: bool = False
    picture: bool = False
    camera: Facts | None = None
    camera_at: float = 0.0

    @property
    def has_frames(self) -> bool:
        """Whether anything was heard of it but how its camera is."""
        return bool(self.status) or self.last_frame is not None or bool(self.arrivals) or self.picture


class Health:
    """Remembers what was heard; safe from any thread.

    Args:
        clock: seconds, monotonic.
        now: seconds since 1970.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time
    ) -> None:
        self._clock, self._now = clock, now
        self._lock = threading.Lock()
        self._streams: Recent[_Stream] = Recent()
        self._status: Facts = {}
        self._heard_at: float | None = None
        self._heard: float | None = None
        self._since = 1000 * now()
        self._was_up = False
        self._boot: float | None = None

    @property
    def is_up(self) -> bool:
        """Whether something was heard within `DOWN_S`."""
        return self._heard_at is not None and self._clock() - self._heard_at < DOWN_S

    def heard(self, message: Message, *, live: bool) -> None:
        """A message came; what the history gave says nothing of how things are now."""
        with self._lock:
            if live:
                self._heard_at, self._heard = self._clock(), 1000 * self._now()
                self._turn()
            if message.kind == "status":
                self._beat(message)
            elif message.kind == "source":
                one = self._stream(message.topic.rpartition("/")[0], sure=False)
                if one is not None:
                    one.camera, one.camera_at = _camera(message), self._clock()
            elif message.kind in {"score", "picture"}:
                self._frame(message, live)

    def look(self) -> bool:
        """Notice a detector that fell silent; whether it is up."""
        with self._lock:
            self._turn()
            return self._was_up

    def streams(self) -> list[str]:
        """Names of streams heard of."""
        with self._lock:
            return list(self._streams)

    def silent(self) -> dict[str, bool]:
        """Of each stream whose frames came often enough to say so: whether they stay away."""
        with self._lock:
            known = {name: one for name, one in self._streams.items() if len(one.arrivals) >= _ENOUGH}
            return {name: self._is_silent(one) for name, one in known.items()}

    def boot(self) -> float | None:
        """When the detector began, seconds since 1970; None where it has not said so."""
        return self._boot

    def detector(self) -> Facts:
        """What heartbeats say of the detector, and whether it is up."""
        with self._lock:
            status = self._status
            return {
                "up": self.is_up,
                "since": self._since,
                "heard": self._heard,
                "state": _text(status.get("state")),
                "model_id": _text(status.get("model_id")),
                "version": _text(status.get("version")),
                "uptime_s": _number(status.get("uptime_s")),
                "snapshot": _facts(status.get("snapshot")),
                "history": _facts(status.get("history")),
                "published": _number(status.get("published")),
            }

    def stream(self, name: str) -> Facts:
        """A stream's `Health` but for `today`; of one not heard of yet hardly anything is known."""
        with self._lock:
            one = self._streams.get(name) or _Stream()
            status, latencies = one.status, sorted(one.latencies)
            state = _text(status.get("state"))
            images, warmup = _number(status.get("images")), _number(status.get("warmup"))
            last = _facts(status.get("last_frame")) or {}
            scored = _number(last.get("scored_ns"))
            times = [
                at for at in (one.last_frame, None if scored is None else scored / 1e6) if at is not None
            ]
            return {
                "stream": name,
                "state": state,
                "images": images,
                "capacity": _number(status.get("capacity")),
                "quarantined": _number(status.get("quarantined")),
                "threshold": _number(status.get("threshold")),
                "threshold_rule": _text(status.get("threshold_rule")),
                "last_frame": max(times, default=None),
                "fps_in": _rate(one.received, self._clock()),
                "fps_scored": _rate(one.scored, self._clock()),
                **{key: _number(status.get(key)) for key in ("received", "scored", "queued", "anomalous")},
                "dropped": _facts(status.get("dropped")) or {},
                "refused": _facts(status.get("refused")) or {},
                "p50_ms": _quantile(latencies, 0.5),
                "p95_ms": _quantile(latencies, 0.95),
                "silent": self._is_silent(one),
                "camera": one.camera,
                "asleep": state == "asleep",
                "map": one.map,
                "picture": one.picture or _sends_pictures(status),
                "warmup": [images, warmup] if state == "warmup" and images is not None else None,
            }

    def _turn(self) -> None:
        if self.is_up != self._was_up:
            self._was_up = not self._was_up
            self._since = 1000 * self._now()

    def _beat(self, message: Message) -> None:
        name = message.topic.rpartition("/")[0]
        if name == NO_STREAM:
            self._status = dict(message)
            uptime = _number(message.get("uptime_s"))
            self._boot = None if uptime is None else self._now() - uptime
            began = self._clock() - (math.inf if uptime is None else uptime)
            self._cameras(message.get("sources"), began, all_of_them=not message.get("sources_left_out"))
            return
        one = self._stream(name)
        if one is None:
            return
        one.status = dict(message)
        if "source" in message:
            one.camera, one.camera_at = _camera(message["source"]), self._clock()
        for counts, key in ((one.received, "received"), (one.scored, "scored")):
            count = _number(message.get(key))
            if count is None:
                continue
            if counts and count < counts[-1][1]:
                counts.clear()  # the detector counts anew
            counts.append((self._clock(), int(count)))
            while len(counts) > 2 and counts[1][0] < self._clock() - _MINUTE:
                counts.popleft()

    def _cameras(self, sources: object, began: float, *, all_of_them: bool) -> None:
        """What is told of the cameras of streams without a frame; a detector of before tells nothing.

        A heartbeat names states; address and error of one that is as it was are known already. What was said
        before the detector `began` is forgotten: who said it may be gone.
        """
        if not isinstance(sources, Mapping):
            return
        for name, one in self._streams.items():
            if one.camera_at < began or (all_of_them and name not in sources and not one.status):
                one.camera = None
                if not one.has_frames:
                    self._streams.forget(name)
        for name, source in sources.items():
            stream = self._stream(str(name)[:_NAME], sure=False)
            if stream is not None:
                stream.camera, stream.camera_at = _beside(stream.camera, _camera(source)), self._clock()

    def _frame(self, message: Message, live: bool) -> None:
        one = self._stream(message.topic.rpartition("/")[0])
        if one is None:
            return
        if message.kind == "picture":
            one.picture = True
            return
        one.map = one.map or message.payload is not None
        scored, latency = _number(message.get("scored_ns")), _facts(message.get("latency_ms")) or {}
        if scored is not None:
            one.last_frame = max(one.last_frame or 0.0, scored / 1e6)
        total = _number(latency.get("total"))
        if live and total is not None:
            one.latencies.append(total)
        if live:
            one.arrivals.append(self._clock())

    def _stream(self, name: str, *, sure: bool = True) -> _Stream | None:
        return None if name == NO_STREAM else self._streams.heard(name, _Stream, sure=sure)

    def _is_silent(self, one: _Stream) -> bool:
        """Nothing for 10 s, or for five times the usual interval where that is longer.

        Frames that wait at the detector have come: then it is late, and the camera is not silent.
        """
        arrivals = list(one.arrivals)
        if not arrivals or _number(one.status.get("queued")):
            return False
        intervals = [later - earlier for earlier, later in pairwise(arrivals)]
        usual = median(intervals) if intervals else 0.0
        return self._clock() - arrivals[-1] > max(_SILENT_S, 5 * usual)


def _camera(source: object) -> Facts | None:
    """What a camera's publisher says of it; `since` in milliseconds since 1970."""
    if not isinstance(source, Mapping):
        return None
    since = _number(source.get("since_ns"))
    words = {key: _text(source.get(key)) for key in ("state", "source", "text")}
    return {**words, "since": None if since is None else since / 1e6}


def _beside(before: Facts | None, now: Facts | None) -> Facts | None:
    """A camera as it is now, with its address, and its error if its state is the same, as they were said."""
    if before is None or now is None:
        return now
    is_same = (before["state"], before["since"]) == (now["state"], now["since"])
    kept = before if is_same else {"source": before["source"]}
    return {**now, **{key: value for key, value in kept.items() if now[key] is None}}


def _sends_pictures(status: Facts) -> bool:
    picture = status.get("picture")
    return isinstance(picture, Mapping) and picture.get("of") in {"alarms", "all"}


def _rate(counts: deque[tuple[float, int]], now: float) -> float | None:
    """Frames a second over the last minute; None before two heartbeats."""
    recent = [one for one in counts if one[0] >= now - _MINUTE - 5]
    if len(recent) < 2 or recent[-1][0] <= recent[0][0]:
        return None
    return round((recent[-1][1] - recent[0][1]) / (recent[-1][0] - recent[0][0]), 3)


def _quantile(values: list[float], share: float) -> float | None:
    return values[min(len(values) - 1, int(share * len(values)))] if values else None


def _number(value: object) -> float | int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e300 < value < 1e300:
        return None
    return value


def _text(value: object) -> str | None:
    return value[:400] if isinstance(value, str) else None


def _facts(value: object) -> Facts | None:
    """A map of a heartbeat, one level of names with numbers and texts, at most 64 of them."""
    if not isinstance(value, Mapping):
        return None
    plain = {str(key)[:100]: item for key, item in list(value.items())[:64]}
    return {
        key: item if _number(item) is not None or isinstance(item, bool) else _text(item)
        for key, item in plain.items()
    }

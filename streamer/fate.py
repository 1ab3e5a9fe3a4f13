"""What became of the frames that a command sent: by their acks, or by the detector's own counts."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streamer.ask import ask
from streamer.auth import ClientKeys
from streamer.errors import FrameId, StreamerError
from streamer.printable import printable
from streamer.wire.checks import NO_STREAM

_FIRST_ASK_S, _ASK_S = 5.0, 30.0
_EVERY_S = 0.2
_PATIENCE_S = 30.0
"""A detector that enters nothing for so long is no longer waited for."""
_NAMED = 5
TOO_OLD = "too_old"
"""Why a frame was dropped that a reliable publisher does not send again (`--max-age`)."""


@dataclass(frozen=True)
class Fate:
    """How many frames were scored, and how many not, by reason; `named` are ids of those, where known.

    `open` are frames of which the detector has said nothing yet.
    """

    scored: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=dict)
    named: Mapping[str, Sequence[FrameId]] = field(default_factory=dict)
    open: int = 0

    @property
    def all_scored(self) -> bool:
        """Whether nothing was lost."""
        return not (self.dropped or self.refused or self.open)

    def __str__(self) -> str:
        lost = [
            f"{count} {what} ({reason}{self._ids(reason, count)})"
            for what, reasons in (("dropped", self.dropped), ("refused", self.refused))
            for reason, count in reasons.items()
        ]
        lost += [f"{self.open} not scored yet"] * bool(self.open)
        return printable(", ".join([f"{self.scored} scored", *lost]))

    def _ids(self, reason: str, count: int) -> str:
        ids = list(self.named.get(reason, ()))[:_NAMED]
        more = f" and {count - len(ids)} more" if count > len(ids) else ""
        return f": {', '.join(map(str, ids))}{more}" if ids else ""


def by_acks(acknowledged: int, refused: Mapping[FrameId, str], given_up: int = 0) -> Fate:
    """Of a reliable publisher that is closed: `acknowledged` frames, the code of each `refused` id, and
    those that were `given_up` as too old.
    """
    named: dict[str, list[FrameId]] = {}
    for frame_id, code in refused.items():
        named.setdefault(code, []).append(frame_id)
    dropped = {TOO_OLD: given_up} if given_up else {}
    return Fate(acknowledged, dropped, refused={code: len(ids) for code, ids in named.items()}, named=named)


class Counts:
    """A detector's counts of one stream, from before the first frame on.

    Others that send to the same stream at the same time are counted too.

    Args:
        endpoint: the detector's `transport.control`.
        stream: whose frames are counted.
        keys: CURVE keys where the detector asks for them.

    Raises:
        StreamerError: the detector does not answer there.
    """

    def __init__(self, endpoint: str, stream: str, keys: ClientKeys | None) -> None:
        self._endpoint, self._stream, self._keys = endpoint, stream, keys
        self._before = self._now(_FIRST_ASK_S)

    def settled(self, sent: int) -> Fate:
        """What became of `sent` frames, once the detector knows of all, or enters nothing any more.

        Raises:
            StreamerError: the detector does not answer any more, or has begun to count anew.
        """
        last, since = self._now(), time.monotonic()
        while not self._known(last, sent) and time.monotonic() - since < _PATIENCE_S:
            time.sleep(_EVERY_S)
            now = self._now()
            if now != last:
                last, since = now, time.monotonic()
        return self._fate(last, sent)

    def _now(self, timeout_s: float = _ASK_S) -> dict[str, dict[str, Any]]:
        answer = ask({"kind": "status"}, self._endpoint, keys=self._keys, timeout_s=timeout_s)
        streams = answer.get("streams", {})
        return {
            name: {key: streams.get(name, {}).get(key, 0) for key in ("received", "scored", "queued")}
            | {key: streams.get(name, {}).get(key, {}) for key in ("dropped", "refused")}
            for name in (self._stream, NO_STREAM)
        }

    def _known(self, now: Mapping[str, Mapping[str, Any]], sent: int) -> bool:
        return self._received(now) >= sent and now[self._stream]["queued"] == 0

    def _received(self, now: Mapping[str, Mapping[str, Any]]) -> int:
        """Frames since the beginning; those of a stream that found no place are entered under `-`."""
        mine, other = (int(now[name]["received"] - self._before[name]["received"]) for name in now)
        return mine + (other if mine == 0 else 0)

    def _fate(self, now: Mapping[str, Mapping[str, Any]], sent: int) -> Fate:
        mine = now[self._stream]["received"] - self._before[self._stream]["received"]
        if mine < 0:
            raise StreamerError("the detector was started anew and counts anew")
        name = self._stream if mine else NO_STREAM
        before, after = self._before[name], now[name]
        scored = int(after["scored"] - before["scored"])
        dropped, refused = (_more(before[key], after[key]) for key in ("dropped", "refused"))
        told = scored + sum(dropped.values()) + sum(refused.values())
        return Fate(scored, dropped, refused, open=max(0, sent - told))


def _more(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    grown = {reason: count - before.get(reason, 0) for reason, count in after.items()}
    return {reason: count for reason, count in grown.items() if count > 0}

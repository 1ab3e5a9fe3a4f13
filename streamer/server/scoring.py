"""From tokens to published scores: the work of the matching thread, for every stream."""

from collections.abc import Callable, Mapping
from typing import Any

import structlog

from musc_online.backbones import Backbone
from musc_online.config import Config
from musc_online.detector import Detector
from musc_online.errors import CapacityError, FrameError, UnreadableError
from musc_online.score import Score
from streamer.errors import WireError
from streamer.server.outbox import Outgoing
from streamer.server.outcomes import Desk
from streamer.server.pipeline import Tokens
from streamer.server.score_message import header_of
from streamer.server.snapshots import Snapshots
from streamer.server.stream import FrameId, Line, Origin
from streamer.server.streams import Lines

log = structlog.get_logger()


class Scoring:
    """Owns the detectors; only the matching thread calls it."""

    def __init__(
        self,
        lines: Lines,
        backbone: Backbone,
        desk: Desk,
        snapshots: Snapshots,
        observe: Callable[[Mapping[str, float]], None],
    ) -> None:
        self._lines, self._backbone, self._desk, self._snapshots = lines, backbone, desk, snapshots
        self._observe = observe

    def resume(self) -> None:
        """Open the streams that have a snapshot, the newest first; before the matching thread starts."""
        for name, asleep in self._snapshots.streams():
            try:
                tally = self._resume(name, asleep)
            except WireError as error:
                log.warning("snapshot_left", stream=name, code=error.code, text=error.text)
                continue
            if tally is not None:
                self._desk.accounts.resume(name, tally)

    def _resume(self, name: str, asleep: bool) -> dict[str, Any] | None:
        """Open a stream, or leave it asleep as it was or for want of room; the tally, None if refused."""
        sleeper = self._lines.lay_down(name) if asleep else None
        if sleeper is None:
            try:
                line = self._lines.admit(name)
                _, tally = self._open(line)
                if tally is None:
                    line.detector = None
                return tally
            except WireError:
                sleeper = self._lines.lay_down(name)
                if sleeper is None:
                    raise
        tally = self._snapshots.glance(sleeper)
        sleeper.asleep = tally is not None
        return tally

    def score(self, tokens: Tokens) -> None:
        """Score a frame, publish the score, and whatever revisions are due by it.

        Raises:
            FrameError: the detector cannot use the frame.
            WireError: `no_room` for the stream's ring, `too_many_streams` awake for it to wake.
        """
        waiting, line = tokens.waiting, tokens.waiting.line
        detector = line.detector or self._open(line)[0]
        frame_id = waiting.message.frame_id
        score = line.take_unpublished(frame_id) or detector.step_tokens(
            tokens.patch_tokens, tokens.class_token, frame_id, frame_shape=tokens.shape
        )
        origin = Origin(waiting.message.seq, waiting.capture_ns, waiting.message.meta)
        line.remember(score.frame_id, origin)
        line.unsaved = True
        tokens.lap("score")
        latency = {**tokens.latency_ms, "total": (tokens.since_ns - waiting.received_ns) / 1e6}
        wanted = line.config.output.anomaly_map
        header = header_of(score, line.name, origin, latency)
        self._observe(header["latency_ms"])
        # Before the score is out: whoever has it must not find an older ring in `status`.
        line.state = detector.status()
        self._desk.score(waiting, header, score.anomaly_map if wanted else None)
        self._publish(line, detector.take_finals())
        if detector.revise_due:
            revised = detector.revise()
            line.state = detector.status()
            self._publish(line, revised)

    def flush(self, line: Line) -> int:
        """Publish the final revision of every frame in the ring; how many there were.

        Raises:
            WireError: `no_room` or `too_many_streams` for a stream that sleeps.
        """
        detector = self._opened(line)
        if detector is None:
            return 0
        scores = detector.take_finals() + detector.flush()
        line.state = detector.status()
        line.unsaved = True
        self._publish(line, scores)
        return len(scores)

    def operate(self, line: Line, kind: str, frame_id: FrameId) -> dict[str, int]:
        """An operator's word on a frame in the ring: `pin`, `unpin`, `forget` or `false_alarm`.

        Returns:
            How many images the ring holds now, and how many of them are pinned.

        Raises:
            WireError: `unknown_frame`; `no_room` or `too_many_streams` for a stream that sleeps.
        """
        try:
            detector = self._opened(line)
            if detector is None:
                raise FrameError(f"frame_id: stream '{line.name}' has no frame in its ring")
            getattr(detector.operators, kind)(frame_id)
        except FrameError as error:
            raise WireError("unknown_frame", str(error)) from None
        line.state = detector.status()
        line.unsaved = True
        self._publish(line, detector.take_finals())
        return {name: int(line.state[name]) for name in ("images", "pinned")}

    def _opened(self, line: Line) -> Detector | None:
        """The detector of a stream, woken if need be; None before its first frame."""
        return self._open(line)[0] if line.asleep else line.detector

    def _open(self, line: Line) -> tuple[Detector, dict[str, Any] | None]:
        """A detector for a stream's first frame, or for the next after a sleep; the tally of its snapshot."""
        was_asleep = line.asleep
        with self._lines.opening(line):
            detector = line.detector = self._new_detector(line)
            try:
                tally = self._snapshots.restore(line)
            except CapacityError as error:
                raise WireError("no_room", f"stream '{line.name}': {error}") from None
            except UnreadableError as error:
                # An empty ring would give wrong scores and, sooner or later, overwrite the file.
                raise WireError("snapshot_unreadable", f"stream '{line.name}': {error}") from None
        if was_asleep:
            log.info("stream_awake", stream=line.name, images=line.state["images"])
        return detector, tally

    def _new_detector(self, line: Line) -> Detector:
        room = self._lines.room_for(line)
        if room < 1:
            raise WireError(
                "no_room", f"stream '{line.name}': limits.total_bytes is used up by other streams"
            )
        try:
            return Detector(_within(line.config, room), backbone=self._backbone)
        except CapacityError as error:
            raise WireError("no_room", f"stream '{line.name}': {error}") from None

    def _publish(self, line: Line, scores: list[Score]) -> None:
        for score in scores:
            origin = line.origins.get(score.frame_id) or Origin(None, 0, {})
            wanted = line.config.transport.revision_maps
            with_map = line.config.output.anomaly_map and (
                wanted == "all" or (wanted == "final" and score.is_final)
            )
            header = header_of(score, line.name, origin, {})
            map_ = score.anomaly_map if with_map else None
            self._desk.outbox.put(Outgoing(line.name, "revision", header, map_))


def _within(config: Config, room: int) -> Config:
    if room >= int(config.ring.max_bytes):
        return config
    ring = config.ring.model_copy(update={"max_bytes": type(config.ring.max_bytes)(room)})
    return config.model_copy(update={"ring": ring})

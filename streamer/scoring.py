"""From tokens to published scores: the work of the matching thread, for every stream."""

from musc_online.backbones import Backbone
from musc_online.config import Config
from musc_online.detector import Detector
from musc_online.errors import CapacityError
from musc_online.score import Score
from streamer.desk import Desk
from streamer.errors import WireError
from streamer.lines import Line, Lines, Origin
from streamer.outbox import Outgoing
from streamer.pipeline import Tokens
from streamer.score_message import header_of


class Scoring:
    """Owns the detectors; only the matching thread calls it."""

    def __init__(self, lines: Lines, backbone: Backbone, desk: Desk) -> None:
        self._lines, self._backbone, self._desk = lines, backbone, desk

    def score(self, tokens: Tokens) -> None:
        """Score a frame, publish the score, and whatever revisions are due by it.

        Raises:
            FrameError: the detector cannot use the frame.
            WireError: `no_room` for the stream's ring.
        """
        waiting, line = tokens.waiting, tokens.waiting.line
        detector = line.detector or self._open(line)
        score = detector.step_tokens(
            tokens.patch_tokens, tokens.class_token, waiting.message.frame_id, frame_shape=tokens.shape
        )
        origin = Origin(waiting.message.seq, waiting.capture_ns, waiting.message.meta)
        line.remember(score.frame_id, origin)
        tokens.lap("score")
        latency = {**tokens.latency_ms, "total": (tokens.since_ns - waiting.received_ns) / 1e6}
        wanted = line.config.output.anomaly_map
        self._desk.score(
            waiting, header_of(score, line.name, origin, latency), score.anomaly_map if wanted else None
        )
        self._publish(line, detector.take_finals())
        if detector.revise_due:
            self._publish(line, detector.revise())
        line.state = detector.status()

    def flush(self, line: Line) -> int:
        """Publish the final revision of every frame in the ring; how many there were."""
        if line.detector is None:
            return 0
        scores = line.detector.take_finals() + line.detector.flush()
        self._publish(line, scores)
        line.state = line.detector.status()
        return len(scores)

    def _open(self, line: Line) -> Detector:
        room = self._lines.room_for(line)
        if room < 1:
            raise WireError(
                "no_room", f"stream '{line.name}': limits.total_bytes is used up by other streams"
            )
        try:
            line.detector = Detector(_within(line.config, room), backbone=self._backbone)
        except CapacityError as error:
            raise WireError("no_room", f"stream '{line.name}': {error}") from None
        return line.detector

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

"""What is published of a stream besides each frame's provisional score; only the matching thread calls it."""

import time
from collections.abc import Mapping
from typing import Any

from musc_online.arrays import FrameId
from musc_online.detector import Detector
from musc_online.events import Event
from musc_online.score import Score
from streamer.maps import PatchGrid
from streamer.server.outbox import Outgoing
from streamer.server.outcomes import Outcomes
from streamer.server.pipeline import Tokens
from streamer.server.stream import Origin, Stream
from streamer.server.words import Facts, Said
from streamer.wire.requests import Word

_NEWEST = 100
"""Frames an event names; a group may be as large as the ring, and is told again with one more."""


class Telling:
    """Pictures, revisions, finals, events and operators' words, in the order they came about."""

    def __init__(self, outcomes: Outcomes) -> None:
        self._outcomes = outcomes

    def happened(self, stream: Stream, detector: Detector) -> int:
        """Events, changeovers that accepted themselves, and last scores of frames that left the ring.

        Returns:
            How many frames had their last score.
        """
        for event in detector.take_events():
            self._outcomes.ledger.event(
                stream.name, event.kind
            )  # first: who has seen it finds it in `status`
            self._put(stream, "event", event_header(event))
        for group, frame_ids in detector.take_accepted():
            before = {"name": None, "n_frames": len(frame_ids)}
            self._operator(stream, "accept_after", "accept", None, group, before, None)
        finals = detector.take_finals()
        self.scores(stream, detector, finals)
        return len(finals)

    def picture(self, stream: Stream, score: Mapping[str, Any], tokens: Tokens) -> None:
        """The picture of a frame whose score was just put, if its stream sends that one's.

        Args:
            stream: the frame's.
            score: its header.
            tokens: the frame, with the picture that was made of it.
        """
        picture = tokens.picture
        if picture is None or not (stream.config.output.picture.of == "all" or score["pred_label"]):
            return
        header = {
            "stream": stream.name,
            **{key: score[key] for key in ("frame_id", "seq", "capture_ns")},
            "shape": list(tokens.shape),
            "size": list(picture.size),
            "encoding": "jpeg",
        }
        self._outcomes.outbox.put(Outgoing(stream.name, "picture", header, payload=picture.jpeg))

    def word(self, stream: Stream, word: Word, said: Said) -> None:
        """What an operator said, to everybody."""
        self._operator(stream, word.who, word.what, word.frame_id, word.group, said.before, said.after)

    def scores(self, stream: Stream, detector: Detector, scores: list[Score]) -> None:
        """Revisions and finals."""
        wanted = stream.config.transport.revision_maps
        for score in scores:
            origin = stream.origins.get(score.frame_id) or Origin(None, 0, {})
            with_map = stream.config.output.anomaly_map and (
                wanted == "all" or (wanted == "final" and score.is_final)
            )
            header = score_header(score, stream.name, origin, {})
            map_ = score.anomaly_map if with_map else None
            grid = None if map_ is None else grid_of(detector, score)
            self._outcomes.outbox.put(Outgoing(stream.name, "revision", header, map_, grid))

    def _operator(
        self,
        stream: Stream,
        who: str | None,
        what: str,
        frame_id: FrameId | None,
        group: int | None,
        before: Facts | None,
        after: Facts | None,
    ) -> None:
        fields = {
            "who": who,
            "what": what,
            "frame_id": frame_id,
            "group": group,
            "before": before,
            "after": after,
        }
        self._put(stream, "operator", {**fields, "operator_ns": time.time_ns()})

    def _put(self, stream: Stream, kind: str, header: dict[str, Any]) -> None:
        self._outcomes.outbox.put(Outgoing(stream.name, kind, {"stream": stream.name, **header}))


def grid_of(detector: Detector, score: Score) -> PatchGrid | None:
    """What a score's map was made of; None where only the map is left of it, as after a restart."""
    patches, maps = score.patch_scores, detector.verdict.frame_maps
    if patches is None:
        return None
    return PatchGrid(patches.reshape(maps.grid(len(patches))), maps.view(score.frame_shape), maps.hidden)


def event_header(event: Event) -> dict[str, Any]:
    """The header of an `event` without `v`, `kind`, `pub_seq` and `stream`."""
    return {
        "event": event.kind,
        "group": event.group,
        "frame_ids": list(event.frame_ids[-_NEWEST:]),
        "since": event.since,
        "n_frames": len(event.frame_ids),
        "regions": [list(region) for region in event.regions],
        "name": event.name,
        "event_ns": time.time_ns(),
    }


def score_header(
    score: Score, stream: str, origin: Origin, latency_ms: Mapping[str, float]
) -> dict[str, Any]:
    """The header without `v`, `kind` and `pub_seq`, which publishing adds, as it does `anomaly_map`.

    Args:
        score: of the detector.
        stream: its name.
        origin: what is echoed of the frame.
        latency_ms: phases that the service timed, beside the detector's.
    """
    label = score.pred_label
    return {
        "stream": stream,
        "frame_id": score.frame_id,
        "seq": origin.seq,
        "capture_ns": origin.capture_ns,
        "scored_ns": time.time_ns(),
        "raw_score": score.raw_score,
        "rscin_score": score.rscin_score,
        "pred_score": score.pred_score,
        "pred_label": None if label is None else bool(label),
        "threshold": score.threshold,
        "state": score.state,
        "n_references": score.n_references,
        "revision": score.revision,
        "is_final": score.is_final,
        "known_defect": score.known_defect,
        "regions": [list(region) for region in score.regions],
        "anomaly_map": None,
        "latency_ms": {phase: round(value, 3) for phase, value in {**latency_ms, **score.latency_ms}.items()},
        "model_id": score.model_id,
        "meta": origin.meta,
    }

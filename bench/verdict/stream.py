"""One stream through the real detector, and what was said of each frame first and last."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from bench.verdict.pairs import Indices, LookUp, Memory, Pairs, remembering
from musc_online.config import Config
from musc_online.detector import Detector
from musc_online.events import Event
from musc_online.ring_setup import make_ring
from musc_online.score import Score

Labels = list[bool | None]


@dataclass(frozen=True, eq=False)
class Said:
    """What was said of N frames, in order of arrival.

    `raw` `[N]` float64, NaN where there is none; `labels` N, None while withheld.
    """

    raw: npt.NDArray[np.float64]
    labels: Labels

    @classmethod
    def nothing(cls, n_frames: int) -> "Said":
        """Of none of the frames anything yet."""
        return cls(np.full(n_frames, np.nan), [None] * n_frames)

    def take(self, frame: int, score: Score) -> None:
        """A frame's score, in the place of any before."""
        self.raw[frame] = np.nan if score.raw_score is None else score.raw_score
        self.labels[frame] = score.pred_label


@dataclass(frozen=True, eq=False)
class Stream:
    """One stream: what was said on arrival, what was said last, and the threshold on the way.

    `thresholds` are those stated with each arrival, None while there was none; `threshold` the last of all,
    after the flush. `events` are those of the detector, each with the frame whose arrival brought it;
    their `frame_ids` are frames of the stream.
    """

    arrival: Said
    final: Said
    thresholds: list[float | None]
    threshold: float | None
    events: list[tuple[int, Event]] = field(default_factory=list)


class Operator:
    """Who watches a stream and may have a word on it; this one says nothing."""

    def after(self, frame: int, events: Sequence[Event], stream: Detector) -> None:
        """The frame has arrived, and `events` with it; a revision that is due after this comes at once."""

    def at_end(self, stream: Detector) -> None:
        """The last frame has arrived; the flush is next."""


def detector(pairs: Pairs, config: Config, memory: Memory | None = None) -> Detector:
    """A detector without a frame whose ring looks its distances up: step it with `Pairs.tokens`.

    No deadline holds: a look-up takes no time that a matcher would.

    Args:
        pairs: the distances of all images that may come.
        config: of the detector.
        memory: shared by streams of the same frames in the same order, which then take less time.

    Raises:
        CapacityError: the ring does not fit in `ring.max_bytes`.
    """
    output = config.output.model_copy(update={"anomaly_map": False, "regions": False})
    config = config.model_copy(update={"deadline_ms": None, "output": output})
    made = Detector(config)
    kind = remembering({} if memory is None else memory)
    made.ring = make_ring(config, pairs.geometry, lambda *_: LookUp(pairs), kind)
    return made


def play(
    pairs: Pairs,
    config: Config,
    images: Iterable[int] | Indices,
    memory: Memory | None = None,
    operator: Operator | None = None,
) -> Stream:
    """Let images arrive one by one, revise when due, flush at the end (docs/method.md#online).

    Args:
        pairs: the distances of all images.
        config: of the detector.
        images: numbers of the images as they arrive; one may come more than once.
        memory: see `detector`.
        operator: who watches; nobody by default.

    Raises:
        CapacityError: the ring does not fit in `ring.max_bytes`.
    """
    watching = operator or Operator()
    arriving = [int(image) for image in images]
    arrival, final = Said.nothing(len(arriving)), Said.nothing(len(arriving))
    thresholds: list[float | None] = []
    events: list[tuple[int, Event]] = []
    stream = detector(pairs, config, memory)
    for frame, image in enumerate(arriving):
        tokens, class_token, shape = pairs.tokens(image), pairs.class_tokens[image], pairs.frame_shape(image)
        score = stream.step_tokens(tokens, class_token, frame, frame_shape=shape)
        arrival.take(frame, score)
        final.take(frame, score)
        _take_all(final, stream.take_finals())
        _revise_if_due(final, stream)
        thresholds.append(score.threshold)
        told = stream.take_events()
        events += [(frame, event) for event in told]
        watching.after(frame, told, stream)
        _revise_if_due(final, stream)  # as the service does after a request
    watching.at_end(stream)
    _take_all(final, stream.flush())
    _take_all(final, stream.take_finals())
    return Stream(arrival, final, thresholds, stream.threshold, events)


def _revise_if_due(said: Said, stream: Detector) -> None:
    if stream.revise_due:
        _take_all(said, stream.revise())


def _take_all(said: Said, scores: Iterable[Score]) -> None:
    for score in scores:
        said.take(int(score.frame_id), score)

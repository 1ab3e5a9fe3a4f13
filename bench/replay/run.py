"""The two ways of scoring a category: as one batch, and as a stream through the ring."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.metrics.labels import flipped
from bench.replay.features import Features
from bench.replay.order import Indices
from bench.replay.scored import Scored
from musc_online.batch import score as batch_scores
from musc_online.config import Config
from musc_online.detector import Detector
from musc_online.frames import map_shape
from musc_online.score import Score


def batch(features: Features, config: Config, subsets: Sequence[Sequence[int]] | None = None) -> Scored:
    """Score the whole set at once, without the ring (docs/method.md#the-batch).

    Args:
        features: of the set.
        config: tiles, method, `ignore`, RsCIN and map size are used.
        subsets: `divide_num`: indices of the images that are scored together; None is one set. RsCIN always
            looks at the whole set, as in the published code.
    """
    found = batch_scores(
        config, features.patch_tokens, features.class_tokens, subsets, frame_shapes=features.shapes
    )
    return Scored(found.raw, found.rescored, found.maps, found.patch_scores)


@dataclass(frozen=True)
class Arrival:
    """What was said of one frame when it came in; `label` and `threshold` are None while withheld."""

    index: int
    raw: float
    label: bool | None
    threshold: float | None
    state: str
    n_references: int


@dataclass(eq=False)
class Recorder:
    """Takes the scores of one stream and keeps what was said first and last of each frame."""

    provisional: Scored
    revised: Scored
    arrivals: list[Arrival] = field(default_factory=list)
    last_label: dict[int, bool | None] = field(default_factory=dict)
    thresholds: dict[int, float | None] = field(default_factory=dict)
    """The threshold behind each frame's last label; None while withheld."""
    last_threshold: float | None = None
    """That of the label said last of all; None where every label was withheld."""
    n_kept_out: int = 0
    """Frames that `ring.admit` did not let into the ring: their first score is their last."""

    @classmethod
    def of(cls, n_images: int, shape: tuple[int, int]) -> "Recorder":
        """For a set of `n_images` with maps of (height, width) `shape`."""
        return cls(Scored.empty(n_images, shape), Scored.empty(n_images, shape))

    def take(self, index: int, score: Score) -> None:
        """A score message of image `index`: the first was said on arrival, any other replaces the last."""
        # While the label is withheld no threshold counts: there may be one, and nobody was judged by it.
        threshold = None if score.pred_label is None else score.threshold
        if index not in self.last_label:  # not "revision 0 and not final": a frame kept out is final at once
            raw = np.nan if score.raw_score is None else score.raw_score
            self.arrivals.append(
                Arrival(index, raw, score.pred_label, threshold, score.state, score.n_references)
            )
            self.n_kept_out += score.is_final
            _keep(self.provisional, index, score)
        # A frame that leaves the ring before any revision keeps its provisional score as its last.
        _keep(self.revised, index, score)
        self.last_label[index] = score.pred_label
        self.thresholds[index] = threshold
        if threshold is not None:
            self.last_threshold = threshold

    @property
    def n_warmup(self) -> int:
        """How many frames came in before the label was no longer withheld."""
        return sum(arrival.state == "warmup" for arrival in self.arrivals)

    @property
    def n_flipped(self) -> tuple[int, int]:
        """Frames whose label changed from provisional to final, and frames that had both."""
        first = [arrival.label for arrival in self.arrivals]
        return flipped(first, [self.last_label[arrival.index] for arrival in self.arrivals])


def ring_config(config: Config, capacity: int) -> Config:
    """The configuration with another ring capacity; `subsets` is cut down where it would not fit."""
    ring = config.ring
    against = ring.score_against
    subsets = min(ring.subsets, capacity)
    if isinstance(against, int):
        against = min(against, subsets)
    changed = ring.model_copy(update={"capacity": capacity, "subsets": subsets, "score_against": against})
    output = config.output.model_copy(update={"anomaly_map": True})
    return config.model_copy(update={"ring": changed, "output": output})


def stream(
    features: Features, config: Config, order: Indices, done: Callable[[int], None] = lambda count: None
) -> Recorder:
    """Let the images arrive one by one, revise when due, flush at the end (docs/method.md#online).

    Args:
        features: of the set.
        config: as `ring_config` gives it.
        order: indices of the images as they arrive.
        done: told after each arrival.

    Raises:
        CapacityError: the ring does not fit in `ring.max_bytes`.
    """
    recorder = Recorder.of(len(features), map_shape(config))
    for index, score in _scores(features, config, order, done):
        recorder.take(index, score)
    return recorder


def _scores(
    features: Features, config: Config, order: Indices, done: Callable[[int], None]
) -> Iterator[tuple[int, Score]]:
    detector = Detector(config)

    def numbered(scores: Iterable[Score]) -> Iterator[tuple[int, Score]]:
        return ((int(score.frame_id), score) for score in scores)

    for index in order:
        tokens, class_token = features.tokens(index), features.class_tokens[index]
        score = detector.step_tokens(tokens, class_token, int(index), frame_shape=features.shapes[index])
        yield int(index), score
        yield from numbered(detector.take_finals())
        if detector.revise_due:
            yield from numbered(detector.revise())
        done(1)
    yield from numbered(detector.flush())
    yield from numbered(detector.take_finals())


def _keep(scored: Scored, index: int, score: Score) -> None:
    if score.raw_score is None:
        return
    scored.raw[index] = score.raw_score
    if score.rscin_score is not None:
        scored.rescored[index] = score.rscin_score
    if score.anomaly_map is not None:  # an evicted frame's final score repeats its last one, without the map
        scored.maps[index] = score.anomaly_map


def without_regions(config: Config) -> Config:
    """The same without regions, which nobody here reads."""
    return config.model_copy(update={"output": config.output.model_copy(update={"regions": False})})

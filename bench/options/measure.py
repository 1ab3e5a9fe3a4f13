"""One category with every option: scored as a batch and as a stream, measured, and timed."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from bench.datasets import Category
from bench.options.named import Option
from bench.progress import Phases
from bench.replay import run, scored, verdicts
from bench.replay.features import Features, extracted
from bench.replay.order import arrivals
from bench.replay.scored import Levels, Truth
from musc_online import backbones
from musc_online.backbones import Backbone
from musc_online.config import BackboneConfig, Config
from musc_online.errors import CapacityError, DataError
from musc_online.frames import map_shape

STAGES = ("batch", "provisional", "revised")


@dataclass(frozen=True)
class Row:
    """One category with one option.

    `levels` are those of each of `STAGES`; `verdict` is the stream's (docs/operate.md#the-replays-json);
    `backbone_ms` decoding and backbone a frame, `stream_ms` matching, averaging and revising.
    """

    category: str
    option: str
    n_images: int
    n_anomalous: int
    levels: dict[str, Levels]
    verdict: dict[str, Any]
    backbone_ms: float
    stream_ms: float

    def as_json(self) -> dict[str, Any]:
        """Plain values; metrics as fractions."""
        measured = {stage: scored.as_json(levels) for stage, levels in self.levels.items()}
        counts = {"n_images": self.n_images, "n_anomalous": self.n_anomalous}
        spent = {"milliseconds": {"backbone": self.backbone_ms, "stream": self.stream_ms}}
        return {
            "category": self.category, "option": self.option, **counts, **measured,
            "verdict": self.verdict, **spent,
        }  # fmt: skip


class Measured:
    """Measures categories; each backbone is loaded once, and each set's tokens extracted once a backbone.

    Args:
        options: what to compare.
        capacity: of the ring; None is room for the whole category.
        seed: of the order of arrival.
    """

    def __init__(self, options: Sequence[Option], capacity: int | None, seed: int) -> None:
        self._options = options
        self._capacity = capacity
        self._seed = seed
        self._backbones: dict[BackboneConfig, Backbone] = {}

    def rows(self, category: Category, phases: Phases) -> tuple[list[Row], list[str]]:
        """One row an option, in their order; and one line for each that was left out.

        Raises:
            DataError: no labels to measure with, or an image or mask that cannot be used.
            WeightsError: a backbone's weights are missing or damaged.
        """
        found: dict[str, Row] = {}
        left_out: list[str] = []
        for group in _sharing_tokens(self._options):
            config = group[0].config
            backbone = self._backbone(config.backbone)
            n_images = len(category.samples)
            with ExitStack() as held:
                started = time.perf_counter()
                with phases.phase(f"backbone of {group[0].name}", n_images) as done:
                    features = held.enter_context(
                        extracted(category.samples, backbone, config.tiles, done=done)
                    )
                spent = time.perf_counter() - started
                for option in group:
                    try:
                        found[option.name] = self._row(category, option, features, spent, phases)
                    except CapacityError as error:
                        left_out.append(f"{category.name}: {option.name} left out: {error}")
        return [found[option.name] for option in self._options if option.name in found], left_out

    def _backbone(self, wanted: BackboneConfig) -> Backbone:
        if wanted not in self._backbones:
            self._backbones[wanted] = backbones.load_configured(wanted)
        return self._backbones[wanted]

    def _row(
        self, category: Category, option: Option, features: Features, spent: float, phases: Phases
    ) -> Row:
        n_images = len(features)
        truth = _truth(category, option.config)
        online = run.without_regions(run.ring_config(option.config, self._capacity or n_images))
        order = arrivals(n_images, "shuffled", self._seed)
        with phases.phase(f"{option.name}: batch"):  # first: what is compiled then is in no stream's time
            batch = run.batch(features, option.config)
        with phases.phase(f"{option.name}: stream", n_images) as done:
            started = time.perf_counter()
            recorder = run.stream(features, online, order, done)
            streamed = time.perf_counter() - started
        with phases.phase(f"{option.name}: metrics"):
            three = zip(STAGES, (batch, recorder.provisional, recorder.revised), strict=True)
            levels = {stage: scored.levels(scores, truth) for stage, scores in three}
        verdict = verdicts.of_stream(recorder, truth.labels)
        del verdict["threshold"]  # every change of it: nobody compares options by that
        n_anomalous = int((truth.labels != 0).sum())
        milliseconds = (1e3 * spent / n_images, 1e3 * streamed / n_images)
        return Row(category.name, option.name, n_images, n_anomalous, levels, verdict, *milliseconds)


def _truth(category: Category, config: Config) -> Truth:
    truth = scored.read_truth(category.samples, map_shape(config))
    if truth is None:
        raise DataError(f"{category.name}: has images without a label, expected labels to measure with")
    return truth


def _sharing_tokens(options: Sequence[Option]) -> Iterator[list[Option]]:
    """Options whose frames give the same tokens, together: two sets of tokens need not fit in memory."""
    groups: dict[object, list[Option]] = {}
    for option in options:
        groups.setdefault((option.config.backbone, option.config.tiles), []).append(option)
    yield from groups.values()

"""The protocol of one category: every draw, order of arrival and threshold rule, each a stream."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.metrics import image_metrics
from bench.metrics.labels import Verdicts, flipped, judge, stable_after
from bench.replay.order import arrivals
from bench.verdict.draws import Draw, draws
from bench.verdict.pairs import Memory, Pairs
from bench.verdict.stream import play
from musc_online import config as configuration
from musc_online.config import Config


@dataclass(frozen=True)
class Series:
    """One way of setting the threshold, compared with others: a line of the plot."""

    name: str
    config: Config


@dataclass(frozen=True)
class Run:
    """One stream.

    `auroc` is the image AUROC of the draw's batch (None without a defective image or a good one): the same
    whatever the order and the rule. `stable_after` is in frames.
    """

    category: str
    series: str
    contamination: str
    share: float
    n_good: int
    n_defective: int
    draw: int
    order: int
    auroc: float | None
    arrival: Verdicts
    final: Verdicts
    n_flipped: int
    n_compared: int
    stable_after: int | None
    threshold: float | None

    def as_json(self) -> dict[str, Any]:
        """Plain values, null where undefined."""
        return {**vars(self), "arrival": self.arrival.as_json(), "final": self.final.as_json()}


def with_rule(config: Config, rule: str) -> Config:
    """The configuration with another threshold rule, its other keys as they are.

    Raises:
        ConfigError: no such rule, or one that needs a key the configuration lacks.
    """
    threshold = config.threshold.model_dump() | {"rule": rule}
    return configuration.load(config.model_dump() | {"threshold": threshold})


@dataclass(frozen=True)
class Plan:
    """How often: draws and orders of each, and the seed of both."""

    n_draws: int = 3
    n_orders: int = 3
    seed: int = 0

    def draws(self, labels: npt.NDArray[np.bool_]) -> list[Draw]:
        """Of a set with such labels."""
        return draws(labels, self.n_draws, self.seed)


def measure(
    category: str,
    pairs: Pairs,
    labels: npt.NDArray[np.bool_],
    series: Sequence[Series],
    plan: Plan,
    done: Callable[[int], None] = lambda count: None,
) -> Iterator[Run]:
    """Play every stream of a category.

    Args:
        category: its name.
        pairs: of all its images.
        labels: `[N]`, True is defective.
        series: whose configurations share features and distances.
        plan: how often.
        done: told after each stream.

    Raises:
        CapacityError: a ring does not fit in `ring.max_bytes`.
    """
    for draw in plan.draws(labels):
        auroc = _auroc(pairs, labels, draw, series[0].config)
        for order in range(plan.n_orders):
            images = draw.images[arrivals(len(draw.images), "shuffled", plan.seed + order)]
            memory: Memory = {}
            for one in series:
                yield _run(category, one, pairs, labels, draw, order, auroc, images, memory)
                done(1)


def _run(
    category: str,
    series: Series,
    pairs: Pairs,
    labels: npt.NDArray[np.bool_],
    draw: Draw,
    order: int,
    auroc: float | None,
    images: npt.NDArray[np.intp],
    memory: Memory,
) -> Run:
    stream, truth = play(pairs, series.config, images, memory), labels[images]
    n_flipped, n_compared = flipped(stream.arrival.labels, stream.final.labels)
    return Run(
        category=category,
        series=series.name,
        contamination=draw.contamination,
        share=draw.share,
        n_good=draw.n_good,
        n_defective=draw.n_defective,
        draw=draw.number,
        order=order,
        auroc=auroc,
        arrival=judge(truth, stream.arrival.labels, stream.arrival.raw),
        final=judge(truth, stream.final.labels, stream.final.raw),
        n_flipped=n_flipped,
        n_compared=n_compared,
        stable_after=stable_after(stream.thresholds),
        threshold=stream.threshold,
    )


def _auroc(pairs: Pairs, labels: npt.NDArray[np.bool_], draw: Draw, config: Config) -> float | None:
    truth = labels[draw.images]
    if truth.all() or not truth.any():
        return None
    return image_metrics(truth, pairs.batch_scores(draw.images, config))["auroc"]

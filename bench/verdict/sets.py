"""A category's images put through the backbone once, and its pairs matched once a configuration needs it."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from bench.datasets import Category, Sample
from bench.progress import Phases
from bench.replay.features import extracted
from bench.verdict.pairs import Pairs, match_all
from musc_online import backbones
from musc_online.backbones import Backbone
from musc_online.config import Config
from musc_online.errors import DataError


def truth(category: Category) -> npt.NDArray[np.bool_]:
    """`[N]`, True is defective.

    Raises:
        DataError: an image without a label, or no good image.
    """
    if any(sample.label is None for sample in category.samples):
        raise DataError(f"{category.name}: has images without a label, expected labels to measure with")
    labels = np.array([sample.label == 1 for sample in category.samples])
    if labels.all():
        raise DataError(f"{category.name}: has no good image, expected some to be scored against")
    return labels


class Matched:
    """Pairs of images by what they depend on of a configuration; backbones are kept, pairs only the last.

    Args:
        phases: gives the progress of a category's name.
    """

    def __init__(self, phases: Callable[[str], Phases]) -> None:
        self._phases = phases
        self._backbones: dict[object, Backbone] = {}
        self._last: tuple[object, Pairs] | None = None

    def pairs(self, name: str, samples: Sequence[Sample], config: Config) -> Pairs:
        """The pairs of a category.

        Raises:
            DataError: an image that cannot be used.
            WeightsError: the backbone's weights are missing or damaged.
        """
        key = (name, tuple(samples), same_pairs(config))
        if self._last is None or self._last[0] != key:
            self._last = None  # two tables need not fit in memory
            self._last = key, self._match(name, samples, config)
        return self._last[1]

    def backbone(self, config: Config) -> Backbone:
        """The backbone of a configuration, loaded once."""
        wanted = config.backbone
        if wanted not in self._backbones:
            self._backbones[wanted] = backbones.load_configured(wanted)
        return self._backbones[wanted]

    def _match(self, name: str, samples: Sequence[Sample], config: Config) -> Pairs:
        phases, backbone = self._phases(name), self.backbone(config)
        with ExitStack() as held:
            with phases.phase("backbone", len(samples)) as done:
                features = held.enter_context(extracted(samples, backbone, config.tiles, done=done))
            with phases.phase("pairs", len(samples) - 1, "every pair matched") as done:
                pairs = match_all(features.patch_tokens, features.class_tokens, config, done)
                return replace(pairs, frame_shapes=features.shapes)


def same_pairs(config: Config) -> object:
    """What the pairs of a set depend on: configurations for which it is equal share them."""
    method = config.method
    seen = config.backbone, config.tiles, config.ignore
    return seen, method.degrees, method.position, config.ring.matcher

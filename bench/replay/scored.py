"""The scores of a set of images from one way of scoring it, and the seven published metrics of them."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.datasets import Sample, read_mask
from bench.metrics import Metrics, image_metrics, pixel_metrics

Doubles = npt.NDArray[np.float64]
Levels = dict[str, Metrics]
"""`{"image": after RsCIN, "image_raw": before, "pixel": of the maps}`."""


@dataclass(frozen=True, eq=False)
class Scored:
    """Scores in the order of the samples; NaN where an image has none.

    `raw` `[N]` float64, the image scores; `rescored` `[N]` float64, after RsCIN; `maps` `[N, H, W]` float32;
    `patch_scores` `[N, P]` float64, of a batch only.
    """

    raw: Doubles
    rescored: Doubles
    maps: npt.NDArray[np.float32]
    patch_scores: Doubles | None = None

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """`[N]`: which images have a score."""
        return np.isfinite(self.raw)

    @classmethod
    def empty(cls, n_images: int, shape: tuple[int, int]) -> "Scored":
        """No image has a score yet; maps have (height, width) `shape`."""
        maps = np.full((n_images, *shape), np.nan, np.float32)
        return cls(np.full(n_images, np.nan), np.full(n_images, np.nan), maps)


@dataclass(frozen=True, eq=False)
class Truth:
    """Ground truth in the order of the samples; `labels` `[N]` int, `masks` `[N, H, W]` uint8 or None."""

    labels: npt.NDArray[np.int64]
    masks: npt.NDArray[np.uint8] | None


def read_truth(samples: Sequence[Sample], shape: tuple[int, int]) -> Truth | None:
    """Labels and masks of (height, width) `shape` of a category; None where a label is unknown.

    `masks` is None where an anomalous image has no mask to measure against.

    Raises:
        DataError: a mask cannot be read.
    """
    if any(sample.label is None for sample in samples):
        return None
    labels = np.array([int(sample.label or 0) for sample in samples])
    if any(sample.label and not sample.mask_paths for sample in samples):
        return Truth(labels, None)
    masks = np.empty((len(samples), *shape), np.uint8)
    with ThreadPoolExecutor(4, thread_name_prefix="masks") as pool:
        for index, mask in enumerate(pool.map(lambda sample: read_mask(sample, shape), samples)):
            masks[index] = mask
    return Truth(labels, masks)


def levels(scored: Scored, truth: Truth) -> Levels:
    """Measure the images that have a score: metrics as fractions, NaN with a reason where undefined."""
    known = scored.known
    labels = truth.labels[known]
    if truth.masks is None:
        reason = "an anomalous image has no mask"
        pixel = Metrics(dict.fromkeys(("auroc", "f1_max", "ap", "pro"), math.nan))
        pixel.reasons = dict.fromkeys(pixel, reason)
    elif known.all():
        pixel = pixel_metrics(truth.masks, scored.maps)
    else:
        pixel = pixel_metrics(truth.masks[known], scored.maps[known])
    return {
        "image": image_metrics(labels, scored.rescored[known]),
        "image_raw": image_metrics(labels, scored.raw[known]),
        "pixel": pixel,
    }


def as_json(measured: Levels) -> dict[str, Any]:
    """Levels for JSON: fractions; undefined is null, its reason under `reasons` as `level.metric`."""
    reasons = {
        f"{level}.{name}": metrics.reasons.get(name, "undefined")
        for level, metrics in measured.items()
        for name, value in metrics.items()
        if math.isnan(value)
    }
    plain: dict[str, Any] = {
        level: {name: None if math.isnan(value) else value for name, value in metrics.items()}
        for level, metrics in measured.items()
    }
    return plain | ({"reasons": reasons} if reasons else {})

"""Whether the stream ended in the batch result, and the batch in that of plain float32."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bench.replay.independent import Distances
from bench.replay.scored import Levels, Scored
from musc_online.config import Config

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Parity:
    """How far the revised scores of a stream are from those of the batch.

    Largest absolute differences: of raw image scores, of map values (both in units of distance, 0..2), of
    re-scored image scores (0..1) and of any metric (fractions). `max_abs_metric` is None where nothing could
    be measured. `independent` says how far the batch is from a second way, which shares nothing with it.
    `holds` is None where parity is not asked for, `reason` says why; otherwise it says whether scores, maps
    and metrics are within 1e-4, and the batch within 1e-4 of the second way. A batch that is not is False
    whatever was asked for.
    """

    max_abs_image_score: float
    max_abs_map: float
    max_abs_rescored: float
    max_abs_metric: float | None
    holds: bool | None
    reason: str = ""
    independent: Distances | None = None

    def as_json(self) -> dict[str, Any]:
        """For JSON; a distance that is not a number (an image without a score) becomes null."""
        plain = _without_nan(asdict(self))
        return plain | {"independent": self.independent and _without_nan(asdict(self.independent))}


def _without_nan(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in values.items()
    }


def judged(
    batch: Scored,
    revised: Scored,
    measured: tuple[Levels, Levels] | None,
    not_asked: str = "",
    independent: Distances | None = None,
) -> Parity:
    """Compare a stream's last scores with the batch.

    Args:
        batch: scores of the whole set at once.
        revised: the last scores of the stream.
        measured: metrics of both, or None where there are no labels.
        not_asked: why parity is not asked for (see `not_asked`); empty if it is.
        independent: how far the batch is from `bench.replay.independent`; None if that was not asked.
    """
    image = _largest(batch.raw, revised.raw)
    maps = _largest(batch.maps, revised.maps)
    metric = None if measured is None else _largest_metric(*measured)
    # `not (x > tolerance)` would let NaN through: an image without a score is a broken promise.
    same = image <= TOLERANCE and maps <= TOLERANCE and (metric is None or metric <= TOLERANCE)
    right = independent is None or (
        independent.max_abs_patch_score <= TOLERANCE and independent.max_abs_image_score <= TOLERANCE
    )
    holds = (None if not_asked else same) if right else False
    rescored = _largest(batch.rescored, revised.rescored)
    return Parity(image, maps, rescored, metric, holds, not_asked, independent)


def not_asked(config: Config, n_images: int, n_subsets: int = 1) -> str:
    """Why a stream with this ring need not end in the batch result; empty if it must.

    Args:
        config: with the ring as used.
        n_images: of the set.
        n_subsets: into which the batch was divided (`divide_num`).
    """
    ring = config.ring
    if ring.capacity < n_images:
        return f"the ring holds {ring.capacity} of {n_images} images"
    if ring.score_against not in ("all", ring.subsets):
        return f"each arrival is scored against {ring.score_against} of {ring.subsets} subsets"
    if ring.admit != "all":
        return f"ring.admit: {ring.admit} may keep arrivals from being references"
    if config.deadline_ms is not None:
        return f"deadline_ms: {config.deadline_ms:g} may leave references out"
    if n_subsets > 1:
        return f"the batch is divided into {n_subsets} subsets, the stream is not"
    return ""


def _largest(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> float:
    """Largest absolute difference; NaN if one has a value where the other has none."""
    largest = 0.0
    for one, other in zip(first, second, strict=True):  # an image at a time: no second copy of all maps
        difference = np.abs(np.subtract(one, other, dtype=np.float64))
        value = float(difference.max())
        if math.isnan(value):
            return math.nan
        largest = max(largest, value)
    return largest


def _largest_metric(batch: Levels, revised: Levels) -> float:
    """Over all metrics of all levels; undefined on both sides is agreement, on one side NaN."""
    largest = 0.0
    for level, metrics in batch.items():
        for name, value in metrics.items():
            other = revised[level][name]
            if math.isnan(value) and math.isnan(other):
                continue
            if math.isnan(value) or math.isnan(other):
                return math.nan
            largest = max(largest, abs(value - other))
    return largest

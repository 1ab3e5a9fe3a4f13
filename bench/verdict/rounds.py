"""More frames than a set has good images: round after round, every picture a little other than before."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bench.datasets import Category, Sample
from bench.replay.order import Indices
from bench.verdict.jitter import write_jittered
from bench.verdict.sets import truth


def good(category: Category) -> list[Sample]:
    """The good images.

    Raises:
        DataError: an image without a label, or no good image.
    """
    return [category.samples[index] for index in np.flatnonzero(~truth(category))]


def shown(n_images: int, n_frames: int, seed: int) -> Indices:
    """Which image each of `n_frames` shows: `[n_frames]`, in every round each once, the last cut short."""
    generator = np.random.default_rng(seed)
    n_rounds = -(-n_frames // n_images)
    return np.concatenate([generator.permutation(n_images) for _ in range(n_rounds)])[:n_frames]


def order(n_images: int, n_frames: int, seed: int) -> Indices:
    """Another order of the frames of `shown`, `[n_frames]`: each round shuffled in itself."""
    generator = np.random.default_rng(seed)
    frames = np.arange(n_frames)
    return np.concatenate(
        [generator.permutation(frames[start : start + n_images]) for start in range(0, n_frames, n_images)]
    )


@contextmanager
def pictures(samples: Sequence[Sample], images: Indices, seed: int) -> Iterator[list[Sample]]:
    """The samples of `[n]` images; where one comes again all are jittered, in files that go with the block.

    The very same picture again would be a duplicate, and frames jittered from the second round on only would
    be those of another camera.

    Raises:
        DataError: an image that cannot be read.
    """
    wanted = [samples[index] for index in images]
    if len(set(images.tolist())) == len(images):
        yield wanted
        return
    with tempfile.TemporaryDirectory(prefix="musc-jitter-") as folder:
        yield write_jittered(wanted, Path(folder), seed)

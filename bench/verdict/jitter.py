"""The same part seen again: an image a little shifted, lighter or darker, with noise of its own."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from bench.datasets import Sample, read_frame
from bench.datasets.images import Bytes

SHIFT = 6
"""Pixels at most, across and down."""
GAIN, OFFSET, NOISE = 0.06, 4.0, 3.0
"""At most so much of gain (a share) and offset (of 255), and the noise's standard deviation."""


def jittered(frame: Bytes, generator: np.random.Generator) -> Bytes:
    """`[H, W, 3]` uint8 as a camera might see it the next time; what a shift brings in is reflected."""
    down, across = generator.integers(0, 2 * SHIFT + 1, 2)
    wide = np.pad(frame, ((SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="reflect")
    moved = wide[down : down + frame.shape[0], across : across + frame.shape[1]].astype(np.float32)
    gain, offset = 1 + generator.uniform(-GAIN, GAIN), generator.uniform(-OFFSET, OFFSET)
    noise = generator.normal(0, NOISE, frame.shape)
    changed: Bytes = np.clip(np.rint(moved * gain + offset + noise), 0, 255).astype(np.uint8)
    return changed


def write_jittered(samples: Sequence[Sample], folder: Path, seed: int) -> list[Sample]:
    """Every sample jittered, as PNG files in `folder`; a sample that comes twice is another picture then.

    Raises:
        DataError: an image that cannot be read.
    """
    written = []
    for number, sample in enumerate(samples):
        path = folder / f"{number:05d}.png"
        frame = jittered(read_frame(sample.path, sample.bit_depth), np.random.default_rng((seed, number)))
        cv2.imwrite(str(path), frame, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        written.append(
            replace(
                sample, path=path, mask_paths=(), frame_id=f"{number}: {sample.frame_id}", bit_depth="auto"
            )
        )
    return written

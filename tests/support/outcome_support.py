"""The outcome of a replay without a replay: images on disk, and the scores that a test gives them."""

from pathlib import Path

import cv2
import numpy as np

from bench.datasets import Category, Sample
from bench.replay.outcome import Outcome
from bench.replay.parity import Parity
from bench.replay.run import Recorder
from bench.replay.scored import Scored, Truth
from musc_online import config
from musc_online.score import Score

SHAPE = (8, 12)
"""Of the maps."""


def image(path: Path, height=40, width=60):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(
        str(path), np.random.default_rng(height).integers(0, 255, (height, width, 3), np.uint8)
    )
    return path


def hot(row, column, value, rest=0.1):
    """A map with one high value."""
    made = np.full(SHAPE, rest, np.float32)
    made[row, column] = value
    return made


def outcome_of(folder: Path, frames, truth=None) -> Outcome:
    """Of `frames`: frame id, map or None where there is no score, label and threshold; images of 40 x 60.

    The raw score is the map's maximum.
    """
    samples, n_images = [], len(frames)
    recorder = Recorder.of(n_images, SHAPE)
    for index, (frame_id, anomaly_map, label, threshold) in enumerate(frames):
        path = image(folder / f"{index}.png")
        samples.append(Sample(path, None, "", (), frame_id))
        raw = None if anomaly_map is None else float(anomaly_map.max())
        said = {"pred_label": label, "threshold": threshold, "state": "ready", "n_references": 1}
        score = Score(
            frame_id=frame_id, raw_score=raw, rscin_score=raw, pred_score=None, revision=0, is_final=True,
            anomaly_map=anomaly_map, **said,
        )  # fmt: skip
        recorder.take(index, score)
    parity = Parity(0.0, 0.0, 0.0, None, True)
    masks = (
        None
        if truth is None
        else Truth(np.array([mask.any() for mask in truth]).astype(int), np.stack(truth))
    )
    return Outcome(
        Category("part", tuple(samples)), masks, Scored.empty(n_images, SHAPE), recorder,
        config.load({}), parity, {}, {}, [(40, 60)] * n_images,
    )  # fmt: skip

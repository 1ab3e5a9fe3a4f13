"""Random streams of tokens, a detector for them, and its scores held to the oracle's."""

import math

import naive_stream
import numpy as np

from musc_online import config
from musc_online.detector import Detector


def images(seed, n_images, n_stages=2, n_patches=16, n_channels=24):
    rng = np.random.default_rng(seed)
    tokens = rng.normal(size=(n_stages, n_images, n_patches, n_channels)).astype(np.float32)
    tokens[:, n_images // 2] = tokens[:, 0]  # a part that did not move
    return tokens, rng.normal(size=(n_images, 6)).astype(np.float32)


def detector(capacity, matcher="gemm", **sections):
    ring = {"capacity": capacity, "matcher": matcher, **sections.pop("ring", {})}
    return Detector(config.load({"ring": ring, "output": {"map_size": 16}, **sections}))


SCORE = 1e-4
"""How far a raw score, a patch score or a pixel of a map may be off."""


def assert_said(score, said, rule):
    """Everything a score says is what the oracle says of the frame; `rule` is the threshold's section."""
    fields = (score.frame_id, score.state, score.n_references, score.revision, score.is_final)
    assert fields == (said.image, said.state, said.n_references, said.revision, said.is_final)
    assert close(score.raw_score, said.raw, SCORE)
    assert close_arrays(score.patch_scores, said.patches)
    assert close_arrays(score.anomaly_map, said.map)
    # RsCIN's min-max and the normalised score divide by a range, and so do their roundings.
    assert close(
        score.rscin_score, said.rscin, SCORE * (1 + 2 / said.spread) if said.spread > 1e-3 else math.inf
    )
    limit = naive_stream.largest_error(rule, SCORE)
    assert close(score.threshold, said.threshold, limit)
    allowed = math.inf
    if said.range > 1e-2:
        allowed = (SCORE + limit) / said.range + 2 * SCORE * abs(said.raw - said.threshold) / said.range**2
    assert close(score.pred_score, said.pred, allowed)
    if not undecided(said, rule):
        assert score.pred_label is said.label


def undecided(said, rule):
    """Whether a raw score is so near the threshold that rounding decides its label."""
    if None in (said.raw, said.threshold, said.label):
        return False
    return abs(said.raw - said.threshold) <= SCORE + naive_stream.largest_error(rule, SCORE)


def close(ours, theirs, tolerance):
    """Two numbers alike, or both missing."""
    if ours is None or theirs is None:
        return ours is theirs
    return math.isfinite(ours) and abs(ours - theirs) <= tolerance


def close_arrays(ours, theirs):
    """Two arrays alike in every element, or both missing."""
    if ours is None or theirs is None:
        return ours is theirs
    return ours.shape == theirs.shape and bool(np.abs(ours - theirs).max() <= SCORE)

"""Random streams of tokens, and a detector for them."""

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

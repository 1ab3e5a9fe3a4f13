"""Images of one scene, stores of them, and what a store finds between two."""

import numpy as np

from musc_online.arrays import Geometry
from musc_online.nearest.gemm.store import GemmStore

DEGREES = (1, 3, 5)


def images(n_images, n_stages=2, side=8, n_channels=48, seed=0):
    rng = np.random.default_rng(seed)
    scene = rng.normal(size=(1, n_stages, side * side, n_channels))
    return (scene + rng.normal(size=(n_images, *scene.shape[1:]))).astype(np.float32)


def store_of(kind, tokens, degrees=DEGREES, grid=None, position=None, **options):
    n_images, n_stages, n_patches, n_channels = tokens.shape
    if kind is GemmStore:
        options = {"fine": False, **options}
    store = kind(n_images, Geometry(n_stages, degrees, n_patches, n_channels, grid, position), **options)
    for slot, image in enumerate(tokens):
        store.put(slot, store.prepare(image))
    return store


def match(store, arrival, slots, n_degrees=3):
    n_stages, n_patches, _ = arrival.shape
    size = (len(slots), n_stages, n_degrees, n_patches)
    forward, backward = np.full(size, np.nan, np.float32), np.full(size, np.nan, np.float32)
    store.match(store.prepare(arrival), slots, forward, backward)
    return forward, backward

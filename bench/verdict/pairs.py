"""Every pair of a set's images matched once, and a ring's matcher that only looks up what was found."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from musc_online import nearest
from musc_online.anomaly_map import FrameMaps
from musc_online.arrays import Geometry
from musc_online.backbones.loading import choose_device
from musc_online.codes import SCALE, Codes
from musc_online.config import Config
from musc_online.ignore import ignored_maps
from musc_online.msm import references_of, score_codes, whole_table
from musc_online.parallel import spread
from musc_online.ring import Ring
from musc_online.ring_setup import geometry_of, maps_of

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Pairs:
    """The distances of every pair of N images, as codes.

    `codes` is `[N, N, S * D * P]` uint16, `[i, j]` image i's patches to their nearest in image j;
    `class_tokens` `[N, D]` float32. `geometry` has one channel: what stands for an image's tokens is its
    number (see `tokens`), so that thousands of streams need no features. `shape` is (S, P) or (T, S, P).
    """

    codes: Codes
    geometry: Geometry
    class_tokens: Floats
    shape: tuple[int, ...]
    frame_shapes: tuple[tuple[int, int], ...] | None = None
    """(height, width) of each image's frame, where that is known."""

    def __len__(self) -> int:
        return len(self.codes)

    def tokens(self, image: int) -> Floats:
        """`[S, P, 1]` (`[T, S, P, 1]` of T tiles): what `LookUp.prepare` reads the image's number from."""
        return np.full((*self.shape, 1), image, np.float32)

    def frame_shape(self, image: int) -> tuple[int, int] | None:
        """(height, width) of an image's frame, if known."""
        return None if self.frame_shapes is None else self.frame_shapes[image]

    def batch_scores(self, images: Indices, config: Config) -> npt.NDArray[np.float64]:
        """Raw scores `[n]` of n >= 2 images as a batch: each against the others, whatever the order."""
        references = references_of(len(images), config.ring.nearest, self.class_tokens[images])
        wanted = zip(images, references, strict=True)
        scores = np.stack(spread(lambda pair: self._against(pair[0], images[pair[1]], config), wanted))
        shown, shapes = FrameMaps(config), [self.frame_shape(int(image)) for image in images]
        return shown.raw_scores(scores, shown.maps(scores, shapes), shapes)

    def _against(self, image: int, others: Indices, config: Config) -> npt.NDArray[np.float64]:
        return score_codes(self.codes[image], others, self.geometry, config.method.interval)


def match_all(
    patch_tokens: Floats,
    class_tokens: Floats,
    config: Config,
    done: Callable[[int], None] = lambda count: None,
) -> Pairs:
    """Match every pair of N >= 2 images once, with the matcher of the configuration.

    Args:
        patch_tokens: `[S, N, P, C]` float32, `[T * S, N, P, C]` of T tiles.
        class_tokens: `[N, D]` float32.
        config: method, matcher and device are used.
        done: told after each image but the first.
    """
    n_maps, n_images, n_patches, n_channels = patch_tokens.shape
    n_tiles = config.tiles.count
    geometry = geometry_of(config, n_maps // n_tiles, n_patches, n_channels)
    device = str(choose_device(config.backbone.device))
    ignored = ignored_maps(config, geometry)
    store = nearest.create(config.ring.matcher, n_images, geometry, device=device, ignored=ignored)
    features = spread(
        lambda image: store.prepare(np.ascontiguousarray(maps_of(config, patch_tokens[:, image]))),
        range(n_images),
    )
    for slot, kept in enumerate(features):
        store.put(slot, kept)
    codes = whole_table(store, features, geometry.shape, done)
    shape = (n_maps // n_tiles, n_patches)
    tiled = shape if n_tiles == 1 else (n_tiles, *shape)
    return Pairs(codes, replace(geometry, n_channels=1), class_tokens, tiled)


class LookUp:
    """A `PatchStore` (`musc_online/nearest`) whose distances were found before.

    Codes are what a ring keeps of a distance, and decoding and encoding gives the same code, so a ring with
    this store holds the very table that it would have of the images' tokens.

    Args:
        pairs: of the images that may arrive.
    """

    name = "look-up"

    def __init__(self, pairs: Pairs) -> None:
        self._codes = pairs.codes.reshape(len(pairs), len(pairs), *pairs.geometry.shape)
        self.held: dict[int, int] = {}
        """Slot to image; how many slots there are is the ring's affair."""

    def prepare(self, patch_tokens: Floats) -> int:
        """The image's number from `Pairs.tokens`."""
        return int(patch_tokens.flat[0])

    def put(self, slot: int, features: int) -> None:
        """Keep an image's number."""
        self.held[slot] = features

    def features(self, slot: int) -> int:
        """The number of the image in `slot`."""
        return self.held[slot]

    def match(self, features: int, slots: Sequence[int] | Indices, forward: Floats, backward: Floats) -> None:
        """See `PatchStore.match`."""
        others = [self.held[int(slot)] for slot in slots]
        # As `decode` does it, but in place: every pair was measured.
        np.divide(self._codes[features, others], np.float32(SCALE), out=forward)
        np.divide(self._codes[others, features], np.float32(SCALE), out=backward)

    @property
    def nbytes(self) -> int:
        """Nothing but numbers of images; the table is the caller's."""
        return 0

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """`images` `[n, 2]`: slot and image; no ring of this store is put on disk, but it could be."""
        return {"images": np.array(sorted(self.held.items()), np.int64).reshape(-1, 2)}

    def restore(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Take slots and images from `state`."""
        self.held = {int(slot): int(image) for slot, image in state["images"]}


Memory = dict[tuple[tuple[float, float], tuple[int, ...]], npt.NDArray[np.float64]]
"""Patch scores by interval, and image before the sorted images it was scored against."""


class _Remembering(Ring):
    """A ring of looked-up images that averages no image twice against the same others.

    Rules that are compared see the same frames in the same order, and mostly the same rings: all but the
    first find their revisions done. The interval average is exact whatever the order of its references, so
    nothing else changes.
    """

    memory: Memory

    def patch_scores(
        self, slot: int, references: Indices | None = None, codes: Codes | None = None
    ) -> npt.NDArray[np.float64] | None:
        """See `Ring.patch_scores`."""
        held = cast(LookUp, self.store).held
        references = self.references(slot) if references is None else references
        others = sorted(held[other] for other in references.tolist())
        key = (self.interval, (held[slot], *others))
        if others and key not in self.memory:
            scores = super().patch_scores(slot, references, codes)
            assert scores is not None  # noqa: S101  (there are references)
            self.memory[key] = scores
        return self.memory.get(key)


def remembering(memory: Memory) -> Callable[[type[Ring]], type[Ring]]:
    """For `make_ring`: rings that share what they have averaged.

    Args:
        memory: of one set of pairs.
    """
    return lambda kind: type("RememberingRing", (_Remembering, kind), {"memory": memory})

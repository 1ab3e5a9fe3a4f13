"""The tokens of a category, extracted once; images are decoded and resized beside the backbone."""

import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.datasets import Sample, read_image
from musc_online.backbones import Backbone
from musc_online.config import TilesConfig
from musc_online.errors import DataError, FrameError
from musc_online.frames import inputs, join_class_tokens
from streamer.images import Warned
from streamer.images.oddities import Oddities

Floats = npt.NDArray[np.float32]
ONE_TILE = TilesConfig()
Step = Callable[[int], None]
"""Told how many more images are done."""
_Prepared = tuple[Any, tuple[int, int], tuple[Warned, ...]]
# Backbone inputs, (height, width), and what is odd, of one image.


@dataclass(frozen=True, eq=False)
class Features:
    """What the backbone says of `N` images.

    `patch_tokens` is `[S, N, P, C]` float32, in memory or mapped from a temporary file, with T tiles
    `[T * S, N, P, C]`, tile by tile; `class_tokens` `[N, D]` float32, with tiles `[N, T * D]`; `shapes` the
    (height, width) of each frame. `oddities` are lines on images that are odd, and used all the same.
    """

    patch_tokens: Floats
    class_tokens: Floats
    shapes: tuple[tuple[int, int], ...]
    n_tiles: int = 1
    oddities: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.shapes)

    def tokens(self, index: int) -> Floats:
        """One image's `[S, P, C]`, with tiles `[T, S, P, C]`: as `Detector.step_tokens` takes it."""
        tokens = self.patch_tokens[:, index]
        return tokens if self.n_tiles == 1 else tokens.reshape(self.n_tiles, -1, *tokens.shape[1:])


@contextmanager
def extracted(
    samples: Sequence[Sample],
    backbone: Backbone,
    tiles: TilesConfig = ONE_TILE,
    *,
    batch_size: int = 8,
    workers: int = 4,
    max_bytes: int = 4 * 2**30,
    done: Step = lambda count: None,
) -> Iterator[Features]:
    """Run the backbone over the images; tokens beyond `max_bytes` lie in a temporary file.

    Args:
        samples: at least two.
        backbone: from `musc_online.backbones.load`.
        tiles: how a frame is cut.
        batch_size: backbone inputs a call, with tiles all those of an image at least.
        workers: threads that decode and resize ahead of the backbone, at most two batches ahead.
        max_bytes: tokens kept in memory.
        done: told after each batch.

    Raises:
        DataError: fewer than two images, or one that cannot be decoded or used; the message names it.
    """
    if len(samples) < 2:
        raise DataError(
            f"got {len(samples)} image, expected at least 2: an image is scored against the others"
        )
    n_tiles, n_stages = tiles.count, len(backbone.stages)
    shape = (n_tiles * n_stages, len(samples), backbone.n_patches, backbone.n_channels)
    with tempfile.TemporaryDirectory(prefix="musc-tokens-") as folder:
        tokens = _allocate(shape, max_bytes, Path(folder))
        classes: list[Floats] = []
        shapes: list[tuple[int, int]] = []
        oddities = Oddities()
        for prepared, sizes, warnings in _batches(samples, backbone, tiles, batch_size, workers):
            first, n_frames = len(shapes), len(sizes)
            for sample, odd in zip(samples[first : first + n_frames], warnings, strict=True):
                oddities.add(sample.frame_id, odd)
            patch, token = (found.cpu().numpy() for found in backbone.extract(prepared))
            # Frame by frame and tile by tile in the batch; tile by tile and stage by stage in the set.
            by_tile = patch.reshape(n_stages, n_frames, n_tiles, *patch.shape[2:]).transpose(2, 0, 1, 3, 4)
            tokens[:, first : first + n_frames] = by_tile.reshape(-1, n_frames, *patch.shape[2:])
            by_frame = token.reshape(n_frames, n_tiles, -1)
            classes.append(np.stack([join_class_tokens(of_tiles) for of_tiles in by_frame]))
            shapes.extend(sizes)
            done(n_frames)
        yield Features(tokens, np.concatenate(classes), tuple(shapes), n_tiles, tuple(oddities.lines()))


def _allocate(shape: tuple[int, ...], max_bytes: int, folder: Path) -> Floats:
    if int(np.prod(shape)) * 4 <= max_bytes:
        return np.empty(shape, np.float32)
    return np.lib.format.open_memmap(folder / "tokens.npy", mode="w+", dtype=np.float32, shape=shape)


def _batches(
    samples: Sequence[Sample], backbone: Backbone, tiles: TilesConfig, batch_size: int, workers: int
) -> Iterator[tuple[Any, list[tuple[int, int]], list[tuple[Warned, ...]]]]:
    import torch  # noqa: PLC0415  (seconds to import; `--help` needs none of it)

    def prepare(sample: Sample) -> _Prepared:
        decoded = read_image(sample.path, sample.bit_depth)
        frame = decoded.frame
        try:
            return inputs(backbone, frame, tiles), (frame.shape[0], frame.shape[1]), decoded.warnings
        except FrameError as error:
            raise DataError(f"{sample.path}: {error}") from None

    batch_size = max(1, batch_size // tiles.count)
    waiting: deque[Future[_Prepared]] = deque()
    todo = iter(samples)
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        waiting.extend(pool.submit(prepare, sample) for sample in islice(todo, 2 * batch_size))
        while waiting:
            ready = [waiting.popleft().result() for _ in range(min(batch_size, len(waiting)))]
            for sample in islice(todo, len(ready)):
                waiting.append(pool.submit(prepare, sample))
            prepared, sizes, warnings = zip(*ready, strict=True)
            yield torch.cat(prepared), list(sizes), list(warnings)

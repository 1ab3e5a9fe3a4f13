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

from bench.datasets import Sample, read_frame
from musc_online.backbones import Backbone
from musc_online.errors import DataError, FrameError

Floats = npt.NDArray[np.float32]
Step = Callable[[int], None]
"""Told how many more images are done."""


@dataclass(frozen=True, eq=False)
class Features:
    """What the backbone says of `N` images.

    `patch_tokens` is `[S, N, P, C]` float32, in memory or mapped from a temporary file; `class_tokens`
    `[N, D]` float32; `shapes` the (height, width) of each frame.
    """

    patch_tokens: Floats
    class_tokens: Floats
    shapes: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.shapes)


@contextmanager
def extracted(
    samples: Sequence[Sample],
    backbone: Backbone,
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
        batch_size: images a backbone call.
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
    shape = (len(backbone.stages), len(samples), backbone.n_patches, backbone.n_channels)
    with tempfile.TemporaryDirectory(prefix="musc-tokens-") as folder:
        tokens = _allocate(shape, max_bytes, Path(folder))
        classes: list[Floats] = []
        shapes: list[tuple[int, int]] = []
        for inputs, sizes in _batches(samples, backbone, batch_size, workers):
            first = len(shapes)
            patch, token = backbone.extract(inputs)
            tokens[:, first : first + len(sizes)] = patch.cpu().numpy()
            classes.append(token.cpu().numpy())
            shapes.extend(sizes)
            done(len(sizes))
        yield Features(tokens, np.concatenate(classes), tuple(shapes))


def _allocate(shape: tuple[int, ...], max_bytes: int, folder: Path) -> Floats:
    if int(np.prod(shape)) * 4 <= max_bytes:
        return np.empty(shape, np.float32)
    return np.lib.format.open_memmap(folder / "tokens.npy", mode="w+", dtype=np.float32, shape=shape)


def _batches(
    samples: Sequence[Sample], backbone: Backbone, batch_size: int, workers: int
) -> Iterator[tuple[Any, list[tuple[int, int]]]]:
    import torch  # noqa: PLC0415  (seconds to import; `--help` needs none of it)

    def prepare(sample: Sample) -> tuple[Any, tuple[int, int]]:
        frame = read_frame(sample.path)
        try:
            return backbone.prepare(frame), (frame.shape[0], frame.shape[1])
        except FrameError as error:
            raise DataError(f"{sample.path}: {error}") from None

    waiting: deque[Future[tuple[Any, tuple[int, int]]]] = deque()
    todo = iter(samples)
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        waiting.extend(pool.submit(prepare, sample) for sample in islice(todo, 2 * batch_size))
        while waiting:
            ready = [waiting.popleft().result() for _ in range(min(batch_size, len(waiting)))]
            for sample in islice(todo, len(ready)):
                waiting.append(pool.submit(prepare, sample))
            yield torch.stack([inputs for inputs, _ in ready]), [size for _, size in ready]

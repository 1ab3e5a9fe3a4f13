"""Prepared frames that wait for the backbone, and are extracted several at a time: by every engine."""

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

import torch

from musc_online import frames
from streamer.server.threads import FairLock


class Prepared(Protocol):
    """A frame with backbone inputs, as many as it has tiles."""

    n_tiles: int


Item = TypeVar("Item", bound=Prepared)
Extract = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


class Batches(Generic[Item]):
    """Bounded: `batch` inputs may wait, and a frame of more tiles waits alone.

    Args:
        batch: inputs that are extracted together, of whatever streams.
    """

    def __init__(self, batch: int) -> None:
        self._batch = batch
        self._prepared: queue.Queue[Item | None] = queue.Queue(batch)
        self._room = threading.Semaphore(batch)
        self._entering = FairLock()
        self._ended = False

    def put(self, item: Item) -> None:
        """Enter a frame; waits for room. From any thread, until `close`."""
        with self._entering:  # two frames of many tiles, each with half of the room, would wait for ever
            for _ in range(min(item.n_tiles, self._batch)):
                self._room.acquire()
            self._prepared.put(item)

    def take(self) -> list[Item]:
        """The next batch, in order: waits for a frame, never for a second one. Empty once closed and empty.

        For one thread.
        """
        items: list[Item] = []
        while not self._ended and sum(item.n_tiles for item in items) < self._batch:
            try:
                item = self._prepared.get(block=not items)
            except queue.Empty:
                break
            if item is None:
                self._ended = True
            else:
                self._room.release(min(item.n_tiles, self._batch))
                items.append(item)
        return items

    def close(self) -> None:
        """No frame comes behind those that are in."""
        self._prepared.put(None)


def extract(extract: Extract, inputs: Sequence[torch.Tensor]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Tokens of several frames: the same bytes as of each by itself.

    Args:
        extract: `[N, 3, S, S]` to patch tokens `[S, N, P, C]` and class tokens `[N, D]`.
        inputs: `[T, 3, S, S]` of each frame, one a tile.

    Returns:
        Of each its patch tokens, `[S, P, C]` or with tiles `[T, S, P, C]`, and its class token `[D]`.
    """
    patch_tokens, class_tokens = extract(torch.cat(list(inputs)))
    extracted, first = [], 0
    for one in inputs:
        of_frame = slice(first, first + len(one))
        by_tile = patch_tokens[:, of_frame].transpose(0, 1)
        # Copies: a view would keep the whole batch alive while one of its frames waits.
        own = (by_tile if len(one) > 1 else by_tile[0]).clone()
        extracted.append((own, frames.join_class_tokens(class_tokens[of_frame]).clone()))
        first += len(one)
    return extracted

"""Which items went out as one: what is sent again, after a restart too, is one request under one id."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from streamer.bridges.identity import sync_folder
from streamer.bridges.sink import Item, Undelivered

_FILE = "webhook.batch"


class Pending:
    """The numbers of the batch that is on its way, in a file beside the queue.

    Args:
        folder: of the queue.
        most: items in a batch; with 1 every item is its own, and nothing is kept.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self._path = folder / _FILE
        self._most = most
        self._first, self._last = _read(self._path)

    def choose(self, items: Sequence[Item]) -> Sequence[Item]:
        """Of what waits, what goes out now: what went out before, else as much as fits.

        Raises:
            Undelivered: the file cannot be written.
        """
        if self._most == 1:
            return items[:1]
        if items[0].number == self._first:
            return [item for item in items if item.number <= self._last]
        chosen = items[: self._most]
        self._keep(chosen[0].number, chosen[-1].number)
        return chosen

    def _keep(self, first: int, last: int) -> None:
        beside = self._path.with_suffix(".new")
        try:
            with beside.open("w", encoding="ascii") as file:
                json.dump([first, last], file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
            sync_folder(self._path.parent)
        except OSError as error:
            raise Undelivered(f"queue.path: {self._path}: cannot be written ({error.strerror})") from None
        self._first, self._last = first, last


def _read(path: Path) -> tuple[int, int]:
    """The numbers of the batch that was on its way; (-1, -1) where none was, or nobody can say."""
    try:
        first, last = json.loads(path.read_text(encoding="ascii")[:100])
    except (OSError, ValueError, TypeError):
        return -1, -1
    return (first, last) if isinstance(first, int) and isinstance(last, int) else (-1, -1)

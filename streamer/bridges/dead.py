"""Dead letters: what the receiver refused for good, listed and put back by hand."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from streamer.bridges import plain
from streamer.bridges.config import Loaded
from streamer.bridges.queue import Letter, Queue
from streamer.bridges.run import open_queue
from streamer.bridges.schema import FILE
from streamer.errors import StreamerError


def show(loaded: Loaded) -> None:
    """Print one JSON line a letter, oldest first: why and when it was refused, and the item without pictures.

    Raises:
        StreamerError: there is no queue, or it cannot be read.
    """
    with _opened(loaded) as queue:
        for letter in queue.letters():
            click.echo(json.dumps(_plain(letter)))


def redeliver(loaded: Loaded) -> None:
    """Put all letters back in their place, under their old numbers; a bridge that runs takes them at once.

    Raises:
        StreamerError: there is no queue, or it cannot be written.
    """
    with _opened(loaded) as queue:
        count = queue.redeliver()
    click.echo(f"{count} dead letters are in the queue again", err=True)


@contextmanager
def _opened(loaded: Loaded) -> Iterator[Queue]:
    path = loaded.common.queue.path
    if not (path / FILE).exists():
        raise StreamerError(
            f"queue.path: {path / FILE} is not there; has the bridge run with this configuration?"
        )
    queue = open_queue(loaded)
    try:
        yield queue
    except sqlite3.Error as error:
        raise StreamerError(f"queue.path: {path}: cannot be used ({' '.join(str(error).split())})") from None
    finally:
        queue.close()


def _plain(letter: Letter) -> dict[str, Any]:
    item = letter.item
    return {
        "number": item.number,
        "reason": letter.reason,
        "refused_ns": letter.refused_ns,
        "kind": item.kind,
        "topic": item.topic,
        "pub_seq": item.pub_seq,
        "stream": item.stream,
        "before": item.before,
        "header": plain.plain(item.header),
    }

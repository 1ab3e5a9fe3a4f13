"""Consume score messages: an iterator for programs, `python -m streamer.subscribe` for people and pipes."""

import json
import sys
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import zmq
from rich.console import Console

from streamer.auth import ClientKeys, client_keys
from streamer.columns import wrapped
from streamer.commands import Command, examples
from streamer.describe import describe
from streamer.errors import StreamerError, WireError
from streamer.sockets import SCORES, Context, Socket, connect
from streamer.wire.published import KINDS, Message, topic_of, unpack_message

SHOWN = ("score", "revision", "event", "dropped", "error")
"""Kinds that the command shows without `--kind`; of revisions, those that change a verdict."""


class Subscriber:
    """Score messages of one stream or all; a context manager and an iterator.

    Args:
        endpoint: the detector's `transport.scores`.
        stream: name of the stream, None for all.
        kinds: of `streamer.wire.published.KINDS`, None for all.
        keys: CURVE keys where the detector asks for them.
        timeout_s: iteration ends when nothing came for so long; None waits for ever.
        wait_s: how long the detector may take to answer the connection; None connects in the background.
        queue: messages kept for a reader that is slow; more are lost, and `pub_seq` shows a gap.

    Raises:
        StreamerError: nobody answers at the endpoint, or our key is refused.
    """

    def __init__(
        self,
        endpoint: str = SCORES,
        stream: str | None = None,
        *,
        kinds: Sequence[str] | None = None,
        keys: ClientKeys | None = None,
        timeout_s: float | None = None,
        wait_s: float | None = None,
        queue: int = 10_000,
    ) -> None:
        self._context = Context()
        self._kinds = frozenset(KINDS if kinds is None else kinds)
        timeout_ms = -1 if timeout_s is None else round(1000 * timeout_s)
        wait_ms = None if wait_s is None else round(1000 * wait_s)
        try:
            self._socket: Socket = connect(
                self._context, zmq.SUB, endpoint, keys=keys, hwm=queue, timeout_ms=timeout_ms, wait_ms=wait_ms
            )
        except BaseException:
            self._context.term()
            raise
        self._socket.subscribe(b"" if stream is None else topic_of(stream, "").encode())

    def __enter__(self) -> "Subscriber":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Message]:
        while (message := self.receive()) is not None:
            yield message

    def receive(self) -> Message | None:
        """Wait for the next message. One that cannot be read is passed over.

        Returns:
            The message, or None when `timeout_s` is over.
        """
        while True:
            try:
                message = unpack_message(self._socket.recv_multipart())
            except zmq.Again:
                return None
            except WireError:
                continue
            if message.kind in self._kinds:
                return message

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
        self._context.term()


def subscribe(endpoint: str = SCORES, stream: str | None = None, **options: Any) -> Iterator[Message]:
    """Messages as they come. The connection closes with the iterator.

    Args:
        endpoint: the detector's `transport.scores`.
        stream: name of the stream, None for all.
        options: the others of `Subscriber`.

    Yields:
        Each message, until `timeout_s` is over.

    Raises:
        StreamerError: nobody answers at the endpoint, or our key is refused.
    """
    with Subscriber(endpoint, stream, **options) as subscriber:
        yield from subscriber


class Verdicts:
    """The last label of each frame that was heard of, to tell which revisions change one.

    Args:
        limit: frames remembered; those not heard of for longest make room.
    """

    def __init__(self, limit: int = 50_000) -> None:
        self._limit = limit
        self._labels: OrderedDict[tuple[str, str], bool | None] = OrderedDict()

    def is_news(self, message: Message) -> bool:
        """Whether to show a message: any but a revision whose label is the last one heard for its frame.

        A revision of a frame not heard of before is no news: whoever comes late is not told of a whole ring.
        """
        if message.kind not in {"score", "revision"}:
            return True
        # Of whatever type: what came over the wire need not be hashable.
        frame = repr(message.get("stream")), repr(message.get("frame_id"))
        label = message.get("pred_label")
        changed = self._labels.pop(frame, label) != label
        self._labels[frame] = label
        if len(self._labels) > self._limit:
            self._labels.popitem(last=False)
        return changed or message.kind == "score"


@click.command(
    cls=Command,
    epilog=examples(
        "musc-online subscribe",
        "musc-online subscribe --stream line-1 --json >> line-1.jsonl",
        "musc-online subscribe --kind event --kind operator",
        "musc-online subscribe --endpoint tcp://detector:5556 --count 1 --timeout 60",
    ),
)
@click.option("--stream", default=None, help="Name of one stream.  [all]")
@click.option("--endpoint", default=SCORES, help="The detector's transport.scores.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS),
              help="Messages of this kind, all of them; repeatable.  [what matters]")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, without the maps.")
@click.option("--count", type=click.IntRange(min=1), default=None, help="Stop after so many messages.")
@click.option(
    "--timeout",
    "timeout_s",
    type=float,
    default=None,
    metavar="SECONDS",
    help="Stop after so many seconds without a message.",
)
@click.option("--key", type=click.Path(path_type=Path), default=None, help="This peer's .key_secret (CURVE).")
@click.option(
    "--server-key", type=click.Path(path_type=Path), default=None, help="The detector's server.key."
)
def main(
    stream: str | None,
    endpoint: str,
    kinds: tuple[str, ...],
    as_json: bool,
    count: int | None,
    timeout_s: float | None,
    key: Path | None,
    server_key: Path | None,
) -> None:
    """Print what a detector publishes, as it comes.

    What matters: scores, revisions that change a verdict, events, drops and errors; or the kinds asked for.
    On a terminal a score is a line as far as it fits: of a long one, the least is left out. Other long lines
    are broken between words. In a pipe a message is a line, with everything.

    Exit status: 0 done, 2 the detector does not answer.
    """
    console = Console(highlight=False, soft_wrap=True)
    verdicts = None if kinds else Verdicts()
    shown = 0
    try:
        keys = client_keys(key, server_key)
        with Subscriber(endpoint, stream, kinds=kinds or SHOWN, keys=keys, timeout_s=timeout_s) as subscriber:
            for message in subscriber:
                if verdicts is not None and not verdicts.is_news(message):
                    continue
                if as_json:
                    click.echo(json.dumps(message))
                else:
                    # In a pipe a message is a line; on a terminal no number may be cut at its edge.
                    line = describe(message, console.width if console.is_terminal else None)
                    console.print(wrapped(line, console.width) if console.is_terminal else line)
                shown += 1
                if shown == count:
                    break
    except StreamerError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()

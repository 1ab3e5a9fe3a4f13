"""Consume score messages: an iterator for programs, `python -m streamer.subscribe` for people and pipes."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import zmq
from rich.console import Console

from streamer.auth import ClientKeys, client_keys
from streamer.errors import StreamerError, WireError
from streamer.sockets import SCORES, Context, Socket, connect
from streamer.wire.published import KINDS, Message, topic_of, unpack_message


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
        """The next message; None when `timeout_s` is over. A message that cannot be read is passed over."""
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
    """Messages as they come; options as for `Subscriber`. The connection closes with the iterator."""
    with Subscriber(endpoint, stream, **options) as subscriber:
        yield from subscriber


@click.command()
@click.option("--stream", default=None, help="Name of one stream; without it, all.")
@click.option("--endpoint", default=SCORES, show_default=True, help="The detector's transport.scores.")
@click.option(
    "--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="Only these kinds; repeatable."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, without the maps.")
@click.option("--count", type=click.IntRange(min=1), default=None, help="Stop after so many messages.")
@click.option("--timeout", "timeout_s", type=float, default=None, help="Stop after so many silent seconds.")
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
    """Print the messages a detector publishes, as they come."""
    console = Console(highlight=False, soft_wrap=True)
    shown = 0
    try:
        keys = client_keys(key, server_key)
        with Subscriber(endpoint, stream, kinds=kinds or None, keys=keys, timeout_s=timeout_s) as subscriber:
            for message in subscriber:
                if as_json:
                    click.echo(json.dumps(message))
                else:
                    console.print(describe(message))
                shown += 1
                if shown == count:
                    break
    except StreamerError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        pass


def describe(message: Message) -> str:
    """A message as one line for a person, with rich's markup."""
    start = f"[dim]{message.topic}[/dim] "
    if message.kind in {"score", "revision"}:
        verdict = {None: "-", True: "[bold red]ANOMALOUS[/bold red]", False: "[green]normal[/green]"}
        numbers = "  ".join(
            f"{name} {message.get(key):.4f}"
            for name, key in (("raw", "raw_score"), ("rscin", "rscin_score"), ("pred", "pred_score"))
            if message.get(key) is not None
        )
        state = f"{message.get('state')}, {message.get('n_references')} references"
        label = verdict[message.get("pred_label")]
        return f"{start}{_plain(message.get('frame_id'))}  {label}  {numbers}  ({state})"
    if message.kind == "dropped":
        return f"{start}{_plain(message.get('frame_id'))}  [yellow]dropped[/yellow]: {message.get('reason')}"
    if message.kind == "error":
        code, text = message.get("code"), _plain(message.get("text"))
        return f"{start}{_plain(message.get('frame_id'))}  [red]{code}[/red]: {text}"
    counts = "  ".join(f"{key} {message[key]}" for key in ("received", "scored", "queued") if key in message)
    return f"{start}{message.get('state')}  {counts}"


def _plain(value: object) -> str:
    return str(value).replace("[", "\\[")


if __name__ == "__main__":
    main()

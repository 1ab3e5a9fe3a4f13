"""`python -m streamer.operate`: tell a running detector something, as a person at the line does."""

import sys
from pathlib import Path
from typing import Any

import click

from streamer.ask import ask
from streamer.auth import ClientKeys, client_keys
from streamer.errors import StreamerError, WireError
from streamer.sockets import CONTROL

OF_A_FRAME = ("pin", "unpin", "forget", "false_alarm")
OF_A_STREAM = ("flush", "reset")
OF_ALL = ("snapshot", "shutdown")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("kind", type=click.Choice([*OF_A_FRAME, *OF_A_STREAM, *OF_ALL]))
@click.option("--stream", default=None, help="Name of the stream; flush and reset without it mean all.")
@click.option("--frame-id", default=None, help="Of a frame in the ring, as its score message says it.")
@click.option("--endpoint", default=CONTROL, show_default=True, help="The detector's transport.control.")
@click.option(
    "--timeout", "timeout_s", default=60.0, show_default=True, help="Seconds to wait for an answer."
)
@click.option("--key", type=click.Path(path_type=Path), default=None, help="This peer's .key_secret (CURVE).")
@click.option(
    "--server-key", type=click.Path(path_type=Path), default=None, help="The detector's server.key."
)
def main(
    kind: str,
    stream: str | None,
    frame_id: str | None,
    endpoint: str,
    timeout_s: float,
    key: Path | None,
    server_key: Path | None,
) -> None:
    """Tell a detector something about a frame, a stream, or itself.

    \b
    pin          the frame is known good: never evicted, never called anomalous
    unpin        it may be evicted in its turn again
    forget       a defect that got into the ring: out of it, nothing is compared with it any more
    false_alarm  the frame was good: never called anomalous again
    flush        make every score in the ring final
    reset        empty the ring
    snapshot     write the rings to disk now
    shutdown     score what was accepted, then end

    Exit status: 0 done, 2 not.
    """
    try:
        keys = client_keys(key, server_key)
        answer = operate(kind, stream, frame_id, endpoint, keys, timeout_s)
    except StreamerError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    facts = {name: value for name, value in answer.items() if name not in {"v", "ok", "kind"}}
    click.echo(f"{kind}: done" + "".join(f", {name} {value}" for name, value in facts.items()))


def operate(
    kind: str,
    stream: str | None,
    frame_id: str | None,
    endpoint: str,
    keys: ClientKeys | None,
    timeout_s: float,
) -> dict[str, Any]:
    """One request; the detector's answer.

    Args:
        kind: one of `OF_A_FRAME`, `OF_A_STREAM`, `OF_ALL`.
        frame_id: as text; where no frame has it, the number it spells is tried.

    Raises:
        StreamerError: no answer, or something is missing.
        WireError: the detector cannot do it.
    """
    request: dict[str, Any] = {"kind": kind}
    if kind in OF_A_FRAME and (stream is None or frame_id is None):
        raise StreamerError(f"{kind}: needs --stream and --frame-id")
    if stream is not None:
        request["stream"] = stream
    if frame_id is not None:
        request["frame_id"] = frame_id
    try:
        return ask(request, endpoint, keys=keys, timeout_s=timeout_s)
    except WireError as error:
        number = _number(frame_id)
        if error.code != "unknown_frame" or number is None:
            raise
        return ask({**request, "frame_id": number}, endpoint, keys=keys, timeout_s=timeout_s)


def _number(text: str | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


if __name__ == "__main__":
    main()

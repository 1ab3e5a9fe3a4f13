"""`python -m streamer.operate`: tell a running detector something, as a person at the line does."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from streamer.ask import ask
from streamer.auth import ClientKeys, client_keys
from streamer.commands import Command, examples
from streamer.errors import StreamerError, WireError
from streamer.printable import printable
from streamer.sockets import CONTROL
from streamer.wire.requests import OF_A_FRAME, OF_A_GROUP

OF_A_STREAM = ("flush", "reset")
OF_ALL = ("snapshot", "shutdown")
OF_A_CLUSTER = ("move", "drain")

_NEEDS = {
    **dict.fromkeys(OF_A_FRAME, ("stream", "frame_id")),
    "confirm": ("stream", "frame_id", "verdict"),
    "threshold": ("stream",),
    "accept": ("stream", "group"),
    "reject": ("stream", "group", "name"),
    "move": ("stream",),
    "drain": ("node",),
}
_SHOWN = 8
"""Ids in a line; the answer has more of them."""


@click.command(
    cls=Command,
    epilog=examples(
        "musc-online operate confirm --stream line --frame-id 17 --verdict defect",
        "musc-online operate threshold --stream line --false-alarms 0.005 --preview",
        "musc-online operate accept --stream line --group 3",
        'musc-online operate reject --stream line --group 4 --name "worn tool"',
    ),
)
@click.argument(
    "kind",
    metavar="KIND",
    type=click.Choice([*OF_A_FRAME, "threshold", *OF_A_GROUP, *OF_A_STREAM, *OF_ALL, *OF_A_CLUSTER]),
)
@click.option("--stream", default=None, help="Name of the stream; flush and reset without it mean all.")
@click.option("--frame-id", default=None, help="Of a frame in the ring, as its score message says it.")
@click.option(
    "--verdict", type=click.Choice(["good", "defect"]), default=None, help="What a frame is: confirm."
)
@click.option("--group", type=int, default=None, help="Of an event message: accept, reject.")
@click.option("--name", default=None, help="Of the defect: reject, and confirm if you like.")
@click.option("--rule", default=None, help="Of the threshold: auto, mad, quantile or fixed.")
@click.option("--value", type=float, default=None, help="Raw score that the rule fixed takes.")
@click.option("--false-alarms", type=float, default=None, help="Share of good frames, of the rule auto.")
@click.option("--preview", is_flag=True, help="Say what the threshold would change, and change nothing.")
@click.option("--node", default=None, help="Of a Ray cluster, by its id in status: move, drain.")
@click.option("--who", default=None, help="Who says it, told to everybody with the word.")
@click.option("--endpoint", default=CONTROL, help="The detector's transport.control.")
@click.option("--timeout", "timeout_s", default=60.0, help="Seconds to wait for an answer.")
@click.option("--key", type=click.Path(path_type=Path), default=None, help="This peer's .key_secret (CURVE).")
@click.option(
    "--server-key", type=click.Path(path_type=Path), default=None, help="The detector's server.key."
)
def main(
    kind: str, endpoint: str, timeout_s: float, key: Path | None, server_key: Path | None, **said: Any
) -> None:
    """Tell a detector what you know of a frame, or what to do.

    KIND is one of

    \b
    pin          the frame is known good: never evicted, never called anomalous
    unpin        it may be evicted in its turn again
    forget       a defect that got into the ring: nothing is compared with it
    false_alarm  the frame was good: never called anomalous again
    confirm      what the frame is, good or defect: it calibrates the threshold
    threshold    decide by another rule, value or share of false alarms
    accept       the frames of an event are good: a changeover's only references
    reject       the frames of an event show a defect: it is told by its name
    flush        make every score in the ring final
    reset        empty the ring
    snapshot     write the rings to disk now
    shutdown     score what was accepted, then end
    move         to another node of the Ray cluster, or to --node
    drain        everything leaves a node of the Ray cluster, which may go then

    Exit status: 0 done, 2 not.
    """
    answer = operate(_request(kind, said), endpoint, client_keys(key, server_key), timeout_s)
    for line in _read(kind, answer):
        click.echo(printable(line))


def operate(
    request: Mapping[str, Any], endpoint: str, keys: ClientKeys | None, timeout_s: float
) -> dict[str, Any]:
    """One request; the detector's answer.

    Args:
        request: of docs/wire.md#control. Where no frame has its `frame_id`, the number it spells is tried.
        endpoint: of the detector's control socket.
        keys: CURVE keys where the detector asks for them.
        timeout_s: seconds to wait for an answer.

    Raises:
        StreamerError: no answer.
        WireError: the detector cannot do it.
    """
    try:
        return ask(request, endpoint, keys=keys, timeout_s=timeout_s)
    except WireError as error:
        number = _number(request.get("frame_id"))
        if error.code != "unknown_frame" or number is None:
            raise
        return ask({**request, "frame_id": number}, endpoint, keys=keys, timeout_s=timeout_s)


def _request(kind: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """What was said, without what was left out; the detector checks it."""
    needed = _NEEDS.get(kind, ())
    if any(said[key] is None for key in needed):
        options = [f"--{key.replace('_', '-')}" for key in needed]
        listed = " and ".join([", ".join(options[:-1])] * bool(options[:-1]) + options[-1:])
        raise StreamerError(f"{kind}: needs {listed}")
    for key in ("value", "false_alarms"):
        if said[key] is not None and not math.isfinite(said[key]):  # it would go out as null
            raise StreamerError(f"{key}: got {said[key]}, expected a finite number")
    return {
        "kind": kind,
        **{key: value for key, value in said.items() if value is not None and value is not False},
    }


def _read(kind: str, answer: Mapping[str, Any]) -> list[str]:
    """An answer as lines for a person."""
    if kind == "threshold":
        return _read_threshold(answer)
    facts = {name: value for name, value in answer.items() if name not in {"v", "ok", "kind", "frame_ids"}}
    return [f"{kind}: done" + "".join(f", {name} {value}" for name, value in facts.items())]


def _read_threshold(answer: Mapping[str, Any]) -> list[str]:
    before, after = answer["before"], answer["after"]
    old, new = (
        f"{'none yet' if side['threshold'] is None else format(side['threshold'], '.4f')} ({side['rule']})"
        for side in (before, after)
    )
    preview = answer["preview"]
    return [
        f"threshold: {'would be' if preview else 'is'} {new}, {'is' if preview else 'was'} {old}",
        _flips("anomalous", answer["n_to_anomalous"], answer["to_anomalous"]),
        _flips("normal", answer["n_to_normal"], answer["to_normal"]),
        f"confirmed frames labelled wrongly: {after['n_wrong']}, before {before['n_wrong']}"
        + _ids(after["n_wrong"], after["wrong"]),
    ]


def _flips(label: str, count: int, frame_ids: list[Any]) -> str:
    return f"frames in the ring that become {label}: {count}{_ids(count, frame_ids)}"


def _ids(count: int, frame_ids: list[Any]) -> str:
    """The newest few of `count` ids."""
    if not frame_ids:
        return ""
    shown = frame_ids[-_SHOWN:]
    return f" ({'..., ' if count > len(shown) else ''}{', '.join(map(str, shown))})"


def _number(text: Any) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


if __name__ == "__main__":
    main()

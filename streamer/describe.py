"""A published message as one line for a person, with rich's markup; what came over the wire adds none."""

from collections.abc import Callable, Mapping
from typing import Any

from streamer.wire.published import Message

_VERDICTS = {None: "-", True: "[bold red]ANOMALOUS[/bold red]", False: "[green]normal[/green]"}


def describe(message: Message) -> str:
    """A message as one line for a person, with rich's markup; of a kind unknown here, its topic and kind."""
    line = _LINES.get(message.kind)
    told = _plain(message.kind) if line is None else line(message)
    return f"[dim]{_plain(message.topic)}[/dim] {told}"


def _score(score: Message) -> str:
    numbers = "  ".join(
        f"{name} {score.get(key):.4f}"
        for name, key in (("raw", "raw_score"), ("rscin", "rscin_score"), ("pred", "pred_score"))
        if score.get(key) is not None
    )
    state = f"{_of(score, 'state')}, {_of(score, 'n_references')} references"
    known = score.get("known_defect")
    known_as = "" if known is None else f"  [magenta]known defect: {_plain(known)}[/magenta]"
    return f"{_of(score, 'frame_id')}  {_VERDICTS[score.get('pred_label')]}{known_as}  {numbers}  ({state})"


def _event(event: Message) -> str:
    name = "" if event.get("name") is None else f" '{_of(event, 'name')}'"
    group = "" if event.get("group") is None else f" (group {_of(event, 'group')})"
    since = "" if event.get("since") is None else f" since {_of(event, 'since')}"
    newest = _newest(event.get("frame_ids"))
    frames = f"{_of(event, 'n_frames')} frame{'' if event.get('n_frames') == 1 else 's'}{since}{newest}"
    what = f"[bold magenta]{_of(event, 'event')}[/bold magenta]"
    return f"{what}{name}{group}: {frames}{_worst(event.get('regions'))}"


def _newest(frame_ids: Any) -> str:
    return f", the last {_plain(frame_ids[-1])}" if isinstance(frame_ids, list) and frame_ids else ""


def _worst(regions: Any) -> str:
    """The first region, `[x, y, width, height, score]` in pixels."""
    if not isinstance(regions, list) or not regions:
        return ""
    worst = regions[0]
    if not isinstance(worst, list) or len(worst) < 4:
        return ""
    x, y, width, height = (_plain(value) for value in worst[:4])
    more = f" and {len(regions) - 1} more" if len(regions) > 1 else ""
    return f"  at {x},{y} {width}x{height}{more}"


def _operator(word: Message) -> str:
    who = "" if word.get("who") is None else f" by {_of(word, 'who')}"
    of_group = "" if word.get("group") is None else f" group {_of(word, 'group')}"
    about = of_group if word.get("frame_id") is None else f" {_of(word, 'frame_id')}"
    change = _change(word.get("before"), word.get("after"))
    return f"[bold cyan]{_of(word, 'what')}[/bold cyan]{about}{who}{change}"


def _change(before: Any, after: Any) -> str:
    """What a word changed, value by value; nothing where both are alike."""
    if isinstance(before, dict) and isinstance(after, dict):
        changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
        told = [f"{_plain(key)} {_value(before.get(key))} to {_value(after.get(key))}" for key in changed]
        return f": {', '.join(told)}" if told else ""
    if isinstance(before, dict):  # gone: out of the ring, or a group that was accepted
        return f": was {', '.join(f'{_plain(key)} {_value(value)}' for key, value in before.items())}"
    return "" if before is None and after is None else f": {_value(before)} to {_value(after)}"


def _dropped(dropped: Message) -> str:
    return f"{_of(dropped, 'frame_id')}  [yellow]dropped[/yellow]: {_of(dropped, 'reason')}"


def _error(error: Message) -> str:
    return f"{_of(error, 'frame_id')}  [red]{_of(error, 'code')}[/red]: {_of(error, 'text')}"


def _status(status: Message) -> str:
    shown = (key for key in ("received", "scored", "anomalous", "queued") if key in status)
    return f"{_of(status, 'state')}  " + "  ".join(f"{key} {_of(status, key)}" for key in shown)


def _value(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:.4f}" if isinstance(value, float) else _plain(value)


def _of(message: Message, key: str) -> str:
    return _plain(message.get(key))


def _plain(value: object) -> str:
    return str(value).replace("[", "\\[")


_LINES: Mapping[str, Callable[[Message], str]] = {
    "score": _score,
    "revision": _score,
    "event": _event,
    "operator": _operator,
    "dropped": _dropped,
    "error": _error,
    "status": _status,
}

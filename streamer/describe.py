"""A published message as one line for a person; what came over the wire can neither colour nor forge one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from streamer.printable import printable
from streamer.wire.published import Message

_VERDICTS = {None: Text("-"), True: Text("ANOMALOUS", "bold red"), False: Text("normal", "green")}
_UNKNOWN = Text("?")


def describe(message: Message, width: int | None = None) -> Text:
    """A message as one line for a person, for rich; of a kind unknown here, its topic and kind.

    Args:
        message: as it came.
        width: of the terminal, in columns. Of a score that is longer, what matters least is left out; what is
            longer even so, and any other message, is returned whole. None is as much as there is.
    """
    topic = printable(message.topic)
    line = _LINES.get(message.kind)
    told = Text(printable(message.kind)) if line is None else line(message)
    if width is not None and line is _score:
        room = width - cell_len(topic) - 1
        forms = (_score(message, _LEAST[:left_out]) for left_out in range(len(_LEAST)))
        told = next((form for form in forms if form.cell_len <= room), _score(message, _LEAST))
    return Text.assemble((topic, "dim"), " ", told)


_LEAST = ("n_references", "pred_score", "state", "rscin_score")
"""Of a score, what can be left out, the least first: `subscribe --json` has it."""


def _score(score: Message, without: Sequence[str] = ()) -> Text:
    numbers = "".join(
        f"  {name} {_number(score.get(key))}"
        for name, key in (("raw", "raw_score"), ("rscin", "rscin_score"), ("pred", "pred_score"))
        if score.get(key) is not None and key not in without
    )
    label, known = score.get("pred_label"), score.get("known_defect")
    known_as = Text("" if known is None else f"  known defect: {printable(known)}", "magenta")
    many = "reference" if score.get("n_references") == 1 else "references"
    standing = [_of(score, "state")] * ("state" not in without)
    standing += [f"{_of(score, 'n_references')} {many}"] * ("n_references" not in without)
    return Text.assemble(
        f"{_of(score, 'frame_id')}  ",
        _VERDICTS[label] if label is None or isinstance(label, bool) else _UNKNOWN,
        known_as,
        numbers,
        f"  ({', '.join(standing)})" if standing else "",
    )


def _picture(picture: Message) -> Text:
    size, shape = (_sides(picture.get(key)) for key in ("size", "shape"))
    n_bytes = 0 if picture.payload is None else len(picture.payload)
    return Text(f"{_of(picture, 'frame_id')}  picture {size} of {shape}, {n_bytes} bytes")


def _sides(sides: Any) -> str:
    """`[height, width]` as people say it."""
    if not isinstance(sides, list) or len(sides) != 2:
        return printable(sides)
    return f"{printable(sides[1])}x{printable(sides[0])}"


def _event(event: Message) -> Text:
    name = "" if event.get("name") is None else f" '{_of(event, 'name')}'"
    group = "" if event.get("group") is None else f" (group {_of(event, 'group')})"
    since = "" if event.get("since") is None else f" since {_of(event, 'since')}"
    newest = _newest(event.get("frame_ids"))
    frames = f"{_of(event, 'n_frames')} frame{'' if event.get('n_frames') == 1 else 's'}{since}{newest}"
    what = (_of(event, "event"), "bold magenta")
    return Text.assemble(what, f"{name}{group}: {frames}{_worst(event.get('regions'))}")


def _newest(frame_ids: Any) -> str:
    return f", the last {printable(frame_ids[-1])}" if isinstance(frame_ids, list) and frame_ids else ""


def _worst(regions: Any) -> str:
    """The first region, `[x, y, width, height, score]` in pixels."""
    if not isinstance(regions, list) or not regions:
        return ""
    worst = regions[0]
    if not isinstance(worst, list) or len(worst) < 4:
        return ""
    x, y, width, height = (printable(value) for value in worst[:4])
    more = f" and {len(regions) - 1} more" if len(regions) > 1 else ""
    return f"  at {x},{y} {width}x{height}{more}"


def _operator(word: Message) -> Text:
    who = "" if word.get("who") is None else f" by {_of(word, 'who')}"
    of_group = "" if word.get("group") is None else f" group {_of(word, 'group')}"
    about = of_group if word.get("frame_id") is None else f" {_of(word, 'frame_id')}"
    change = _change(word.get("before"), word.get("after"))
    return Text.assemble((_of(word, "what"), "bold cyan"), f"{about}{who}{change}")


def _change(before: Any, after: Any) -> str:
    """What a word changed, value by value; nothing where both are alike."""
    if isinstance(before, dict) and isinstance(after, dict):
        changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
        told = [f"{printable(key)} {_value(before.get(key))} to {_value(after.get(key))}" for key in changed]
        return f": {', '.join(told)}" if told else ""
    if isinstance(before, dict):  # gone: out of the ring, or a group that was accepted
        return f": was {', '.join(f'{printable(key)} {_value(value)}' for key, value in before.items())}"
    return "" if before is None and after is None else f": {_value(before)} to {_value(after)}"


def _dropped(dropped: Message) -> Text:
    return Text.assemble(
        f"{_of(dropped, 'frame_id')}  ", ("dropped", "yellow"), f": {_of(dropped, 'reason')}"
    )


def _error(error: Message) -> Text:
    return Text.assemble(
        f"{_of(error, 'frame_id')}  ", (_of(error, "code"), "red"), f": {_of(error, 'text')}"
    )


def _status(status: Message) -> Text:
    shown = (key for key in ("received", "scored", "anomalous", "queued") if key in status)
    return Text(f"{_of(status, 'state')}  " + "  ".join(f"{key} {_of(status, key)}" for key in shown))


def _source(source: Message) -> Text:
    why = f": {_of(source, 'text')}" if source.get("text") else ""
    return Text.assemble("camera ", (_of(source, "state"), "bold"), f"  {_of(source, 'source')}{why}")


def _value(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:.4f}" if isinstance(value, float) else printable(value)


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else printable(value)


def _of(message: Message, key: str) -> str:
    return printable(message.get(key))


_LINES: Mapping[str, Callable[[Message], Text]] = {
    "score": _score,
    "revision": _score,
    "event": _event,
    "operator": _operator,
    "dropped": _dropped,
    "error": _error,
    "status": _status,
    "picture": _picture,
    "source": _source,
}

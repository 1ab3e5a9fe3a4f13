"""What an operator may say in a request (docs/wire.md#control), every value checked before it is done."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from streamer.errors import FrameId, WireError
from streamer.wire.checks import check_frame_id, shown

OF_A_FRAME = ("pin", "unpin", "forget", "false_alarm", "confirm")
OF_A_GROUP = ("accept", "reject")
WORDS = (*OF_A_FRAME, "threshold", *OF_A_GROUP)
"""Every kind of request that is an operator's word."""

_MAX_TEXT = 200
_COMMON = frozenset({"v", "kind", "stream", "who"})
_KEYS = {
    "confirm": frozenset({"frame_id", "verdict", "name"}),
    "threshold": frozenset({"rule", "value", "false_alarms", "preview"}),
    "accept": frozenset({"group"}),
    "reject": frozenset({"group", "name"}),
}
# Of the others any key has always been passed over, and old clients may send some.


@dataclass(frozen=True)
class Word:
    """An operator's word; what its kind does not have is None. `preview`: only what it would do is asked."""

    what: str
    who: str | None = None
    frame_id: FrameId | None = None
    group: int | None = None
    verdict: Literal["good", "defect"] | None = None
    name: str | None = None
    rule: str | None = None
    value: float | None = None
    false_alarms: float | None = None
    preview: bool = False


def check_word(what: str, request: Mapping[str, Any]) -> Word:
    """The word that a request is, but for its stream.

    Args:
        what: one of `WORDS`.
        request: as it came.

    Raises:
        WireError: `bad_value`, or `unknown_key` in a request that would be understood without it.
    """
    known = _KEYS.get(what)
    unknown = [] if known is None else sorted(map(str, request.keys() - known - _COMMON))
    if unknown:
        expected = ", ".join(sorted((known or frozenset()) | {"stream", "who"}))
        raise WireError("unknown_key", f"{what}: got the key {shown(unknown[0])}, expected of {expected}")
    if request.get("stream") is None or (what in OF_A_FRAME and "frame_id" not in request):
        more = ", frame_id: of a frame in the ring" if what in OF_A_FRAME else ""
        raise WireError("bad_value", f"{what}: expected {{stream: name{more}}}")
    who = _optional(_text, request, "who")
    if what == "threshold":
        return _threshold(who, request)
    if what in OF_A_GROUP:
        name = _text(request.get("name"), "name") if what == "reject" else None
        return Word(what, who, group=_group(request.get("group")), name=name)
    frame_id = check_frame_id(request["frame_id"])
    if what != "confirm":
        return Word(what, who, frame_id=frame_id)
    verdict, name = _verdict(request.get("verdict")), _optional(_text, request, "name")
    return Word(what, who, frame_id=frame_id, verdict=verdict, name=name)


def _threshold(who: str | None, request: Mapping[str, Any]) -> Word:
    rule = _optional(_text, request, "rule")
    value, false_alarms = (_optional(_number, request, key) for key in ("value", "false_alarms"))
    preview = request.get("preview", False)
    if not isinstance(preview, bool):
        raise WireError("bad_value", f"preview: got {shown(preview)}, expected true or false")
    # What would be passed over was meant to do something.
    for key, given, of_rule in (("value", value, "fixed"), ("false_alarms", false_alarms, "auto")):
        if given is not None and rule not in {None, of_rule}:
            raise WireError(
                "bad_value",
                f"{key}: got {given:g} with rule {shown(rule)}, expected rule '{of_rule}' or none",
            )
    if value is not None and false_alarms is not None:
        raise WireError(
            "bad_value",
            f"false_alarms: got {false_alarms:g} beside value {value:g}, expected only one of the two",
        )
    if rule is None and value is None and false_alarms is None and not preview:
        raise WireError("bad_value", "threshold: expected at least one of rule, value, false_alarms")
    return Word("threshold", who, rule=rule, value=value, false_alarms=false_alarms, preview=preview)


def _optional(check: Any, request: Mapping[str, Any], key: str) -> Any:
    """The value of a key, checked, or None where it is missing or null."""
    value = request.get(key)
    return None if value is None else check(value, key)


def _text(value: object, key: str) -> str:
    if isinstance(value, str) and 0 < len(value) <= _MAX_TEXT and value.isprintable():
        return value
    raise WireError("bad_value", f"{key}: got {shown(value)}, expected 1 to {_MAX_TEXT} printable characters")


def _number(value: object, key: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise WireError("bad_value", f"{key}: got {shown(value)}, expected a finite number")


def _group(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise WireError("bad_value", f"group: got {shown(value)}, expected a number, as an event says it")


def _verdict(value: object) -> Literal["good", "defect"]:
    if value == "good":
        return "good"
    if value == "defect":
        return "defect"
    raise WireError("bad_value", f"verdict: got {shown(value)}, expected 'good' or 'defect'")

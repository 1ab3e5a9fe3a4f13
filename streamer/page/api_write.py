"""What changes something: words to the detector, reviews, acknowledgements. Roles decide who may."""

from typing import Any, Literal

import structlog
from fastapi import APIRouter, HTTPException, Request
from starlette.concurrency import run_in_threadpool

from streamer.errors import StreamerError
from streamer.page.bodies import Body, Key, Name, Note, Number, StreamName, Text, without_none
from streamer.page.detector import Refused
from streamer.page.identity import frame_id_of, key_of
from streamer.page.login import Operator, Session
from streamer.page.parts import Parts, parts_of
from streamer.wire.requests import OF_A_FRAME, OF_A_GROUP

router = APIRouter(prefix="/api")
log = structlog.get_logger()

Kind = Literal[
    "pin",
    "unpin",
    "forget",
    "false_alarm",
    "confirm",
    "accept",
    "reject",
    "flush",
    "reset",
    "snapshot",
    "shutdown",
]
_OPERATORS = frozenset(OF_A_FRAME) | frozenset(OF_A_GROUP)


class _Operate(Body):
    kind: Kind
    stream: StreamName | None = None
    key: Key | None = None
    group: Number | None = None
    name: Text | None = None
    verdict: Literal["good", "defect"] | None = None
    who: Name | None = None
    note: Note | None = None


class _Threshold(Body):
    stream: StreamName
    rule: Literal["auto", "mad", "quantile", "fixed"] | None = None
    value: float | None = None
    false_alarms: float | None = None
    preview: bool
    who: Name | None = None
    why: Note | None = None


class _Review(Body):
    stream: StreamName
    key: Key
    decision: Literal["defect", "good", "unsure"]
    kind: Text | None = None
    note: Note | None = None
    who: Name | None = None
    confirm: bool = False


class _Ack(Body):
    id: Number
    who: Name | None = None


@router.post("/operate")
async def operate(request: Request, session: Operator, body: _Operate) -> dict[str, Any]:
    """Tell the detector something of a frame, a group, a stream or itself; its answer."""
    if body.kind not in _OPERATORS:
        _needs_admin(session, body.kind)
    parts, who = parts_of(request), session.who(body.who)
    asked = without_none(
        kind=body.kind,
        stream=body.stream,
        frame_id=None if body.key is None else frame_id_of(body.key),
        group=body.group,
        name=body.name,
        verdict=body.verdict,
    )
    # Only what is published as an operator's word has a place for who says it.
    answer = await parts.control.ask({**asked, "who": who} if body.kind in _OPERATORS else asked)
    if body.note or body.kind not in _OPERATORS:
        await _note(parts, body.stream, body.key, who, body.kind, body.note)
    return answer


@router.post("/threshold")
async def threshold(request: Request, session: Operator, body: _Threshold) -> dict[str, Any]:
    """What a threshold would change, or change it; the answer has the keys of the frames that flip."""
    if not body.preview:
        _needs_admin(session, "threshold")
    parts, who = parts_of(request), session.who(body.who)
    answer = await parts.control.ask(
        without_none(
            kind="threshold",
            stream=body.stream,
            rule=body.rule,
            value=body.value,
            false_alarms=body.false_alarms,
            preview=body.preview,
            who=who,
        )
    )
    if body.why and not body.preview:
        before, after = (answer.get(side, {}).get("threshold") for side in ("before", "after"))
        await _note(parts, body.stream, None, who, "threshold", body.why, before, after)
    keys = {
        f"keys_{side}": [key_of(one) for one in answer.get(side, [])]
        for side in ("to_anomalous", "to_normal")
    }
    return {**answer, **keys}


@router.post("/review")
async def review(request: Request, session: Operator, body: _Review) -> dict[str, Any]:
    """What a person found a frame to be; with `confirm` the detector is told, too."""
    parts, who = parts_of(request), session.who(body.who)
    if body.confirm and body.decision == "unsure":
        raise HTTPException(
            422, {"error": "confirm: expected a decision of good or defect", "code": "bad_value"}
        )
    found = await run_in_threadpool(
        parts.store.review, body.stream, body.key, body.decision, who, body.kind, body.note
    )
    parts.hub.tell([found], parts.store.cursor)
    answer: dict[str, Any] = {"ok": True, "review": found.header.get("review")}
    if body.confirm:
        answer["confirm"] = await _confirm(parts, body, who)
    return answer


async def _confirm(parts: Parts, body: _Review, who: str) -> dict[str, Any]:
    """The detector's answer; that it will not, or is not there, does not undo the review."""
    name = body.kind if body.decision == "defect" else None
    asked = without_none(
        kind="confirm",
        stream=body.stream,
        frame_id=frame_id_of(body.key),
        verdict=body.decision,
        name=name,
        who=who,
    )
    try:
        return await parts.control.ask(asked)
    except Refused as error:
        return {"ok": False, "code": error.code, "error": str(error)}


@router.post("/ack")
def acknowledge(request: Request, session: Operator, body: _Ack) -> dict[str, Any]:
    """Acknowledge an alarm."""
    parts = parts_of(request)
    found = parts.store.acknowledge(body.id, session.who(body.who))
    parts.hub.tell([found], parts.store.cursor)
    return {"ok": True, "alarm": found.header.get("alarm")}


def _needs_admin(session: Session, what: str) -> None:
    if not session.holder.may("admin"):
        raise HTTPException(
            403, {"error": f"{session.login} is a {session.role}; {what} takes an admin", "code": "forbidden"}
        )


async def _note(
    parts: Parts,
    stream: str | None,
    key: str | None,
    who: str,
    what: str,
    note: str | None,
    before: Any = None,
    after: Any = None,
) -> None:
    """A line of the page's own, told to all who look; that the disk does not take it undoes nothing."""
    try:
        told = await run_in_threadpool(parts.store.note, stream, key, who, what, note, before, after)
    except StreamerError as error:
        log.warning("note_not_kept", what=what, error=str(error))
        return
    parts.hub.tell([told], parts.store.cursor)

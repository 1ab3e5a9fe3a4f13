"""An operator's word, done: what the detector makes of it, and what is told of it (docs/wire.md#operator)."""

from dataclasses import dataclass
from typing import Any

from musc_online.arrays import FrameId
from musc_online.detector import Detector
from musc_online.errors import ConfigError, FrameError
from streamer.errors import WireError
from streamer.wire.requests import OF_A_GROUP, Word

_MOST = 1000
"""Ids in one list of an answer: of more the newest, with their number beside them."""

Facts = dict[str, Any]


@dataclass(frozen=True)
class Said:
    """What a word did: its answer, and what it was about before and after; None where it is no more."""

    answer: Facts
    before: Facts | None
    after: Facts | None


def say(detector: Detector, word: Word) -> Said:
    """Do what an operator says, in the thread that owns the detector.

    Raises:
        WireError: `unknown_frame`, `unknown_group`, `bad_frame`, `bad_value`; nothing has changed then.
    """
    if word.what == "threshold":
        return _threshold(detector, word)
    if word.what in OF_A_GROUP and word.group is not None:
        return _of_group(detector, word, word.group)
    if word.frame_id is None:
        raise WireError("unknown_frame", f"{word.what}: is about a frame, and names none")
    return _of_frame(detector, word, word.frame_id)


def answered(stream: str, word: Word, said: Said, state: Facts) -> Facts:
    """What whoever said a word is told.

    Args:
        stream: the stream's name.
        word, said: what was said, and what that did.
        state: `Detector.status()` after all that it made due was done.
    """
    answer = {"stream": stream, **said.answer}
    if word.what == "threshold":
        return answer
    return {**answer, **{name: int(state[name]) for name in ("images", "pinned")}}


def _threshold(detector: Detector, word: Word) -> Said:
    try:
        found = detector.set_threshold(word.rule, word.value, word.false_alarms, word.preview)
    except ConfigError as error:
        raise WireError("bad_value", str(error)) from None
    sides = {side: {**found[side], "n_wrong": len(found[side]["wrong"])} for side in ("before", "after")}
    flips: Facts = {}
    for way in ("to_anomalous", "to_normal"):
        flips |= {f"n_{way}": len(found[way]), way: found[way][-_MOST:]}
    before, after = (
        {"rule": side["rule"], "threshold": side["threshold"]} for side in (found["before"], found["after"])
    )
    return Said({"preview": word.preview, **sides, **flips}, before, after)


def _of_group(detector: Detector, word: Word, number: int) -> Said:
    before = _group_facts(detector, number)
    try:
        operators = detector.operators
        if word.what == "accept":
            frame_ids = operators.accept(number)
        else:
            frame_ids = operators.reject(number, word.name or "")
    except FrameError as error:
        raise WireError("unknown_group", str(error)) from None
    answer = {"group": number, "n_frames": len(frame_ids), "frame_ids": frame_ids[-_MOST:]}
    if word.name is not None:
        answer["name"] = word.name
    return Said(answer, before, _group_facts(detector, number))


def _of_frame(detector: Detector, word: Word, frame_id: FrameId) -> Said:
    held = detector.ring is not None and frame_id in detector.ring.slot_of
    before = _frame_facts(detector, frame_id)
    try:
        if word.verdict is not None:
            detector.operators.confirm(frame_id, word.verdict, word.name)
        else:
            getattr(detector.operators, word.what)(frame_id)
    except FrameError as error:
        if held:  # a reference like the others it cannot become: all are pinned
            raise WireError("bad_frame", str(error)) from None
        raise WireError("unknown_frame", str(error)) from None
    answer: Facts = {"frame_id": frame_id}
    if word.verdict is not None:
        answer |= {"known_frames": len(detector.verdict.known), "threshold": detector.threshold}
    return Said(answer, before, _frame_facts(detector, frame_id))


def _group_facts(detector: Detector, number: int) -> Facts | None:
    group = detector.events.groups.get(number)
    return None if group is None else {"name": group.name, "n_frames": len(group.frame_ids)}


def _frame_facts(detector: Detector, frame_id: FrameId) -> Facts | None:
    """What is known of a frame, in the ring or told of by an operator; None where nothing is."""
    ring, word = detector.ring, detector.verdict.known.words.get(frame_id)
    slot = None if ring is None else ring.slot_of.get(frame_id)
    if ring is None or slot is None:
        if word is None:
            return None
        facts = {"label": None, "truth": word.truth, "pinned": False, "quarantined": False}
    else:
        entry = detector.window.entries[slot]
        facts = {
            "label": entry.labelled(entry.score).pred_label,
            "truth": {None: None, True: "defect", False: "good"}[entry.truth],
            "pinned": slot in ring.pinned,
            "quarantined": slot in ring.quarantined,
        }
    return {**facts, "name": None if word is None else word.name}

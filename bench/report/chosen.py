"""Which frames a report shows, by rules that it states: the errors first, none of them picked by hand."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.report.frames import Frame, Kind

NEAR = 0.05
"""A frame is borderline where its score is this near to its threshold, as a fraction of the threshold."""
_SPREAD = "one at each step of the order of their scores, the highest first"


@dataclass(frozen=True)
class Group:
    """Frames that are shown together.

    `name` begins their files' names. `title` and `rule` say to a person what they are and how they were
    chosen out of `total`. `chosen` are their places in the sequence that `groups` was given.
    """

    name: str
    title: str
    rule: str
    total: int
    chosen: tuple[int, ...]


def groups(frames: Sequence[Frame], most: int) -> list[Group]:
    """The frames to show, at most `most` of a group; a group without a picture is left out.

    With true labels: missed, false alarms, found, passed. Without: called anomalous, called normal. Then, of
    those not shown yet, the borderline ones, and those whose label was withheld. Where every label was
    withheld: the ranking from both ends. No frame is shown twice.
    """
    scored = [place for place, frame in enumerate(frames) if frame.raw is not None]
    if all(frames[place].kind == "withheld" for place in scored):
        made = _ranking(frames, scored, most)
    else:
        known = any(frame.truth is not None for frame in frames)
        made = _judged(frames, scored, most) if known else _said(frames, scored, most)
        shown = {place for group in made for place in group.chosen}
        made += [_borderline(frames, scored, most, shown), _unlabelled(frames, scored, most)]
    return [group for group in made if group.chosen]


def _judged(frames: Sequence[Frame], scored: Sequence[int], most: int) -> list[Group]:
    of = _by_kind(frames, scored)
    clearest, highest = _by_distance(frames, of("missed")), _by_distance(frames, of("false_alarm"))[::-1]
    missed = "defective, called normal; the furthest below the threshold first"
    alarms = "good, called anomalous; the furthest above the threshold first"
    return [
        Group("missed", "Missed", missed, len(clearest), tuple(clearest[:most])),
        Group("false_alarm", "False alarms", alarms, len(highest), tuple(highest[:most])),
        _spread("found", "Found", f"defective, called anomalous; {_SPREAD}", frames, of("found"), most),
        _spread("passed", "Passed", f"good, called normal; {_SPREAD}", frames, of("passed"), most),
    ]


def _said(frames: Sequence[Frame], scored: Sequence[int], most: int) -> list[Group]:
    of = _by_kind(frames, scored)
    called = _by_score(frames, of("anomalous"))
    first = Group(
        "anomalous", "Called anomalous", "the highest score first", len(called), tuple(called[:most])
    )
    return [first, _spread("normal", "Called normal", _SPREAD, frames, of("normal"), most)]


def _ranking(frames: Sequence[Frame], scored: Sequence[int], most: int) -> list[Group]:
    ranked = _by_score(frames, scored)
    lowest = ranked[most:][::-1][:most]
    return [
        Group("highest", "Highest scores", "the highest first", len(ranked), tuple(ranked[:most])),
        Group("lowest", "Lowest scores", "the lowest first", len(ranked), tuple(lowest)),
    ]


def _borderline(frames: Sequence[Frame], scored: Sequence[int], most: int, shown: set[int]) -> Group:
    """Those near to their own threshold, as far as no other group shows them."""
    labelled = [place for place in scored if frames[place].said is not None]
    distance = {place: abs(above) for place in labelled if (above := frames[place].above) is not None}
    near = [place for place, far in distance.items() if far <= NEAR * abs(_threshold(frames[place]))]
    free = sorted((place for place in near if place not in shown), key=distance.__getitem__)
    rule = f"within {NEAR:.0%} of their own threshold and not shown above; the nearest first"
    return Group("borderline", "Borderline", rule, len(near), tuple(free[:most]))


def _unlabelled(frames: Sequence[Frame], scored: Sequence[int], most: int) -> Group:
    ranked = _by_score(frames, [place for place in scored if frames[place].said is None])
    rule = "their label was withheld; the highest score first"
    return Group("unlabelled", "No label", rule, len(ranked), tuple(ranked[:most]))


def _spread(
    name: str, title: str, rule: str, frames: Sequence[Frame], places: Sequence[int], most: int
) -> Group:
    ranked = _by_score(frames, places)
    steps = np.linspace(0, len(ranked) - 1, min(most, len(ranked))).round().astype(int)
    return Group(name, title, rule, len(places), tuple(ranked[step] for step in steps))


def _by_kind(frames: Sequence[Frame], scored: Sequence[int]) -> Callable[[Kind], list[int]]:
    return lambda kind: [place for place in scored if frames[place].kind == kind]


def _by_score(frames: Sequence[Frame], places: Sequence[int]) -> list[int]:
    """Highest first; equal scores in the order of the files."""
    return sorted(places, key=lambda place: -_score(frames[place]))


def _by_distance(frames: Sequence[Frame], places: Sequence[int]) -> list[int]:
    """By how far the score is above the threshold, lowest first."""
    return sorted(places, key=lambda place: frames[place].above or 0.0)


def _score(frame: Frame) -> float:
    return float("-inf") if frame.raw is None else frame.raw


def _threshold(frame: Frame) -> float:
    return 0.0 if frame.threshold is None else frame.threshold

"""Which frames a report shows, by rules that it states: the errors first, none of them picked by hand."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.report.frames import Frame, Kind

NEAR = 0.05
"""A frame is borderline where its score is this near to its threshold, as a fraction of the threshold."""


@dataclass(frozen=True)
class Group:
    """Frames that are shown together.

    `name` begins their files' names. `title` and `rule` say to a person what they are and how they were
    chosen out of `total` (None: out of all frames). `chosen` are their places in the sequence that `groups`
    was given.
    """

    name: str
    title: str
    rule: str
    total: int | None
    chosen: tuple[int, ...]


def groups(frames: Sequence[Frame], most: int) -> list[Group]:
    """The frames to show, at most `most` of a group; a group without a frame is left out.

    With true labels: missed, false alarms, borderline, found, passed. Without: called anomalous, borderline,
    called normal. Where every label was withheld, or none is known: the ranking from both ends. No frame is
    shown twice.
    """
    scored = [place for place, frame in enumerate(frames) if frame.raw is not None]
    if all(frames[place].kind == "withheld" for place in scored):
        return _ranking(frames, scored, most)
    known = any(frame.truth is not None for frame in frames)
    found = _judged(frames, scored, most) if known else _said(frames, scored, most)
    return [group for group in found if group.total or group.chosen]


def _judged(frames: Sequence[Frame], scored: Sequence[int], most: int) -> list[Group]:
    of = _by_kind(frames, scored)
    missed, alarms = of("missed"), of("false_alarm")
    clearest = _by_distance(frames, missed)
    first = Group(
        "missed",
        "Missed",
        "defective, called normal; the furthest below the threshold first",
        len(missed),
        tuple(clearest[:most]),
    )
    highest = _by_distance(frames, alarms)[::-1]
    second = Group(
        "false_alarm",
        "False alarms",
        "good, called anomalous; the furthest above the threshold first",
        len(alarms),
        tuple(highest[:most]),
    )
    near = _borderline(frames, scored, most, {*first.chosen, *second.chosen})
    taken = set(near.chosen)
    spread = "one at each step of the order of their scores, the highest first"
    return [
        first,
        second,
        near,
        _spread("found", "Found", f"defective, called anomalous; {spread}", frames, of("found"), most, taken),
        _spread("passed", "Passed", f"good, called normal; {spread}", frames, of("passed"), most, taken),
    ]


def _said(frames: Sequence[Frame], scored: Sequence[int], most: int) -> list[Group]:
    of = _by_kind(frames, scored)
    called = _by_score(frames, of("anomalous"))
    first = Group(
        "anomalous", "Called anomalous", "the highest score first", len(called), tuple(called[:most])
    )
    near = _borderline(frames, scored, most, set(first.chosen))
    rule = "one at each step of the order of their scores, the highest first"
    normal = _spread("normal", "Called normal", rule, frames, of("normal"), most, set(near.chosen))
    return [first, near, normal]


def _ranking(frames: Sequence[Frame], scored: Sequence[int], most: int) -> list[Group]:
    ranked = _by_score(frames, scored)
    lowest = ranked[most:][::-1][:most]
    if not ranked:
        return []
    return [
        Group("highest", "Highest scores", "the highest first", len(ranked), tuple(ranked[:most])),
        Group("lowest", "Lowest scores", "the lowest first", len(ranked), tuple(lowest)),
    ]


def _borderline(frames: Sequence[Frame], scored: Sequence[int], most: int, shown: set[int]) -> Group:
    """The nearest to the threshold from above and from below, half of each where both have so many."""
    distance = {place: above for place in scored if (above := frames[place].above) is not None}
    free = [place for place in distance if place not in shown]
    over = sorted((place for place in free if distance[place] >= 0), key=distance.__getitem__)
    under = sorted((place for place in free if distance[place] < 0), key=lambda place: -distance[place])
    n_over = min(len(over), max(most - most // 2, most - len(under)))
    chosen = [*over[:n_over][::-1], *under[: most - n_over]]
    near = sum(abs(far) <= NEAR * abs(_threshold(frames[place])) for place, far in distance.items())
    rule = (
        f"the nearest to the threshold on either side, the highest score first; {near} of {len(distance)} "
        f"frames are within {NEAR:.0%} of it"
    )
    return Group("borderline", "Borderline", rule, None, tuple(chosen))


def _spread(
    name: str,
    title: str,
    rule: str,
    frames: Sequence[Frame],
    places: Sequence[int],
    most: int,
    shown: set[int],
) -> Group:
    free = [place for place in _by_score(frames, places) if place not in shown]
    steps = np.linspace(0, len(free) - 1, min(most, len(free))).round().astype(int)
    return Group(name, title, rule, len(places), tuple(free[step] for step in steps))


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

"""An operator confirms some frames, good and defective: what that does to the labels of all the others."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rich import box
from rich.table import Table
from rich.text import Text

from bench.metrics.labels import Verdicts, judge
from bench.names import plain
from bench.replay.order import arrivals
from bench.verdict.draws import ALL, Draw
from bench.verdict.pairs import Memory, Pairs
from bench.verdict.protocol import Plan, Series
from bench.verdict.show import percent
from bench.verdict.stream import Operator, Said, play
from bench.verdict.summary import mean
from musc_online.detector import Detector

PARTS = ("others", "everything")


@dataclass(frozen=True)
class Confirmed:
    """One stream, confirmed at its end, and the same one without; final labels.

    `n_good` and `n_defects` frames were confirmed, fewer than asked for where the ring held no more. Of
    `{"without", "with_words"}`: `others` are the frames that were not confirmed, the same both times;
    `everything` is all of them, where the confirmed ones are labelled as they were told.
    """

    category: str
    series: str
    contamination: str
    share: float
    draw: int
    order: int
    n_good: int
    n_defects: int
    others: dict[str, Verdicts]
    everything: dict[str, Verdicts]

    def as_json(self) -> dict[str, Any]:
        """Plain values, null where undefined."""
        judged = {
            part: {when: found.as_json() for when, found in getattr(self, part).items()} for part in PARTS
        }
        return vars(self) | judged


class Confirming(Operator):
    """Confirms frames at random once all have arrived, of those that the ring still holds.

    `frames` are those confirmed.

    Args:
        truth: `[N]` of the frames in order of arrival, True is defective.
        n_each: of good ones and of defective ones.
        seed: of the choice.
    """

    def __init__(self, truth: npt.NDArray[np.bool_], n_each: int, seed: int) -> None:
        self._truth, self._n_each, self._seed = truth, n_each, seed
        self.frames: list[int] = []

    def at_end(self, stream: Detector) -> None:
        """See `Operator.at_end`."""
        held = sorted(int(frame) for frame in stream.ring.slot_of) if stream.ring is not None else []
        self.frames = choose(np.array(held, np.intp), self._truth, self._n_each, self._seed)
        for frame in self.frames:
            stream.operators.confirm(frame, "defect" if self._truth[frame] else "good")


def choose(held: npt.NDArray[np.intp], truth: npt.NDArray[np.bool_], n_each: int, seed: int) -> list[int]:
    """`n_each` good and `n_each` defective of the frames `held`, or all where they are fewer."""
    generator = np.random.default_rng(seed)
    kinds = held[~truth[held]], held[truth[held]]
    return [int(frame) for kind in kinds for frame in generator.permutation(kind)[:n_each]]


def eligible(draws: Sequence[Draw], n_each: int) -> list[Draw]:
    """The draws with at least so many good images and so many defective ones."""
    return [draw for draw in draws if min(draw.n_good, draw.n_defective) >= n_each]


def measure(
    category: str,
    pairs: Pairs,
    labels: npt.NDArray[np.bool_],
    n_each: int,
    series: Sequence[Series],
    plan: Plan,
    done: Callable[[int], None] = lambda count: None,
) -> Iterator[Confirmed]:
    """Play every eligible draw of a category in every order, with and without an operator.

    Args:
        category: its name.
        pairs: of all its images.
        labels: `[N]`, True is defective.
        n_each: frames confirmed good, and as many confirmed defective.
        series: whose configurations share features and distances.
        plan: how often.
        done: told after each stream with an operator.

    Raises:
        CapacityError: a ring does not fit in `ring.max_bytes`.
    """
    for draw in eligible(plan.draws(labels), n_each):
        for order in range(plan.n_orders):
            images = draw.images[arrivals(len(draw.images), "shuffled", plan.seed + order)]
            memory: Memory = {}
            for one in series:
                operator = Confirming(labels[images], n_each, plan.seed + order)
                without = play(pairs, one.config, images, memory)
                told = play(pairs, one.config, images, memory, operator)
                said = {"without": without.final, "with_words": told.final}
                yield summed(category, one.name, draw, order, said, labels[images], operator.frames)
                done(1)


def summed(
    category: str,
    series: str,
    draw: Draw,
    order: int,
    said: dict[str, Said],
    truth: npt.NDArray[np.bool_],
    frames: Sequence[int],
) -> Confirmed:
    """What the final labels are worth; `truth` `[N]`, True is defective, `frames` those confirmed."""
    other = np.ones(len(truth), np.bool_)
    other[list(frames)] = False
    n_defects = int(truth[list(frames)].sum())
    return Confirmed(
        category=category,
        series=series,
        contamination=draw.contamination,
        share=draw.share,
        draw=draw.number,
        order=order,
        n_good=len(frames) - n_defects,
        n_defects=n_defects,
        others={when: _judged(final, truth, other) for when, final in said.items()},
        everything={when: _judged(final, truth, np.ones_like(other)) for when, final in said.items()},
    )


def _judged(final: Said, truth: npt.NDArray[np.bool_], chosen: npt.NDArray[np.bool_]) -> Verdicts:
    labels = [label for label, is_chosen in zip(final.labels, chosen, strict=True) if is_chosen]
    return judge(truth[chosen], labels, final.raw[chosen])


def table(found: Sequence[Confirmed]) -> Table:
    """One row a category, contamination and rule: means over draws and orders, before and after the words."""
    shown = Table(box=box.SIMPLE_HEAD, padding=0, title=Text("F1 over best of final labels: per cent"))
    for heading in ("category", "%", "rule"):
        shown.add_column(heading, overflow="fold")
    for part in ("others", "all"):
        for when in ("before", "confirmed"):
            shown.add_column(f"{part},\n{when}", justify="right")
    groups: dict[tuple[str, str, str], list[Confirmed]] = {}
    for one in found:
        shares = "as is" if one.contamination == ALL else f"{one.contamination}%"
        groups.setdefault((one.category, shares, one.series), []).append(one)
    for names, runs in groups.items():
        cells = [
            percent(mean([getattr(run, part)[when].rate("f1_over_best") for run in runs]))
            for part in PARTS
            for when in ("without", "with_words")
        ]
        shown.add_row(*map(plain, names), *cells)
    return shown

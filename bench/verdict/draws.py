"""Which images of a set a stream is made of: so large a share defective, drawn several times."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.replay.order import Indices

CONTAMINATIONS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3)
ALL = "all"


@dataclass(frozen=True, eq=False)
class Draw:
    """One choice of images.

    `contamination` is what was asked for, in per cent, or `all`, the set as it is; `number` counts the draws
    of it; `images` `[n]` are the good ones, then the defective.
    """

    contamination: str
    number: int
    images: Indices
    n_defective: int

    @property
    def n_good(self) -> int:
        """How many are good."""
        return len(self.images) - self.n_defective

    @property
    def share(self) -> float:
        """The share that is defective, 0..1."""
        return self.n_defective / len(self.images)


def draws(
    labels: npt.NDArray[np.bool_],
    n_draws: int,
    seed: int,
    contaminations: Sequence[float] = CONTAMINATIONS,
) -> list[Draw]:
    """Every draw of a set: each contamination, and the set as it is.

    A draw takes all good images and as many defective ones as make the contamination; where those are too
    few, all of them and fewer good ones. One shuffling a draw serves all contaminations, so that from one to
    the next images are added, not exchanged. Where there is nothing to choose there is one draw; a
    contamination that comes to no defective image has none, nor has one of fewer than two images.

    Args:
        labels: `[N]`, True is defective.
        n_draws: of each contamination, >= 1.
        seed: of the choice.
        contaminations: shares in 0..1, 1 excluded.
    """
    good, defective = np.flatnonzero(~labels), np.flatnonzero(labels)
    shuffled = [
        (generator.permutation(good), generator.permutation(defective))
        for generator in (np.random.default_rng((seed, number)) for number in range(n_draws))
    ]
    found = []
    for contamination in contaminations:
        n_good, n_defective = _sizes(len(good), len(defective), contamination)
        if n_good + n_defective < 2 or (contamination > 0 and not n_defective):
            continue
        no_choice = n_good == len(good) and n_defective in (0, len(defective))
        for number, (goods, defects) in enumerate(shuffled[: 1 if no_choice else n_draws]):
            images = np.concatenate([goods[:n_good], defects[:n_defective]])
            found.append(Draw(f"{100 * contamination:g}", number, images, n_defective))
    if len(labels) >= 2:
        found.append(Draw(ALL, 0, np.concatenate([good, defective]), len(defective)))
    return found


def _sizes(n_good: int, n_defective: int, contamination: float) -> tuple[int, int]:
    """How many good and how many defective images make the contamination."""
    odds = contamination / (1 - contamination)
    wanted = round(n_good * odds)
    if wanted <= n_defective:
        return n_good, wanted
    return min(n_good, round(n_defective / odds)), n_defective

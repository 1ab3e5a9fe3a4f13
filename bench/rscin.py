"""RsCIN by itself: re-score the image scores of any method from two `.npy` files."""

from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from bench.commands import Command
from musc_online.errors import DataError
from musc_online.rscin import rescore
from streamer.commands import examples


def read_array(path: Path, what: str) -> npt.NDArray[Any]:
    """Load one numeric array; nothing is unpickled.

    Raises:
        DataError: missing, not a `.npy` file, or not of numbers.
    """
    try:
        with path.open("rb") as file:
            array: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected {what}") from None
    except ValueError as error:
        raise DataError(
            f"{path}: {' '.join(str(error).split())}; expected {what} saved by numpy.save"
        ) from None
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_) or np.iscomplexobj(array):
        raise DataError(f"{path}: got dtype {array.dtype}, expected numbers: {what}")
    return array


def parse_counts(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[int, ...]:
    """`1,2,3` -> (1, 2, 3).

    Raises:
        click.BadParameter: not whole numbers of at least 1.
    """
    try:
        counts = tuple(int(part) for part in text.split(","))
    except ValueError:
        counts = ()
    if not counts or min(counts) < 1:
        raise click.BadParameter(
            f"got '{text}', expected numbers of at least 1 with commas between, e.g. 1,2,3"
        )
    return counts


@click.command(
    cls=Command,
    epilog=examples(
        "python -m bench.rscin scores.npy tokens.npy",
    ),
)
@click.argument("scores", type=click.Path(path_type=Path))
@click.argument("tokens", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), help="Write a .npy here instead of printing.")
@click.option(
    "--neighbour-counts",
    default="1,2,3",
    callback=parse_counts,
    help="How many neighbours each round keeps, itself among them; published: 1,8,9 for VisA.",
)
@click.option("--normalise/--no-normalise", default=True, help="L2-normalise the class tokens first.")
def main(
    scores: Path, tokens: Path, output: Path | None, neighbour_counts: tuple[int, ...], normalise: bool
) -> None:
    """Re-score SCORES by the neighbours found in TOKENS (MuSc, section 3.4).

    SCORES is an [N] array of image scores of any method, TOKENS an [N, D] array of image features such as
    CLIP's; both .npy. The result is [N], between 0 and 1, in the same order: printed one a line, or saved.
    """
    image_scores = read_array(scores, "[N] image scores").astype(np.float64)
    class_tokens = read_array(tokens, "[N, D] class tokens").astype(np.float64)
    result = rescore(image_scores, class_tokens, neighbour_counts, normalise)
    if output is None:
        click.echo("\n".join(f"{score:.9g}" for score in result))
    else:
        save(output, result)


def save(path: Path, array: npt.NDArray[np.float64]) -> None:
    """Write a `.npy` under exactly this name.

    Raises:
        DataError: the file cannot be written.
    """
    try:
        with path.open("wb") as file:
            np.save(file, array, allow_pickle=False)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror})") from None


if __name__ == "__main__":
    main()

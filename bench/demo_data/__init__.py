"""A small production line drawn by code: `python -m bench.demo_data DIR` writes it in MVTec AD layout.

Nothing is downloaded and nothing is kept in the repository: the same seed draws the same pictures.
"""

from collections.abc import Iterator
from pathlib import Path

import click
import cv2
import numpy as np
import numpy.typing as npt

from bench.commands import Command
from bench.demo_data import part as part
from bench.demo_data.defects import DEFECTS, Flaw
from musc_online.errors import DataError
from streamer.commands import examples
from streamer.printable import printable

CATEGORY = "part"
_NO_DEFECT = "good"


Frame = npt.NDArray[np.uint8]


def draw(seed: int, index: int, defect: str = _NO_DEFECT, size: int = 256) -> tuple[Frame, Flaw]:
    """Draw part number `index` of the line `seed`.

    Args:
        seed: of the whole line.
        index: of the part; every part has its own generator, so any one can be drawn alone.
        defect: `good` or a name in `bench.demo_data.defects.DEFECTS`.
        size: side of the square picture, pixels.

    Returns:
        The frame, `[size, size, 3]` uint8 BGR, and the flaw with its mask `[size, size]` uint8 0/1.
    """
    rng = np.random.default_rng([seed, index])
    scene = part.place(size, rng)
    # The flaw has its own generator: the same part without it is the same picture elsewhere.
    flaw_rng = np.random.default_rng([seed, index, 1])
    flaw = (
        DEFECTS[defect](scene, flaw_rng) if defect != _NO_DEFECT else Flaw(np.zeros((size, size), np.uint8))
    )
    outline = part.part_distance(scene, flaw.missing)
    surface = flaw.paint(part.metal(scene, rng)) + part.bevel(scene, outline)[..., None]
    ground = part.belt(scene, rng) * part.shadow(scene, outline)[..., None]
    inside = part.coverage(outline)[..., None]
    return part.expose(ground * (1 - inside) + surface * inside, scene, rng), flaw


def generate(root: Path, seed: int = 0, n_good: int = 40, n_defective: int = 16, size: int = 256) -> Path:
    """Write the line as `<root>/part/test/...` and `<root>/part/ground_truth/...`.

    Args:
        root: folder to write in; made if it is not there.
        seed: the same seed writes the same pictures.
        n_good: parts without a defect.
        n_defective: parts with one, the kinds of defect in turn.
        size: side of the pictures, pixels.

    Returns:
        `root`, ready for `bench.replay mvtec --data`.

    Raises:
        DataError: a count or size that makes no line, or pictures of another line already there.
    """
    if n_good < 0 or n_defective < 0 or n_good + n_defective < 1 or size < 32:
        raise DataError(
            f"demo data: got good={n_good}, defective={n_defective}, size={size}; "
            "expected at least one part and a size of 32 or more"
        )
    root = Path(root)
    if (root / CATEGORY).exists():
        raise DataError(f"{root / CATEGORY}: is there already; give an empty folder or remove it")
    for index, (defect, stem) in enumerate(_parts(n_good, n_defective)):
        frame, flaw = draw(seed, index, defect, size)
        _write(root / CATEGORY / "test" / defect / f"{stem}.png", frame)
        if defect != _NO_DEFECT:
            _write(root / CATEGORY / "ground_truth" / defect / f"{stem}_mask.png", flaw.mask * 255)
    return root


def _parts(n_good: int, n_defective: int) -> Iterator[tuple[str, str]]:
    kinds = list(DEFECTS)
    for number in range(n_good):
        yield _NO_DEFECT, f"{number:03d}"
    for number in range(n_defective):
        yield kinds[number % len(kinds)], f"{number // len(kinds):03d}"


def _write(path: Path, picture: npt.NDArray[np.uint8]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror}); give a folder you may write in"
        ) from None


@click.command(
    cls=Command,
    epilog=examples(
        "python -m bench.demo_data line --good 40 --defective 16",
    ),
)
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--seed", default=0, help="The same seed draws the same pictures.")
@click.option("--good", default=40, help="Parts without a defect.")
@click.option("--defective", default=16, help="Parts with one, the kinds in turn.")
@click.option("--size", default=256, help="Side of the pictures, pixels.")
def main(directory: Path, seed: int, good: int, defective: int, size: int) -> None:
    """Draw a small production line into DIRECTORY, in MVTec AD layout."""
    generate(directory, seed, good, defective, size)
    click.echo(
        f"{printable(directory / CATEGORY)}: {good} good and {defective} defective parts (seed {seed})"
    )

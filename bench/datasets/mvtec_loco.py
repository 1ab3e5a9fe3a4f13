"""MVTec LOCO: `<category>/test/{good,<kind>}/`, masks in `<category>/ground_truth/<kind>/<stem>/`."""

from collections.abc import Callable
from pathlib import Path

from bench.datasets.sample import Category
from bench.datasets.tree import folders, images, labelled, select
from musc_online.errors import DataError

KINDS = "good,logical_anomalies,structural_anomalies"
LAYOUT = f"<category>/test/{{{KINDS}}}/ and <category>/ground_truth/<kind>/<stem>/"


def read(root: Path, category: str) -> list[Category]:
    """Read the test images of MVTec LOCO AD (Bergmann et al., IJCV 2022).

    An image has a folder of masks, one for each defect in it; the ground truth is their union. The saturation
    of single defects that the authors' own sPRO uses is not read.

    Raises:
        DataError: another layout, an empty category, an image without masks.
    """
    found = [path for path in folders(root) if (path / "test").is_dir()]
    chosen = select(root, found, category, LAYOUT)
    return [
        labelled(path, path / "test", path / "ground_truth", find=_all_masks, mask_rule="half")
        for path in chosen
    ]


def _all_masks(folder: Path) -> Callable[[Path], tuple[Path, ...]]:
    def find(image: Path) -> tuple[Path, ...]:
        place = folder / image.with_suffix("")
        masks = images(place).paths
        if not masks:
            raise DataError(f"{image}: a defective image needs masks; expected {place}/000.png")
        return masks

    return find

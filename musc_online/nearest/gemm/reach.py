"""Which patches of two images are compared: `method.position` and ignored patches, for the compiled loops.

Candidates within `position` grid rows are a band of the product matrix, so that only the band is multiplied
and searched. What lies in the band and is no candidate, a column of the grid too far away or an ignored
patch, is masked: `LOWEST` is added to its cosine.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from musc_online.arrays import Geometry
from musc_online.compiled import compiled
from musc_online.nearest.gemm.lanes import LOWEST, PANEL
from musc_online.nearest.gemm.packing import aligned_zeros


class Reach(NamedTuple):
    """The same for every pair of a store's images, read by all threads and written by none.

    `rows`, `columns`: candidates lie at most so many grid rows and columns away; the whole grid where
    `positional` is False. `masked`: not every patch is a candidate of every other. `lines`: what is added to
    the cosines of one patch, 0 or `LOWEST`. With `positional [width + 1, ...]`: one line for each place in a
    grid row, over the `2 * rows + 1` grid rows in reach and `PANEL` patches on either side; without, one of
    zeros over all patches. The last line is that of an ignored patch. `limits [S, P16]`: added to the cosines
    with a patch of the other image, `LOWEST` where it is ignored and beyond the last patch. `ignored [S, P]`.
    One stage of it has no S.
    """

    height: int
    width: int
    rows: int
    columns: int
    positional: bool
    masked: bool
    lines: npt.NDArray[np.float32]
    limits: npt.NDArray[np.float32]
    ignored: npt.NDArray[np.bool_]


def layout(geometry: Geometry) -> dict[str, tuple[tuple[int, ...], type]]:
    """Shape and type of each array of a `Reach`."""
    n_stages, n_patches = geometry.n_stages, geometry.n_patches
    padded = math.ceil(n_patches / PANEL) * PANEL
    rows, _, positional = _steps(geometry)
    width = geometry.sides[1]
    return {
        "lines": ((width + 1, (2 * rows + 1) * width + 2 * PANEL) if positional else (2, padded), np.float32),
        "limits": ((n_stages, padded), np.float32),
        "ignored": ((n_stages, n_patches), np.bool_),
    }


def make_reach(geometry: Geometry, ignored: npt.NDArray[np.bool_] | None) -> Reach:
    """The reach of one store's patches.

    Args:
        geometry: its grid and `position`.
        ignored: `[S, P]`; None ignores none.
    """
    arrays = {name: aligned_zeros(shape, kind) for name, (shape, kind) in layout(geometry).items()}
    if ignored is not None:
        arrays["ignored"][...] = ignored
    arrays["limits"][:, geometry.n_patches :] = LOWEST
    arrays["limits"][:, : geometry.n_patches][arrays["ignored"]] = LOWEST
    (height, width), (rows, columns, positional) = geometry.sides, _steps(geometry)
    lines = arrays["lines"]
    if positional:
        lines[:] = LOWEST
        place = np.arange(width)
        far = np.abs(place[:, None] - place) > columns
        lines[:-1, PANEL:-PANEL] = np.tile(np.where(far, np.float32(LOWEST), 0), (1, 2 * rows + 1))
    lines[-1] = LOWEST
    masked = positional or bool(arrays["ignored"].any())
    return Reach(height, width, rows, columns, positional, masked, **arrays)


def _steps(geometry: Geometry) -> tuple[int, int, bool]:
    """Grid rows and columns to a candidate at most, and whether that leaves any patch out."""
    height, width = geometry.sides
    far = max(height, width) if geometry.position is None else geometry.position
    rows, columns = min(far, height - 1), min(far, width - 1)
    return rows, columns, rows < height - 1 or columns < width - 1


@compiled
def of_stage(reach: Any, stage: int) -> Any:
    """One stage of a `Reach`."""
    return Reach(
        reach.height,
        reach.width,
        reach.rows,
        reach.columns,
        reach.positional,
        reach.masked,
        reach.lines,
        reach.limits[stage],
        reach.ignored[stage],
    )


@compiled
def band_of(reach: Any, first_row: int, last_row: int, beyond: int) -> Any:
    """Columns of the product matrix, in whole panels, within reach of grid rows and `beyond` rows more."""
    first = max(0, first_row - reach.rows - beyond)
    last = min(reach.height, last_row + reach.rows + beyond + 1)
    return first * reach.width // PANEL * PANEL, (last * reach.width + PANEL - 1) // PANEL * PANEL


@compiled
def mask_of(grid_row: int, row: int, reach: Any) -> Any:
    """Which line is that of the `row`-th patch of a grid row, and where in it the other image begins."""
    line = row if reach.positional else 0
    if reach.ignored[grid_row * reach.width + row]:
        line = len(reach.lines) - 1
    return line, PANEL - (grid_row - reach.rows) * reach.width if reach.positional else 0


@compiled
def has_empty(norms: Any, reach: Any) -> bool:
    """Whether an image of these reciprocal norms `[P16]` has an empty window that is not ignored."""
    for patch in range(len(reach.ignored)):  # noqa: SIM110 - numba knows no any()
        if norms[patch] == 0.0 and not reach.ignored[patch]:
            return True
    return False


@compiled
def sees_empty(patch: int, norms: Any, reach: Any) -> bool:
    """Whether an empty window of the other image, which has one (`has_empty`), is a candidate of a patch."""
    if not reach.positional:
        return True
    row, column = patch // reach.width, patch % reach.width
    for y in range(max(0, row - reach.rows), min(reach.height, row + reach.rows + 1)):
        for x in range(max(0, column - reach.columns), min(reach.width, column + reach.columns + 1)):
            at = y * reach.width + x
            if norms[at] == 0.0 and not reach.ignored[at]:
                return True
    return False

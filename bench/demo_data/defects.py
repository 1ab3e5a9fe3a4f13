"""What goes wrong on the line: scratch, stain, dent, missing bolt hole; each with its mask."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from bench.demo_data import part

Picture = npt.NDArray[np.float64]
Mask = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Flaw:
    """One defect: `paint` changes the metal (`[size, size, 3]` 0..1), `mask` 0/1 says where.

    `missing` is the number of a bolt hole that is not there.
    """

    mask: Mask
    paint: Callable[[Picture], Picture] = lambda metal: metal
    missing: int | None = None


def scratch(scene: part.Scene, rng: np.random.Generator) -> Flaw:
    """A bent line cut across the face: a bright burr beside a dark groove."""
    start = _on_face(scene, rng)
    heading = rng.uniform(0, 2 * np.pi)
    bend = rng.uniform(-1.2, 1.2)
    steps = np.linspace(0, 1, 60)
    headings = heading + bend * steps
    length = scene.size * rng.uniform(0.2, 0.34)
    directions = np.stack([np.cos(headings), np.sin(headings)], axis=1)
    path = start + np.cumsum(directions, axis=0) * length / len(steps)
    # Half of the way lies before the starting point: the scratch stays on the face more often.
    path -= path[len(path) // 2] - start
    width = max(1, round(scene.size / 150))
    groove = _stroke(scene.size, path, width)
    burr = _stroke(scene.size, path + scene.size / 170, width)
    mask = ((cv2.dilate(groove, np.ones((3, 3))) + burr) > 0.2) & _face(scene)

    def paint(metal: Picture) -> Picture:
        painted: Picture = metal * (1 - 0.6 * groove[..., None]) + 0.32 * (burr * (1 - groove))[..., None]
        return painted

    return Flaw(mask.astype(np.uint8), paint)


def stain(scene: part.Scene, rng: np.random.Generator) -> Flaw:
    """A brown, ragged patch of old oil, darker at its rim."""
    centre = _on_face(scene, rng)
    rows, columns = np.mgrid[0 : scene.size, 0 : scene.size]
    extent = scene.size * rng.uniform(0.05, 0.09)
    distance = np.hypot(columns - centre[0], rows - centre[1]) - extent
    distance = distance + 0.35 * extent * part.smooth_noise(scene.size, scene.size / 32, rng)
    inside = part.coverage(distance, softness=scene.size / 100)
    rim = np.exp(-0.5 * (distance / (scene.size / 90)) ** 2)
    mask = (inside > 0.5) & _face(scene)
    tint = np.array([0.42, 0.6, 0.74])

    def paint(metal: Picture) -> Picture:
        strength = (0.75 * inside + 0.2 * rim * inside)[..., None]
        painted: Picture = metal * (1 - strength * (1 - tint))
        return painted

    return Flaw(mask.astype(np.uint8), paint)


def dent(scene: part.Scene, rng: np.random.Generator) -> Flaw:
    """A blow: the hollow's near side turns from the light, its far side towards it."""
    centre = _on_face(scene, rng)
    axes = scene.size * rng.uniform(0.035, 0.06, size=2)
    turn = rng.uniform(0, np.pi)
    rows, columns = np.mgrid[0 : scene.size, 0 : scene.size]
    x, y = columns - centre[0], rows - centre[1]
    along = (np.cos(turn) * x + np.sin(turn) * y) / axes[0]
    across = (-np.sin(turn) * x + np.cos(turn) * y) / axes[1]
    radius = np.hypot(along, across)
    hollow = -np.exp(-(radius**2) * 1.6)
    slope_rows, slope_columns = np.gradient(hollow)
    facing = slope_columns * np.cos(scene.light) + slope_rows * np.sin(scene.light)
    facing = facing / np.abs(facing).max()
    mask = (radius < 1.25) & _face(scene)

    def paint(metal: Picture) -> Picture:
        painted: Picture = metal - 0.34 * facing[..., None] + 0.1 * hollow[..., None]
        return painted

    return Flaw(mask.astype(np.uint8), paint)


def missing_hole(scene: part.Scene, rng: np.random.Generator) -> Flaw:
    """A bolt hole that was never drilled."""
    index = int(rng.integers(part.N_HOLES))
    others = part.hole_distances(scene, missing=index)
    mask = (part.hole_distances(scene) < 0) & (others >= 0)
    return Flaw(mask.astype(np.uint8), missing=index)


DEFECTS: dict[str, Callable[[part.Scene, np.random.Generator], Flaw]] = {
    "scratch": scratch,
    "stain": stain,
    "dent": dent,
    "missing_hole": missing_hole,
}


def _face(scene: part.Scene) -> npt.NDArray[np.bool_]:
    return part.part_distance(scene) < 0


def _on_face(scene: part.Scene, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A pixel `(x, y)` well inside the metal, clear of edges and holes."""
    clear = np.argwhere(part.part_distance(scene) < -0.06 * scene.unit)
    row, column = clear[rng.integers(len(clear))]
    return np.array([column, row], dtype=np.float64)


def _stroke(size: int, path: npt.NDArray[np.float64], width: int) -> Picture:
    # Four fractional bits: OpenCV draws anti-aliased lines on integer grids only.
    canvas = np.zeros((size, size), dtype=np.uint8)
    points = np.rint(path * 16).astype(np.int32).reshape(-1, 1, 2)
    cv2.polylines(canvas, [points], isClosed=False, color=255, thickness=width, lineType=cv2.LINE_AA, shift=4)
    return canvas / 255.0

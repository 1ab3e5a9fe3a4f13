"""One part on the conveyor, drawn from formulas: a turned flange with six bolt holes and a keyway.

Shapes are signed distances in pixels (negative inside), so edges are smooth at any size and a mask is
exactly the shape that was drawn. Everything random comes from the generator handed in.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float64]

OUTER_RADIUS = 0.74
BORE_RADIUS = 0.25
BOLT_RADIUS = 0.51
HOLE_RADIUS = 0.085
N_HOLES = 6


@dataclass(frozen=True)
class Scene:
    """Where the part lies, how it is lit, and the pixel grid in the part's own coordinates.

    `u`, `v` are `[size, size]` part coordinates (-1..1 spans the picture when the part is centred), `unit`
    the pixels of one such unit, `light` the direction of the light in the picture, radians.
    """

    size: int
    u: Plane
    v: Plane
    unit: float
    rotation: float
    light: float

    @property
    def radius(self) -> Plane:
        """Distance of each pixel from the part's axis, in part coordinates."""
        return np.hypot(self.u, self.v)

    @property
    def angle(self) -> Plane:
        """Polar angle of each pixel in part coordinates, radians."""
        return np.arctan2(self.v, self.u)


def place(size: int, rng: np.random.Generator) -> Scene:
    """Put a part on the belt: a few degrees and a few per cent off, as a guide rail leaves it."""
    unit = size / 2 * rng.uniform(0.97, 1.03)
    centre = size / 2 + size * rng.uniform(-0.025, 0.025, size=2)
    rotation = np.deg2rad(rng.uniform(-10, 10))
    rows, columns = np.mgrid[0:size, 0:size] + 0.5
    x, y = (columns - centre[0]) / unit, (rows - centre[1]) / unit
    u = np.cos(rotation) * x + np.sin(rotation) * y
    v = -np.sin(rotation) * x + np.cos(rotation) * y
    light = np.deg2rad(rng.uniform(215, 245))
    return Scene(size, u, v, unit, float(rotation), float(light))


def hole_distances(scene: Scene, missing: int | None = None) -> Plane:
    """Signed distance in pixels to the nearest bolt hole, `missing` (0..5) left undrilled."""
    distances = [
        np.hypot(scene.u - BOLT_RADIUS * np.cos(turn), scene.v - BOLT_RADIUS * np.sin(turn)) - HOLE_RADIUS
        for turn in (2 * np.pi * index / N_HOLES for index in range(N_HOLES) if index != missing)
    ]
    nearest: Plane = np.minimum.reduce(distances)
    return nearest * scene.unit


def part_distance(scene: Scene, missing: int | None = None) -> Plane:
    """Signed distance in pixels to the part's outline: disc minus bore, keyway and bolt holes."""
    disc = (scene.radius - OUTER_RADIUS) * scene.unit
    bore = (scene.radius - BORE_RADIUS) * scene.unit
    keyway = np.maximum(np.abs(scene.u) - 0.055, np.abs(scene.v + BORE_RADIUS) - 0.075) * scene.unit
    opening = np.minimum(np.minimum(bore, keyway), hole_distances(scene, missing))
    outline: Plane = np.maximum(disc, -opening)
    return outline


def coverage(distance: Plane, softness: float = 0.7) -> Plane:
    """How much of each pixel lies inside a shape, 0..1, the edge `softness` pixels to either side."""
    return np.clip(0.5 - distance / (2 * softness), 0.0, 1.0)


def smooth_noise(size: int, scale: float, rng: np.random.Generator) -> Plane:
    """Noise of zero mean and unit variance whose blobs are `scale` pixels wide, `[size, size]`."""
    noise = cv2.GaussianBlur(rng.standard_normal((size, size)), (0, 0), scale)
    return np.asarray((noise - noise.mean()) / (noise.std() + 1e-12), dtype=np.float64)


def belt(scene: Scene, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A woven rubber belt that has moved on since the last part, `[size, size, 3]` BGR 0..1."""
    rows, columns = np.mgrid[0 : scene.size, 0 : scene.size]
    period = scene.size / 42
    phase_x, phase_y = rng.uniform(0, 2 * np.pi, size=2)
    weave = np.sin(2 * np.pi * columns / period + phase_x) * np.sin(2 * np.pi * rows / period + phase_y)
    grey = 0.17 + 0.018 * weave + 0.012 * smooth_noise(scene.size, scene.size / 12, rng)
    return np.asarray(grey[..., None] * np.array([0.98, 1.05, 0.92]), dtype=np.float64)


def metal(scene: Scene, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Turned steel: concentric tool marks and the two bright fans they throw, `[size, size, 3]` BGR 0..1."""
    turns = rng.standard_normal(512)
    turns = np.convolve(turns, np.ones(3) / 3, mode="same")
    marks = np.interp(scene.radius * 400, np.arange(512), turns)
    # Tool marks reflect along their own direction, so the bright fans stand across the light.
    fans = np.cos(2 * (scene.angle + scene.rotation - scene.light))
    grey = 0.58 + 0.07 * fans + 0.014 * marks + 0.01 * smooth_noise(scene.size, 1.2, rng)
    return np.asarray(grey[..., None] * np.array([1.03, 1.0, 0.97]), dtype=np.float64)


def bevel(scene: Scene, outline: Plane) -> Plane:
    """Brightness added by the chamfers: lit where the edge faces the light, dark where it turns away."""
    width = scene.size / 90
    slope_rows, slope_columns = np.gradient(cv2.GaussianBlur(outline, (0, 0), 1.0))
    facing = slope_columns * np.cos(scene.light) + slope_rows * np.sin(scene.light)
    on_edge = np.exp(-0.5 * ((outline + width) / width) ** 2)
    shading: Plane = 0.22 * facing * on_edge
    return shading


def shadow(scene: Scene, outline: Plane) -> Plane:
    """What is left of the light on the belt beside the part, `[size, size]` 0..1."""
    reach = scene.size / 36
    shift = np.array([[1, 0, -reach * np.cos(scene.light)], [0, 1, -reach * np.sin(scene.light)]])
    cast = cv2.warpAffine(coverage(outline), shift, (scene.size, scene.size))
    return np.asarray(1 - 0.55 * cv2.GaussianBlur(cast, (0, 0), reach / 2), dtype=np.float64)


def expose(picture: npt.NDArray[np.float64], scene: Scene, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Take the picture: uneven light, exposure, a little blur and sensor noise; uint8 BGR."""
    rows, columns = np.mgrid[0 : scene.size, 0 : scene.size] / scene.size - 0.5
    tilt = np.cos(scene.light) * columns + np.sin(scene.light) * rows
    lit = picture * (rng.uniform(0.92, 1.06) * (1 + rng.uniform(0.05, 0.15) * tilt))[..., None]
    lit = cv2.GaussianBlur(lit, (0, 0), rng.uniform(0.5, 0.8))
    noisy = lit + 0.008 * rng.standard_normal(lit.shape)
    return np.asarray(np.clip(np.rint(noisy * 255), 0, 255), dtype=np.uint8)

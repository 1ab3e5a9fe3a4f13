"""Where lines go on a picture of a frame: round what reaches the threshold, and round the true mask.

One rule for report, `--save`, demo, files bridge and page (`streamer/page/static/heat.js`: `levelOf`,
`contourOf`): the line goes round what reaches the threshold of a frame that was called anomalous.
"""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from streamer.images.depth import Frame

LINE, HALO = (255, 255, 255), (0, 0, 0)
MASK = (233, 180, 86)
"""BGR. The line at the threshold is white on black, to be seen on any picture; ground truth is a blue that
people who cannot tell red from green tell from everything else here."""

Values = npt.NDArray[np.floating[Any]]
Region = npt.NDArray[np.uint8]


def level(label: bool | None, threshold: float | None) -> float | None:
    """The map value from which on a frame is outlined and its mask is set; None for no line.

    Only of a frame called anomalous does a part of its map above the threshold mean anything: where the score
    is not the map's maximum (`method.image_score`), maps of normal frames reach it too.

    Args:
        label: last said; None while it is withheld.
        threshold: that the label goes by.
    """
    return threshold if label is True else None


def reaching(drawn: Values, anomaly_map: Values, threshold: float) -> npt.NDArray[np.bool_]:
    """Where a map that was drawn in another size reaches the threshold.

    Between the points of a map its highest one can be lost. What reaches the threshold before reaches it
    afterwards: then the highest that is left does.

    Args:
        drawn: `[H, W]`, the map in the size of the picture.
        anomaly_map: `[h, w]`, as it was sent.
        threshold: `level` of the frame.

    Returns:
        `[H, W]`; NaN never reaches it.
    """
    inside = np.asarray(drawn >= threshold)
    if inside.any() or not (anomaly_map >= threshold).any():
        return inside
    return np.asarray(drawn >= np.nanmax(drawn))


def resized(values: Values, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """`[h, w]` in another size, (width, height)."""
    way = cv2.INTER_AREA if _shrinks(values, size) else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(values.astype(np.float32), size, interpolation=way), np.float32)


def region(inside: npt.NDArray[np.bool_], size: tuple[int, int]) -> Region:
    """0/1 in another size; a single pixel is not lost where it shrinks."""
    whole = inside.astype(np.float32)
    if _shrinks(inside, size):
        made = resized(whole, size)
    else:
        made = np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_NEAREST), np.float32)
    return np.asarray(made > 0, np.uint8)


def reached(anomaly_map: Values, threshold: float, size: tuple[int, int]) -> Region:
    """0/1 where the map reaches the threshold: of a grid that grows, as smooth as it is drawn."""
    if _shrinks(anomaly_map, size):
        return region(anomaly_map >= threshold, size)
    far = float(np.finfo(np.float32).max)
    known = np.nan_to_num(anomaly_map, nan=-far, posinf=far, neginf=-far)
    return np.asarray(reaching(resized(known, size), known, threshold), np.uint8)


def draw_line(picture: Frame, inside: Region) -> None:
    """The outline of what reaches the threshold."""
    contours, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for colour, width in ((HALO, 3), (LINE, 1)):
        cv2.drawContours(picture, contours, -1, colour, width)


def draw_mask(picture: Frame, truth: Region) -> None:
    """Tint the true mask and line it, from the outside, so that a thin one is a line that can be seen."""
    inside = truth == 1
    tint = np.array(MASK, np.float64)
    picture[inside] = np.rint(0.65 * picture[inside] + 0.35 * tint).astype(np.uint8)
    grown = cv2.dilate(truth, np.ones((5, 5), np.uint8)) == 1
    picture[grown & ~inside] = MASK


def _shrinks(values: npt.NDArray[Any], size: tuple[int, int]) -> bool:
    return bool(values.shape[1] > size[0] or values.shape[0] > size[1])

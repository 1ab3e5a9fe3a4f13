"""A map as a picture: for who cannot, or may not, run scripts."""

import cv2
import numpy as np

from streamer.maps import interpolate
from streamer.overlays import Scale, colours, with_legend

_MOST_PIXELS = 4_000_000


def map_as_png(content: bytes, rows: int, cols: int, scale: int, threshold: float | None) -> bytes:
    """The scores of patches in the page's colours, over the legend of this picture's own scale.

    Args:
        content: rows x cols float32, little-endian, row by row.
        scale: pixels a patch; fewer where the picture would have more than four million.
        threshold: of the frame; None where it has none.

    Returns:
        A PNG: the map of (rows * scale, cols * scale) pixels, with corners aligned as the browser draws it,
        and below it the legend, at least 120 pixels wide.
    """
    grid = np.frombuffer(content, "<f4").reshape(rows, cols)
    while scale > 1 and rows * cols * scale * scale > _MOST_PIXELS:
        scale -= 1
    span = Scale.about(threshold, grid)
    drawn = colours(interpolate(grid, (rows * scale, cols * scale)), span)
    encoded: bytes = cv2.imencode(".png", with_legend(drawn, span, threshold))[1].tobytes()
    return encoded

"""A map as a picture: for who cannot, or may not, run scripts."""

import cv2
import numpy as np

_MOST_PIXELS = 4_000_000


def map_as_png(content: bytes, rows: int, cols: int, scale: int) -> bytes:
    """The scores of patches from their least to their greatest, in the colours of cividis.

    Args:
        content: rows x cols float32, little-endian, row by row.
        scale: pixels a patch; fewer where the picture would have more than four million.

    Returns:
        A PNG of (rows * scale, cols * scale) pixels, with corners aligned as the browser draws it.
    """
    grid = np.frombuffer(content, "<f4").reshape(rows, cols)
    while scale > 1 and rows * cols * scale * scale > _MOST_PIXELS:
        scale -= 1
    low, high = float(grid.min()), float(grid.max())
    share = (grid - low) / (high - low) if high > low else np.zeros_like(grid)
    down, right = (np.linspace(0, size - 1, size * scale, dtype=np.float32) for size in (rows, cols))
    x, y = np.meshgrid(right, down)
    drawn = cv2.remap(share.astype(np.float32), x, y, cv2.INTER_LINEAR)
    coloured = cv2.applyColorMap(np.rint(255 * drawn).astype(np.uint8), cv2.COLORMAP_CIVIDIS)
    encoded: bytes = cv2.imencode(".png", coloured)[1].tobytes()
    return encoded

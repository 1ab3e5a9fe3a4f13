"""Connected regions of an anomaly map at or above the threshold."""

import cv2
import numpy as np
import numpy.typing as npt

from musc_online.score import Region

MAX_REGIONS = 64


def find(
    anomaly_map: npt.NDArray[np.float32], threshold: float, frame_shape: tuple[int, int] | None
) -> list[Region]:
    """Bounding boxes of what is at or above the threshold, worst first, at most 64.

    Args:
        anomaly_map: `[S, S]`.
        threshold: on raw scores, so that an image labelled anomalous has at least one region.
        frame_shape: (height, width) of the frame, to whose pixels boxes are scaled; None keeps map pixels.

    Returns:
        `(x, y, width, height, score)`, score being the region's maximum.
    """
    above = (anomaly_map >= threshold).astype(np.uint8)
    if not above.any():
        return []
    count, components, boxes, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
    height, width = frame_shape or anomaly_map.shape
    across, down = width / anomaly_map.shape[1], height / anomaly_map.shape[0]
    peaks = np.zeros(count, np.float32)
    inside = components > 0
    np.maximum.at(peaks, components[inside].astype(np.intp), anomaly_map[inside])
    regions = []
    for label in range(1, count):
        left, top, box_width, box_height = (int(value) for value in boxes[label, :4])
        x, y = int(left * across), int(top * down)
        right = min(width, int(np.ceil((left + box_width) * across)))
        bottom = min(height, int(np.ceil((top + box_height) * down)))
        regions.append((x, y, right - x, bottom - y, float(peaks[label])))
    return sorted(regions, key=lambda region: -region[4])[:MAX_REGIONS]

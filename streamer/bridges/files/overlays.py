"""The picture of one verdict: frame, map over frame, and outline, as a file's bytes."""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from streamer import images, outlines, overlays
from streamer.bridges import plain
from streamer.bridges.files.config import Overlays
from streamer.bridges.sink import Item
from streamer.errors import WireError
from streamer.images.whole import declared_size
from streamer.maps import decode_map
from streamer.wire.checks import Limits, check_size

_LIMITS = Limits()


def wanted(item: Item, section: Overlays) -> bool:
    """Whether a verdict gets a picture: it has something to show, and makes its frame anomalous.

    With `of: all` the first verdict of every frame, too. A revision that says what was told before has none.
    """
    if section.of == "none" or item.kind != "verdict" or (item.picture is None and item.payload is None):
        return False
    turned = plain.label(item.header.get("pred_label")) is True and item.before is not True
    return turned or (section.of == "all" and plain.what(item) == "provisional")


def drawn(item: Item, section: Overlays) -> bytes:
    """A JPEG or PNG of frame, heat map and outline side by side.

    Without a map it is the frame alone; without a frame the map is drawn alone.

    Raises:
        WireError: the picture or the map is damaged, or larger than any is.
    """
    frame = None if item.picture is None else _decoded(item.picture)
    entry = item.header.get("anomaly_map")
    anomaly_map = None
    if item.payload is not None and isinstance(entry, Mapping):
        anomaly_map = decode_map(entry, item.payload)
        if not np.isfinite(anomaly_map).all():
            raise WireError("undecodable", "overlay: a value of the map is NaN or infinite")
    if anomaly_map is None:
        if frame is None:
            raise WireError("undecodable", "overlay: there is neither a picture nor a map")
        canvas = frame
    else:
        canvas = _over(frame, anomaly_map, item.header)
    options = [cv2.IMWRITE_JPEG_QUALITY, section.quality] if section.format == "jpeg" else []
    done, buffer = cv2.imencode(".jpg" if section.format == "jpeg" else ".png", canvas, options)
    if not done:
        raise WireError("bad_encoding", f"overlay: OpenCV cannot write it as {section.format}")
    return buffer.tobytes()


def _decoded(picture: bytes) -> images.Frame:
    check_size(*declared_size(picture, "jpeg"), _LIMITS)
    return images.decode_file(picture)


def _over(frame: images.Frame | None, anomaly_map: npt.NDArray[np.float32], header: Any) -> images.Frame:
    threshold = _number(header.get("threshold"))
    scale = overlays.Scale.about(threshold, anomaly_map)
    level = outlines.level(plain.label(header.get("pred_label")), threshold)
    return overlays.with_legend(overlays.panels(frame, anomaly_map, scale, level), scale, threshold)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
        return None
    return float(value)

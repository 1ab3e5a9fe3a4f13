"""Pictures for a person: the frame, its anomaly map, and the contour where the map is above the threshold."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

import cv2
import numpy as np
import numpy.typing as npt

from streamer import images
from streamer.errors import StreamerError
from streamer.wire.published import Message

_SIDE = 320


def write(
    messages: Sequence[Message], paths: Mapping[str, Path], folder: Path, most: int = 6, least: int = 2
) -> list[Path]:
    """Overlays of the most and the least anomalous frames.

    Args:
        messages: final scores with maps.
        paths: image file of each frame id.
        folder: made if missing.
        most, least: how many of each.

    Returns:
        The files written, named by rank.

    Raises:
        StreamerError: the folder cannot be written.
    """
    with_map = [message for message in messages if message.anomaly_map is not None]
    ranked = sorted(with_map, key=lambda message: -float(message["raw_score"] or 0.0))
    # The last ones only where they are not among the first already.
    chosen = list(enumerate(ranked, 1))[:most] + list(enumerate(ranked, 1))[most:][-least:]
    maps = [message.anomaly_map for message in ranked if message.anomaly_map is not None]
    if not maps:
        return []
    # One scale for all: a map of noise must look like noise.
    low, high = min(float(one.min()) for one in maps), max(float(one.max()) for one in maps)
    written = []
    for rank, message in chosen:
        name = f"{rank:03d}-{PurePath(str(message['frame_id'])).with_suffix('').as_posix().replace('/', '-')}"
        target = folder / f"{name[:60]}.png"  # file names have an end; ranks tell them apart
        frame = images.decode_file(paths[str(message["frame_id"])].read_bytes())
        assert message.anomaly_map is not None  # noqa: S101 - chosen above
        picture = draw(frame, message.anomaly_map, _reached(message), low, high)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            target.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
        except OSError as error:
            raise StreamerError(f"{target}: cannot be written ({error.strerror})") from None
        written.append(target)
    return written


def _reached(message: Message) -> float | None:
    """The threshold, if the frame's raw score reaches it: only then the map above it means anything."""
    raw, threshold = message.get("raw_score"), message.get("threshold")
    return threshold if raw is not None and threshold is not None and raw >= threshold else None


def draw(
    frame: images.Frame,
    anomaly_map: npt.NDArray[np.float32],
    threshold: float | None,
    low: float,
    high: float,
) -> images.Frame:
    """Frame, map over frame, and contour side by side, uint8 BGR; 320 pixels the frame's larger side.

    Args:
        frame: `[H, W, 3]` uint8 BGR.
        anomaly_map: `[h, w]` of the whole frame.
        threshold: contour level, None for no contour.
        low, high: range of the colour scale.
    """
    height, width = frame.shape[:2]
    scale = _SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    plain = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    values = cv2.resize(anomaly_map, size, interpolation=cv2.INTER_LINEAR)
    levels = np.clip((values - low) / max(high - low, 1e-12) * 255, 0, 255).astype(np.uint8)
    heat = cv2.addWeighted(plain, 0.45, cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), 0.55, 0)
    outlined = plain.copy()
    if threshold is not None:
        above = (values > threshold).astype(np.uint8)
        contours, _ = cv2.findContours(above, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(outlined, contours, -1, (0, 0, 255), 2)
    return np.hstack([plain, heat, outlined]).astype(np.uint8)

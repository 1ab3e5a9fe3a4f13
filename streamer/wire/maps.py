"""An anomaly map as the third part of a score message.

`png16`: a 16-bit greyscale PNG of `n` with `value = min + n / 65535 * (max - min)`; off by at most
`(max - min) / 131070`. `float32`: the values themselves, little-endian, row by row.
"""

from collections.abc import Mapping
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from streamer.errors import WireError

MapEncoding = Literal["png16", "float32"]


def encode(anomaly_map: npt.NDArray[np.float32], encoding: MapEncoding) -> tuple[dict[str, Any], bytes]:
    """The header's `anomaly_map` entry `{"encoding", "shape", "min", "max"}` and the part itself.

    Args:
        anomaly_map: `[H, W]`, finite.
        encoding: see above.
    """
    low, high = float(anomaly_map.min()), float(anomaly_map.max())
    entry = {"encoding": encoding, "shape": list(anomaly_map.shape), "min": low, "max": high}
    if encoding == "float32":
        return entry, anomaly_map.astype("<f4").tobytes()
    scale = 65535.0 / (high - low) if high > low else 0.0
    levels = np.rint((anomaly_map.astype(np.float64) - low) * scale).astype(np.uint16)
    _, buffer = cv2.imencode(".png", levels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return entry, buffer.tobytes()


def decode(entry: Mapping[str, Any], payload: bytes) -> npt.NDArray[np.float32]:
    """The map `[H, W]` float32 of a score message.

    Raises:
        WireError: the payload is not what the entry says.
    """
    try:
        height, width = entry["shape"]
        if entry["encoding"] == "float32":
            return np.frombuffer(payload, "<f4").reshape(height, width).astype(np.float32)
        if entry["encoding"] != "png16":
            raise WireError("bad_encoding", f"anomaly_map: unknown encoding {entry['encoding']!r}")
        levels = cv2.imdecode(np.frombuffer(payload, np.uint8), cv2.IMREAD_UNCHANGED)
        if levels is None or levels.dtype != np.uint16 or levels.shape != (height, width):
            raise WireError("undecodable", f"anomaly_map: the PNG is not {height} x {width}, 16 bit")
        values = entry["min"] + levels.astype(np.float64) / 65535.0 * (entry["max"] - entry["min"])
    except (KeyError, TypeError, ValueError, cv2.error) as error:
        raise WireError("undecodable", f"anomaly_map: {' '.join(str(error).split())}") from None
    return np.asarray(values, np.float32)

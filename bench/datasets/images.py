"""Frames from disk, decoded as the service decodes them, and masks as the published code reads them."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bench.datasets.tree import MaskRule, Sample
from musc_online.errors import DataError
from streamer.errors import WireError
from streamer.images import Decoded, read_file, sniff
from streamer.wire.checks import BitDepth

if TYPE_CHECKING:
    from PIL import Image

Bytes = npt.NDArray[np.uint8]
# The least grey, 0 to 255, of an anomalous pixel of the resized mask.
_LEAST: dict[MaskRule, int] = {"whole": 255, "touched": 1, "half": 128}


def read_frame(path: Path, bit_depth: BitDepth = "auto") -> Bytes:
    """`read_image` without what is odd about it: `[H, W, 3]` uint8, BGR."""
    return read_image(path, bit_depth).frame


def read_image(path: Path, bit_depth: BitDepth = "auto") -> Decoded:
    """Decode one image.

    Args:
        path: of the file.
        bit_depth: of an image of more than 8 bits, as `Sample.bit_depth` says it.

    Returns:
        `[H, W, 3]` uint8, BGR, as `streamer.images.read_file` says: what a camera's frame is decoded by; and
        what is odd about it. 8-bit files give the pixels of PIL's `convert("RGB")` in the published readers;
        16-bit grey, which PIL would clip, is scaled.

    Raises:
        DataError: missing, empty, truncated or no image, or pixels that `bit_depth` does not fit.
    """
    try:
        return read_file(path.read_bytes(), bit_depth)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file, expected an image") from None
    except (OSError, WireError) as error:
        raise _unreadable(path, error) from None


def read_mask(sample: Sample, size: int | tuple[int, int]) -> Bytes:
    """The ground truth of one image, resized to the anomaly map.

    Args:
        sample: whose masks are read.
        size: (height, width) of the map, or the side of a square one.

    Returns:
        `[height, width]` uint8, 1 = anomalous; zeros for a normal sample.

    The published readers resize a mask as they resize an image, bilinear with antialias, and then differ:
    for MVTec AD and BTAD the fraction is cut to an integer when metrics are computed, so a pixel counts only
    if it is `whole`ly anomalous; for VisA every pixel that is `touched` counts. Datasets they do not read
    count a pixel if at least `half` of it is anomalous. `sample.mask_rule` says which.
    Except for `touched`, any nonzero pixel of the file is anomalous before resizing (a mask of 0 and 1 would
    vanish in the published code). A mask of JPEG, or of lossy WebP, has noise beside its edges: there what
    reaches half of the brightest pixel is anomalous, under every rule. Where nothing but the transparency
    varies, it is the mask; otherwise what is transparent is not anomalous.

    Raises:
        DataError: a mask is missing, unreadable or not of the image's size; or the image is not normal and
            nobody drew one.
    """
    shape = (size, size) if isinstance(size, int) else size
    union = np.zeros(shape, np.bool_)
    if not sample.mask_paths:
        if sample.label != 0:
            kind = "of unknown label" if sample.label is None else "defective"
            raise DataError(
                f"{sample.path}: the image is {kind} and has no mask, expected one to measure pixels"
            )
        return union.astype(np.uint8)
    frame_size = _size(sample)
    for path in sample.mask_paths:
        mask = _open(path)
        if mask.size != frame_size:
            raise DataError(
                f"{path}: mask is {mask.width}x{mask.height}, expected the {frame_size[0]}x{frame_size[1]} "
                f"of its image {sample.path}"
            )
        union |= _resized(mask, shape, sample.mask_rule)
    return union.astype(np.uint8)


def _resized(mask: "Image.Image", shape: tuple[int, int], rule: MaskRule) -> npt.NDArray[np.bool_]:
    from PIL import Image  # noqa: PLC0415  (a camera host, which has none, can ask a command for help)

    values, lossy = _values(mask), _is_lossy(mask)
    if lossy:
        values = np.where(2 * values > values.max(), 255, 0)
    if rule != "touched" or lossy:
        mask = Image.fromarray((values > 0).astype(np.uint8) * np.uint8(255))
    elif _has_alpha(mask):
        mask = Image.fromarray(values.astype(np.uint8))
    else:
        mask = mask.convert("L")
    resized: Bytes = np.asarray(mask.resize(shape[::-1], Image.Resampling.BILINEAR))
    return resized >= _LEAST[rule]


def _values(mask: "Image.Image") -> npt.NDArray[np.int64]:
    """`[H, W]`: the largest channel, so that a defect drawn in colour is seen; 0 where it is transparent."""
    if _has_alpha(mask):
        colours = np.asarray(mask.convert("RGBA")).astype(np.int64)
        largest: npt.NDArray[np.int64] = colours[..., :3].max(axis=2)
        alpha = colours[..., 3]
        if np.ptp(alpha) == 0:
            return largest
        return alpha if np.ptp(largest) == 0 else largest * (alpha > 0)
    if mask.mode in ("P", "CMYK"):
        mask = mask.convert("RGB")
    array = np.asarray(mask).astype(np.int64)
    return array.max(axis=2) if array.ndim == 3 else array


def _has_alpha(mask: "Image.Image") -> bool:
    return mask.mode in ("PA", "LA", "RGBA") or "transparency" in mask.info


def _is_lossy(mask: "Image.Image") -> bool:
    return mask.format == "JPEG" or bool(mask.info.get("lossy"))


def _size(sample: Sample) -> tuple[int, int]:
    """(width, height) of the image; PIL does not know every TIFF that is decoded, of floats above all."""
    try:
        with _open_header(sample.path) as frame:
            return frame.size
    except DataError:
        height, width, _ = read_frame(sample.path, sample.bit_depth).shape
        return width, height


def _open_header(path: Path) -> "Image.Image":
    from PIL import Image  # noqa: PLC0415  (a camera host, which has none, can ask a command for help)

    try:
        return Image.open(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file, expected an image") from None
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from None


def _open(path: Path) -> "Image.Image":
    with _open_header(path) as image:
        try:
            content = path.read_bytes()
            if sniff(content) is not None:
                read_file(content)  # which refuses what PIL fills in and says nothing about
            image.load()
        except (OSError, ValueError, SyntaxError, WireError) as error:  # PIL: a broken PNG is a SyntaxError
            raise _unreadable(path, error) from None
        # Of WebP, PIL does not say which of the two kinds of compression it has.
        image.info["lossy"] = image.format == "WEBP" and b"VP8 " in content
        return image


def _unreadable(path: Path, error: Exception) -> DataError:
    said = error.text.removeprefix("payload: ") if isinstance(error, WireError) else str(error)
    detail = " ".join(said.replace(str(path), "").split())
    size = path.stat().st_size if path.is_file() else 0
    return DataError(
        f"{path}: cannot be decoded ({detail or type(error).__name__}); {size} bytes, expected an image"
    )

"""Pixels as a GenICam camera sends them to those that a detector takes: unpacked, and Bayer as BGR."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from streamer import images
from streamer.errors import StreamerError

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint16]

_GROUPS_AT_A_TIME, _ROWS_AT_A_TIME = 1 << 14, 16
# What is worked on stays in the cache.
_SMALLEST_BAYER = 3
# OpenCV answers with black for less.


@dataclass(frozen=True)
class PixelFormat:
    """One of the standard's pixel formats (PFNC).

    Attributes:
        name: as cameras spell it.
        code: its 32 bits.
        bits: in use of each value: 8, 10, 12, 14 or 16.
        packing: of values beyond 8 bits: "" in 16-bit words, little-endian; `gige` two of them in three bytes
            (GigE Vision's `Packed`); `lsb` one after the other from the lowest bit on (`p`).
        colours: "mono", the upper left 2 x 2 of a Bayer mosaic ("RGGB"), "RGB" or "BGR".
    """

    name: str
    code: int
    bits: int
    packing: str = ""
    colours: str = "mono"

    def n_bytes(self, width: int, height: int) -> int:
        """Of a picture of so many pixels whose rows are not padded."""
        return -(-width * height * self.bits_per_pixel // 8)

    @property
    def bits_per_pixel(self) -> int:
        """On the wire."""
        return (self.code >> 16) & 0xFF


_BAYER = {"GR": "GRBG", "RG": "RGGB", "GB": "GBRG", "BG": "BGGR"}
_TO_BGR = {
    "GRBG": cv2.COLOR_BayerGRBG2BGR,
    "RGGB": cv2.COLOR_BayerRGGB2BGR,
    "GBRG": cv2.COLOR_BayerGBRG2BGR,
    "BGGR": cv2.COLOR_BayerBGGR2BGR,
}


def _known() -> Iterator[PixelFormat]:
    yield PixelFormat("Mono8", 0x01080001, 8)
    for bits, code in ((10, 0x01100003), (12, 0x01100005), (14, 0x01100025), (16, 0x01100007)):
        yield PixelFormat(f"Mono{bits}", code, bits)
    yield PixelFormat("Mono10Packed", 0x010C0004, 10, "gige")
    yield PixelFormat("Mono12Packed", 0x010C0006, 12, "gige")
    yield PixelFormat("Mono10p", 0x010A0046, 10, "lsb")
    yield PixelFormat("Mono12p", 0x010C0047, 12, "lsb")
    # The standard numbers the orders one after the other: GR, RG, GB, BG; of `p` the other way round.
    for i, (order, mosaic) in enumerate(_BAYER.items()):
        yield PixelFormat(f"Bayer{order}8", 0x01080008 + i, 8, colours=mosaic)
        yield PixelFormat(f"Bayer{order}10", 0x0110000C + i, 10, colours=mosaic)
        yield PixelFormat(f"Bayer{order}12", 0x01100010 + i, 12, colours=mosaic)
        yield PixelFormat(f"Bayer{order}16", 0x0110002E + i, 16, colours=mosaic)
        yield PixelFormat(f"Bayer{order}10Packed", 0x010C0026 + i, 10, "gige", mosaic)
        yield PixelFormat(f"Bayer{order}12Packed", 0x010C002A + i, 12, "gige", mosaic)
    for i, order in enumerate(("BG", "GB", "GR", "RG")):
        yield PixelFormat(f"Bayer{order}10p", 0x010A0052 + 2 * i, 10, "lsb", _BAYER[order])
        yield PixelFormat(f"Bayer{order}12p", 0x010C0053 + 2 * i, 12, "lsb", _BAYER[order])
    yield PixelFormat("RGB8", 0x02180014, 8, colours="RGB")
    yield PixelFormat("BGR8", 0x02180015, 8, colours="BGR")


FORMATS = {one.code: one for one in _known()}
"""Those that can be used, by code."""


def format_of(code: int) -> PixelFormat:
    """The format of a code.

    Raises:
        StreamerError: none of those that can be used.
    """
    try:
        return FORMATS[code]
    except KeyError:
        raise StreamerError(
            f"pixel_format: the camera sends code 0x{code:08x}, expected one of {names()}; choose one with "
            "?pixel_format=NAME"
        ) from None


def names() -> str:
    """The names of `FORMATS`, in a list to read; the orders of Bayer in one."""
    bits = "8, 10, 12, 16, 10p, 12p, 10Packed or 12Packed"
    mono = ", ".join(one.name for one in FORMATS.values() if one.colours == "mono")
    return f"{mono}, RGB8, BGR8, or Bayer with GR, RG, GB or BG and {bits}"


def to_pixels(data: Bytes, wanted: PixelFormat, width: int, height: int, padding: int = 0) -> images.Pixels:
    """One picture's bytes as pixels that are nobody else's.

    Args:
        data: `[N]` uint8, as the camera sent it; what is behind the picture is left out.
        wanted: how to read it.
        width: in pixels, at least 1.
        height: in pixels, at least 1.
        padding: bytes behind each row.

    Returns:
        Mono8 `[H, W]` uint8; other Mono `[H, W]` uint16 with values as they are (`wanted.bits` of them in
        use); Bayer and RGB `[H, W, 3]` uint8 BGR, of more than 8 bits the upper 8.

    Raises:
        StreamerError: fewer bytes than the picture has, or a Bayer mosaic of less than 3 x 3.
    """
    if padding:
        data = _without_padding(data, wanted, width, height, padding)
    n_bytes = wanted.n_bytes(width, height)
    if len(data) < n_bytes:
        raise StreamerError(
            f"{wanted.name}: got {len(data)} bytes, expected {n_bytes} of {width} x {height} pixels"
        )
    data = data[:n_bytes]
    if wanted.colours in {"RGB", "BGR"}:
        pixels = data.reshape(height, width, 3)
        return pixels.copy() if wanted.colours == "BGR" else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    values = _values(data, wanted, width * height).reshape(height, width)
    if wanted.colours == "mono":
        return values.copy() if np.shares_memory(values, data) else values
    if min(width, height) < _SMALLEST_BAYER:
        raise StreamerError(
            f"{wanted.name}: got {width} x {height} pixels, expected at least 3 x 3 of a Bayer mosaic"
        )
    # Cut first, as a camera does that sends 8 of its bits: the other way round costs four times as much, and
    # no value differs by more than 1.
    eight = values if wanted.bits == 8 else _upper_eight(values, wanted.bits)
    return cv2.cvtColor(eight, _TO_BGR[wanted.colours])


def _without_padding(data: Bytes, wanted: PixelFormat, width: int, height: int, padding: int) -> Bytes:
    n_row = wanted.n_bytes(width, 1)
    if width * wanted.bits_per_pixel % 8:
        raise StreamerError(
            f"{wanted.name}: rows of {width} pixels end within a byte and are padded; expected whole bytes: "
            "choose another width, or a format that is not packed"
        )
    if len(data) < height * (n_row + padding) - padding:
        raise StreamerError(
            f"{wanted.name}: got {len(data)} bytes, expected {height} rows of {n_row + padding}"
        )
    rows = np.lib.stride_tricks.as_strided(data, (height, n_row), (n_row + padding, 1), writeable=False)
    return np.ascontiguousarray(rows).reshape(-1)


def _values(data: Bytes, wanted: PixelFormat, count: int) -> images.Pixels:
    if wanted.bits == 8:
        return data
    if not wanted.packing:
        return data.view("<u2").astype(np.uint16, copy=False)
    return _unpacked(data, count, *_GROUPS[wanted.packing, wanted.bits])


def _unpacked(data: Bytes, count: int, n_bytes: int, n_values: int, unpack: "_Unpack") -> Words:
    n_groups = -(-count // n_values)
    if len(data) < n_groups * n_bytes:  # the last group is not full
        data = np.concatenate((data, np.zeros(n_groups * n_bytes - len(data), np.uint8)))
    groups = data.reshape(n_groups, n_bytes)
    values = np.empty((n_groups, n_values), np.uint16)
    for first in range(0, n_groups, _GROUPS_AT_A_TIME):
        some = slice(first, first + _GROUPS_AT_A_TIME)
        unpack(groups[some].astype(np.uint16), values[some])
    return values.reshape(-1)[:count]


_Unpack = Callable[[Words, Words], None]


def _gige_10(b: Words, values: Words) -> None:
    values[:, 0] = b[:, 0] << 2 | b[:, 1] & 0x3
    values[:, 1] = b[:, 2] << 2 | b[:, 1] >> 4 & 0x3


def _gige_12(b: Words, values: Words) -> None:
    values[:, 0] = b[:, 0] << 4 | b[:, 1] & 0xF
    values[:, 1] = b[:, 2] << 4 | b[:, 1] >> 4


def _lsb_10(b: Words, values: Words) -> None:
    for i in range(4):
        values[:, i] = (b[:, i] >> 2 * i | b[:, i + 1] << 8 - 2 * i) & 0x3FF


def _lsb_12(b: Words, values: Words) -> None:
    values[:, 0] = b[:, 0] | (b[:, 1] & 0xF) << 8
    values[:, 1] = b[:, 1] >> 4 | b[:, 2] << 4


_GROUPS: dict[tuple[str, int], tuple[int, int, _Unpack]] = {
    ("gige", 10): (3, 2, _gige_10),
    ("gige", 12): (3, 2, _gige_12),
    ("lsb", 10): (5, 4, _lsb_10),
    ("lsb", 12): (3, 2, _lsb_12),
}
"""Bytes of a group, values in it, and how they come out of it."""


def _upper_eight(values: images.Pixels, bits: int) -> images.Frame:
    """As the detector cuts what it is sent with more bits; brighter than they allow is white."""
    cut = np.empty(values.shape, np.uint8)
    for first in range(0, len(values), _ROWS_AT_A_TIME):
        some = slice(first, first + _ROWS_AT_A_TIME)
        cut[some] = np.minimum(values[some] >> (bits - 8), 255)
    return cut

"""Pixels of any depth to the 8 bits that are scored: the bits that a camera uses, and numbers of 0 to 1."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from streamer.errors import WireError
from streamer.wire.checks import BitDepth

Frame = npt.NDArray[np.uint8]
Pixels = npt.NDArray[Any]
"""uint8, uint16 or floating-point: `[H, W]` or `[H, W, 1]` grey, `[H, W, 3]` BGR, or with alpha `[H, W, 2]`
or `[H, W, 4]`."""
Warned = tuple[str, str]
"""Code and one line of something odd about a picture that is used all the same."""

INTEGER_DEPTHS: tuple[BitDepth, ...] = (8, 10, 12, 14, 16)
_ROWS = 64
# Converted or compared at a time.
_STEP = 8
# Every so many rows and columns are looked at first: hardly any picture is constant there.


@dataclass(frozen=True, eq=False)
class Decoded:
    """A picture as it is scored, `[H, W, 3]` uint8 BGR, and what is odd about it."""

    frame: Frame
    warnings: tuple[Warned, ...] = ()


def to_frame(pixels: Pixels, bit_depth: BitDepth = "auto", *, inverted: bool = False) -> Decoded:
    """Pixels of any depth and number of channels as the frame that is scored.

    Alpha is dropped, grey becomes three equal channels. Of 16-bit pixels the upper eight of the bits in use
    are kept, as a camera does that sends 8 of its 12: 16 are `value >> 8` (as OpenCV reads them), 12 are
    `value >> 4`, and what is brighter than `bit_depth` allows is white. Floating-point pixels are 0 to 1
    (`value * 255`, rounded), or with a number of bits what integers of so many bits would be.

    Args:
        pixels: as `Pixels` says, at least one.
        bit_depth: of `pixels`; says nothing of uint8. `auto` takes all 16 bits, and floats of 0 to 1.
        inverted: 0 is white.

    Returns:
        The frame, with warnings `bit_depth_unsure`, `above_bit_depth`, `constant_image`.

    Raises:
        WireError: `not_finite`; `bad_value`: floats beyond 0 to 1 of which nobody said what they are, or
            integers said to be floats.
    """
    colours = without_alpha(pixels)
    warnings: tuple[Warned, ...] = ()
    if colours.dtype == np.uint8:
        frame = colours
    elif colours.dtype == np.uint16:
        frame, warnings = _of_integers(colours, bit_depth)
    else:
        frame, warnings = _of_floats(colours, bit_depth)
    if inverted:
        frame = 255 - frame
    frame = three_channels(frame)
    return Decoded(frame, (*warnings, *_if_constant(frame)))


def bits_for(largest: int) -> BitDepth:
    """The smallest of 8, 10, 12, 14 and 16 bits that hold a value; 16 beyond that."""
    return next((bits for bits in INTEGER_DEPTHS if largest < 2 ** int(bits)), 16)


def without_alpha(pixels: Pixels) -> Pixels:
    """Grey, with or without its axis, or BGR: of two channels the first, of four the first three."""
    if pixels.ndim == 3 and pixels.shape[2] in {2, 4}:
        return pixels[..., : pixels.shape[2] - 1]
    return pixels


def three_channels(frame: Frame) -> Frame:
    """`[H, W]`, `[H, W, 1]` or `[H, W, 3]` as contiguous `[H, W, 3]`."""
    grey = frame[..., None] if frame.ndim == 2 else frame
    return np.ascontiguousarray(grey if grey.shape[2] == 3 else np.repeat(grey, 3, axis=2))


def _of_integers(pixels: npt.NDArray[np.uint16], bit_depth: BitDepth) -> tuple[Frame, tuple[Warned, ...]]:
    if bit_depth == "float":
        raise WireError(
            "bad_value", "bit_depth: got float, but the pixels are 16-bit integers; expected 8 to 16, or auto"
        )
    largest = int(pixels.max())
    used = bits_for(largest)
    warnings: tuple[Warned, ...] = ()
    bits = 16 if bit_depth == "auto" else bit_depth
    if bit_depth == "auto" and largest > 0 and used != 16:
        text = (
            f"bit_depth: the pixels use {used} of 16 bits and nobody says which; taken as 16, which may be "
            f"dark: say bit_depth {used} (or 16) in the header, with --bit-depth or in the configuration"
        )
        warnings = (("bit_depth_unsure", text),)
    elif largest >= 2**bits:
        warnings = (_above(bits, f"{largest}", f"{2**bits - 1}"),)
    top, shift = np.uint16(2**bits - 1), np.uint16(bits - 8)
    return _by_rows(pixels, lambda rows: np.minimum(rows, top) >> shift), warnings


def _of_floats(
    pixels: npt.NDArray[np.floating[Any]], bit_depth: BitDepth
) -> tuple[Frame, tuple[Warned, ...]]:
    low, high = float(pixels.min()), float(pixels.max())  # either is NaN where a pixel is
    if not np.isfinite((low, high)).all():
        raise WireError("not_finite", "payload: a pixel is NaN or infinite, expected finite numbers")
    bits = None if bit_depth in {"auto", "float"} else int(bit_depth)
    white = 1.0 if bits is None else 2.0**bits - 1.0
    if bits is not None and low >= 0.0 and high <= 1.0 and (pixels % 1.0).any():
        raise WireError(
            "bad_value",
            f"bit_depth: got {bits}, but floating-point pixels reach from {low:g} to {high:g} and would be "
            "black; expected float",
        )
    warnings: tuple[Warned, ...] = ()
    if low < 0.0 or high > white:
        span = f"{low:g} to {high:g}"
        if bit_depth == "auto":
            raise WireError(
                "bad_value",
                f"bit_depth: floating-point pixels reach from {span}, expected 0 to 1; say bit_depth in the "
                "header, with --bit-depth or in the configuration: float clips them, 8, 10, 12, 14 or 16 "
                "takes them for integers of so many bits",
            )
        warnings = (_above(bit_depth, span, f"0 to {white:g}"),)
    factor = 255.0 if bits is None else 2.0 ** (8 - bits)
    rounded = np.rint if bits is None else np.floor
    return _by_rows(pixels, lambda rows: rounded(np.clip(rows, 0.0, white) * factor)), warnings


def _by_rows(pixels: Pixels, convert: Callable[[Pixels], Pixels]) -> Frame:
    """Some rows at a time: what is computed between takes little memory, however large the picture."""
    frame = np.empty(pixels.shape, np.uint8)
    for first in range(0, len(pixels), _ROWS):
        frame[first : first + _ROWS] = convert(pixels[first : first + _ROWS])
    return frame


def _above(bit_depth: BitDepth, got: str, expected: str) -> Warned:
    text = f"bit_depth: pixels of {got} do not fit {bit_depth} ({expected}) and are clipped; say another one"
    return "above_bit_depth", text


def _if_constant(frame: Frame) -> tuple[Warned, ...]:
    first = frame[0, 0]
    if (frame[::_STEP, ::_STEP] != first).any():
        return ()
    if any((frame[row : row + _ROWS] != first).any() for row in range(0, len(frame), _ROWS)):
        return ()
    return (("constant_image", f"payload: every pixel is {first.tolist()} (BGR); scored all the same"),)

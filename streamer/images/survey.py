"""Which bits the images of a folder use: decided once, before the first is scored, and said."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from streamer import images
from streamer.errors import WireError
from streamer.images.depth import bits_for
from streamer.images.tags import Deep, deep
from streamer.images.whole import MAGIC, whole_file
from streamer.wire.checks import BitDepth

_LOOKED_AT = 32
"""Images whose pixels are looked at, evenly spread: what a folder of any size may cost."""
_PNG_HEADER = 1 << 16
# Of a PNG all that counts lies before its pixels; a TIFF has its tags anywhere.
_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")

Item = TypeVar("Item")


@dataclass(frozen=True)
class Survey:
    """The bit depth of a folder's images, and what a person should know of it (empty where nothing)."""

    bit_depth: BitDepth
    line: str = ""


def survey(paths: Sequence[Path], bit_depth: BitDepth = "auto") -> Survey:
    """The bit depth that all images of a folder or data set are read with.

    Under `auto` the smallest of 8, 10, 12, 14 and 16 bits that holds what up to 32 of the 16-bit images show,
    evenly spread, or their headers say: one depth for all, so that a dark image stays dark. Images that
    cannot be read are left to whoever reads them next.

    Args:
        paths: of the images, in any order: the outcome is the same.
        bit_depth: as it was said; a number of bits is taken as it is.

    Raises:
        WireError: `bad_value`, `not_finite`: floating-point images beyond 0 to 1 or beside 16-bit ones, or
            16-bit ones said to be floating-point.
    """
    if bit_depth not in {"auto", "float"}:
        return Survey(bit_depth)
    found = [(path, kept) for path in sorted(paths) if (kept := _deep(path)) is not None]
    floats = [path for path, kept in found if kept.is_float]
    integers = [(path, kept) for path, kept in found if not kept.is_float]
    if floats and integers:
        raise WireError(
            "bad_value",
            f"bit_depth: {floats[0]} is floating-point and {integers[0][0]} is not, expected one kind in a "
            "folder; say --bit-depth, or keep them apart",
        )
    if bit_depth == "float":
        if integers:
            raise WireError(
                "bad_value", f"bit_depth: got float, but {integers[0][0]} holds integers; expected auto"
            )
        return Survey(bit_depth)
    for path in _spread(floats):
        _check_floats(path)
    return _of_integers(integers)


def _of_integers(found: Sequence[tuple[Path, Deep]]) -> Survey:
    needed = [bits for _, kept in found if kept.kind == "tiff" for bits in (kept.significant,) if bits]
    largest = 0
    for path, kept in _spread(found):
        try:
            pixels = images.deep_pixels(whole_file(path.read_bytes(), kept.kind), kept)
        except (OSError, WireError):
            continue
        largest = max(largest, int(pixels.max()))
        stated = kept.bit_depth(pixels)
        if stated != "auto" or pixels.any():
            needed.append(int(bits_for(int(pixels.max())) if stated == "auto" else stated))
    if not needed:
        return Survey("auto")
    bits = bits_for(2 ** max(needed) - 1)
    if bits == 16 or all(kept.bits == bits for _, kept in found):
        return Survey(bits)
    return Survey(
        bits,
        f"{len(found)} images use {bits} of 16 bits (their largest value is {largest}): taken as bit_depth "
        f"{bits}; --bit-depth 16 for otherwise",
    )


def _check_floats(path: Path) -> None:
    try:
        images.read_file(path.read_bytes())
    except OSError:
        return
    except WireError as error:
        if error.code != "undecodable":
            raise WireError(error.code, f"{path}: {error.text}") from None


def _deep(path: Path) -> Deep | None:
    try:
        with path.open("rb") as file:
            head = file.read(len(MAGIC["png"]))
            if head == MAGIC["png"]:
                return deep(head + file.read(_PNG_HEADER))
            return deep(head + file.read()) if head.startswith(_TIFF) else None
    except OSError:
        return None


def _spread(found: Sequence[Item]) -> list[Item]:
    n = min(len(found), _LOOKED_AT)
    return [found[round(index * (len(found) - 1) / max(1, n - 1))] for index in range(n)]

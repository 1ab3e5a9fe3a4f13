"""Whether an image file is whole: what libjpeg and libpng would fill in and say nothing about is refused.

No pixel is made here, and the work of making them is bounded: so much for a byte of the file, so much for a
pixel that it declares.
"""

from collections.abc import Callable

from streamer.images import jpeg, png

MAGIC = {"jpeg": jpeg.MAGIC, "png": png.MAGIC}

_SIZES: dict[str, Callable[[bytes], tuple[int, int]]] = {"jpeg": jpeg.declared_size, "png": png.declared_size}
_WHOLE: dict[str, Callable[[bytes], bytes]] = {"jpeg": jpeg.whole, "png": png.whole}


def sniff(payload: bytes) -> str | None:
    """`jpeg` or `png` by the first bytes of a file, None for anything else."""
    return next((name for name, magic in MAGIC.items() if payload.startswith(magic)), None)


def declared_size(payload: bytes, encoding: str) -> tuple[int, int]:
    """(height, width) of a `jpeg` or `png` as it says itself.

    Raises:
        WireError: `undecodable`: it does not say.
    """
    return _SIZES[encoding](payload)


def whole_file(payload: bytes, encoding: str) -> bytes:
    """The file up to its end, to be decoded; of an encoding other than `jpeg` and `png` as it is.

    Raises:
        WireError: `undecodable`: truncated, damaged, or built to cost more than a picture of its size does.
    """
    return _WHOLE.get(encoding, bytes)(payload)

"""Frames of image files: of one, or of all below a folder."""

import random
from collections.abc import Callable
from pathlib import Path

from streamer import images
from streamer.dataset_folders import asked_told, classes_told, masks_told
from streamer.errors import StreamerError, WireError
from streamer.images.oddities import Oddities
from streamer.images.survey import survey
from streamer.printable import printable
from streamer.sources.captured import Captured, Frames, Skipped, mark, rounds
from streamer.sources.listing import id_of, images_in, told
from streamer.wire.checks import BitDepth


def in_order(folder: Path, shuffle: int | None, tell: Callable[[str], None]) -> list[Path]:
    """The images to send, in the order to send them; what is odd about the folder is told."""
    listing = images_in(folder)
    lines = [told(listing.left_out) if listing.left_out else ""]
    lines += [masks_told(listing.masks, folder), asked_told(folder)]
    lines.append("" if shuffle is not None else classes_told(listing.paths, folder))
    for line in filter(None, lines):
        tell(printable(f"source: {folder}: {line}"))
    # By names, not as this system compares paths: a seed's order is the same everywhere.
    paths = sorted(listing.paths, key=lambda path: path.relative_to(folder).parts)
    if shuffle is not None:
        random.Random(shuffle).shuffle(paths)  # noqa: S311 - an order, no secret
    return paths


def of_files(
    paths: list[Path],
    root: Path,
    bit_depth: BitDepth,
    tell: Callable[[str], None],
    *,
    loop: bool,
    skipped: Skipped | None,
) -> Captured:
    """Frames of image files in their order; their ids are their paths below `root`.

    Raises:
        StreamerError: their bit depths do not go together, or (later) one cannot be read.
    """
    try:
        found = survey(paths, bit_depth)
    except WireError as error:
        raise StreamerError(f"source: {error.text}") from None
    if found.line:
        tell(printable(f"source: {root}: {found.line}"))
    oddities = Oddities()
    frames = _files(paths, root, found.bit_depth, oddities, loop=loop, skipped=skipped)
    return Captured(frames, found.bit_depth, oddities)


class _BadImageError(StreamerError):
    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"source: {path} {why}")
        self.why = why


def _files(
    paths: list[Path],
    root: Path,
    bit_depth: BitDepth,
    oddities: Oddities,
    *,
    loop: bool,
    skipped: Skipped | None,
) -> Frames:
    for number in rounds(loop=loop):
        n_read = 0
        for path in paths:
            frame_id = id_of(path, root)
            try:
                content = _read(path, frame_id, bit_depth, oddities, whole=skipped is not None)
            except _BadImageError as error:
                if skipped is None:
                    raise
                skipped(frame_id, error.why)
                continue
            n_read += 1
            yield f"{frame_id}{mark(number)}", content
        if n_read == 0:
            raise StreamerError(f"source: {root}: none of {len(paths)} images can be read")


def _read(
    path: Path, name: str, bit_depth: BitDepth, oddities: Oddities, *, whole: bool
) -> images.Frame | bytes:
    """The bytes of a JPEG or PNG file as they are, of any other image its pixels.

    Args:
        path: of the file.
        name: its id, of what `oddities` is told of it.
        bit_depth: of images of more than 8 bits.
        oddities: what is odd about those that are decoded.
        whole: decode files of JPEG and PNG too, to see whether they are damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _BadImageError(path, f"cannot be read ({error.strerror})") from None
    # Files the detector can decode travel as they are, damaged ones too: it says so on the wire.
    as_it_is = images.sniff(content) is not None
    if as_it_is and not whole:
        return content
    try:
        decoded = images.read_file(content, bit_depth)
    except WireError as error:
        detail = error.text.removeprefix("payload: ")
        raise _BadImageError(path, f"is no image that can be used ({detail})") from None
    if as_it_is:
        return content
    oddities.add(name, decoded.warnings)
    return decoded.frame

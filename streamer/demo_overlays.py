"""The pictures that the demo leaves: frame, heat map and outline of what stands out most and least."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import cv2

from streamer import images, outlines, overlays
from streamer.errors import StreamerError
from streamer.printable import printable
from streamer.wire.checks import BitDepth
from streamer.wire.published import Message

_NAME_BYTES = 200


def write(
    messages: Sequence[Message],
    paths: Mapping[str, Path],
    folder: Path,
    most: int = 6,
    least: int = 2,
    bit_depth: BitDepth = "auto",
) -> list[Path]:
    """Overlays of the most and the least anomalous frames, on one scale, with `legend.png` beside them.

    Args:
        messages: final scores with maps.
        paths: image file of each frame id.
        folder: made if missing.
        most, least: how many of each.
        bit_depth: of images of more than 8 bits.

    Returns:
        The files of the frames, named by rank.

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
    known = [value for message in ranked if (value := message.get("threshold")) is not None]
    threshold = known[-1] if known else None
    scale = overlays.Scale.of(maps, threshold)
    _put(folder / "legend.png", overlays.legend(scale, threshold))
    written = []
    for rank, message in chosen:
        target = folder / f"{rank:03d}-{_file_name(str(message['frame_id']))}.png"
        frame = images.decode_file(paths[str(message["frame_id"])].read_bytes(), bit_depth)
        assert message.anomaly_map is not None  # noqa: S101 - chosen above
        _put(target, overlays.panels(frame, message.anomaly_map, scale, _level(message)))
        written.append(target)
    return written


def _put(target: Path, picture: images.Frame) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    except OSError as error:
        raise StreamerError(f"{target}: cannot be written ({error.strerror})") from None


def _file_name(frame_id: str) -> str:
    """A frame's id as part of a file's name: without its own suffix, and as long as file systems take it."""
    stem = PurePosixPath(frame_id).with_suffix("") if PurePosixPath(frame_id).name else frame_id
    return printable(stem).replace("/", "-").encode()[-_NAME_BYTES:].decode(errors="ignore")


def _level(message: Message) -> float | None:
    return outlines.level(message.get("pred_label"), message.get("threshold"))

"""Where frames come from: a folder, an image, a video file, a network stream or a camera."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from streamer.errors import StreamerError
from streamer.extras import not_installed
from streamer.sources.address import shown
from streamer.sources.captured import Captured, Frames, Skipped
from streamer.sources.device import Device, Picture, SourceLost
from streamer.sources.files import in_order, of_files
from streamer.sources.listing import IMAGE_SUFFIXES, Listing, id_of, images_in, list_images, told
from streamer.sources.live import LOST_AFTER_S, LiveReader, SourceFigures
from streamer.sources.video import video_frames
from streamer.wire.checks import BitDepth

__all__ = [
    "IMAGE_SUFFIXES",
    "LOST_AFTER_S",
    "Captured",
    "Device",
    "Frames",
    "Listing",
    "LiveReader",
    "Picture",
    "Skipped",
    "SourceFigures",
    "SourceLost",
    "device_of",
    "id_of",
    "images_in",
    "list_images",
    "open_source",
    "told",
]


def device_of(
    source: str, lost_after_s: float = LOST_AFTER_S, camera_ca: Path | None = None
) -> Device | None:
    """The camera that a source names; None where it names none. It is not opened yet.

    Args:
        source: `camera:INDEX`, `genicam:NAME` or a URL.
        lost_after_s: a peer on the network that is silent for so long is lost.
        camera_ca: certificates (PEM) that an encrypted camera's must be signed by; None takes any.

    Raises:
        StreamerError: the address cannot be used, or a package for it is missing.
    """
    # What they need is optional, or takes its time to load.
    if (camera := re.fullmatch(r"camera:(\d{1,4})", source)) is not None:
        from streamer.sources.usb import UsbCamera  # noqa: PLC0415

        return UsbCamera(int(camera[1]))
    if source.startswith("genicam:"):
        from streamer.sources.genicam import GenicamCamera  # noqa: PLC0415

        return GenicamCamera(source, lost_after_s)
    if "://" in source:
        try:
            from streamer.sources.stream import NetworkStream  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise StreamerError(
                f"source: {shown(source)} needs PyAV: {not_installed(str(error.name), 'camera')}"
            ) from None
        except ImportError as error:  # it is there, and what it links to is not
            raise StreamerError(
                f"source: {shown(source)} needs PyAV, which cannot be loaded: {error}"
            ) from None
        return NetworkStream(source, lost_after_s, camera_ca)
    return None


def open_source(
    source: str,
    *,
    loop: bool = False,
    shuffle: int | None = None,
    bit_depth: BitDepth = "auto",
    tell: Callable[[str], None] = lambda line: None,
    skipped: Skipped | None = None,
    fps: float | None = None,
    max_age_s: float | None = None,
    lost_after_s: float = LOST_AFTER_S,
    camera_ca: Path | None = None,
) -> Captured:
    """Frames of a source; whether it can be read at all is known before the first one.

    A camera that is not there is waited for: only its address is looked at. Masks of a data set are no
    parts: see `images_in`.

    Args:
        source: a folder (with its subfolders), an image or video file, a URL, `camera:INDEX` or
            `genicam:NAME`.
        shuffle: seed of a folder's order, which is the same everywhere; None for sorted.
        loop: start a folder or a video again at its end; the ids of later rounds end in `#1`, `#2`...
        bit_depth: of a file or folder's images of more than 8 bits; `auto` looks which they use.
        tell: told, a line each, what of a folder is left out, and what of it no line would send so.
        skipped: told of each image that cannot be read or is damaged, and the next one comes; None ends with
            an error at the first that cannot be read, and sends damaged files of JPEG and PNG for the
            detector to refuse.
        fps: pictures of a camera a second, at most: the newest each time. Other sources go at their reader's.
        max_age_s: pictures of a camera that are older are left out.
        lost_after_s: a camera that is silent for so long is connected anew.
        camera_ca: certificates (PEM) that an encrypted camera's must be signed by; None takes any.

    Raises:
        StreamerError: nothing there, nothing readable in it, it cannot be opened, or its order is its own
            and cannot be shuffled.
    """
    if (device := device_of(source, lost_after_s, camera_ca)) is not None:
        _check_order(source, shuffle, "a camera")
        reader = LiveReader(device, fps=fps, max_age_s=max_age_s, lost_after_s=lost_after_s)
        return Captured(_pictures(reader), live=reader)
    _check_no_camera(source, {"--max-age": max_age_s, "--camera-ca": camera_ca})
    path = Path(source)
    if path.is_dir():
        return of_files(in_order(path, shuffle, tell), path, bit_depth, tell, loop=loop, skipped=skipped)
    if not path.is_file():
        raise StreamerError(
            f"source: {shown(source)} does not exist; expected a folder, a file, a URL (rtsp://...), "
            "camera:0 or genicam:SERIAL"
        )
    _check_order(source, shuffle, "a file")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return of_files([path], path.parent, bit_depth, tell, loop=loop, skipped=skipped)
    return Captured(video_frames(path, loop=loop))


def _pictures(reader: LiveReader) -> Frames:
    with reader:
        for picture in reader.frames():
            yield None, picture.frame


def _check_no_camera(source: str, options: Mapping[str, object]) -> None:
    for name, value in options.items():
        if value is not None:
            raise StreamerError(
                f"{name}: got {value} with the source {shown(source)}, expected a camera or a URL; "
                f"leave {name} out"
            )


def _check_order(source: str, shuffle: int | None, what: str) -> None:
    if shuffle is not None:
        raise StreamerError(
            f"--shuffle: got {shuffle} with the source {shown(source)}, expected a folder of images; "
            f"leave --shuffle out: {what} comes in its own order"
        )

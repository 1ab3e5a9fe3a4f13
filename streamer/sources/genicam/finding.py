"""Which camera a name means, of those that Aravis sees, and the one that is opened."""

import re
from collections.abc import Sequence
from typing import Any

from streamer.errors import StreamerError
from streamer.printable import printable
from streamer.sources.device import SourceLost
from streamer.sources.genicam.aravis import AravisError, Found, Library
from streamer.sources.genicam.settings import PREFIX

_HOST = re.compile(r"(\d{1,3}\.){3}\d{1,3}|[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")


def open_camera(aravis: Library, name: str) -> tuple[Any, str]:
    """The camera of a name, opened, and Aravis's id of it.

    Args:
        aravis: the library.
        name: a serial number, an address, an id; "" for the only camera there is.

    Raises:
        SourceLost: it does not answer, or another program has it.
        StreamerError: several cameras are meant.
    """
    found = _meant(aravis.cameras(), name)
    if found is None and not _HOST.fullmatch(name):
        raise SourceLost(f"source: {PREFIX}{name}: {_not_there(aravis.cameras(), name)}")
    # A camera beyond a router does not hear who asks all: it is asked by its address.
    wanted = name if found is None else found.id
    try:
        camera = aravis.owned(aravis.call("arv_camera_new", wanted))
    except AravisError as error:
        raise SourceLost(f"source: {PREFIX}{name}: cannot be opened ({error})") from None
    if aravis.lib.arv_camera_is_gv_device(camera) and not aravis.lib.arv_gv_device_is_controller(
        aravis.lib.arv_camera_get_device(camera)
    ):
        aravis.release(camera)
        raise SourceLost(f"source: {PREFIX}{name}: another program controls the camera; stop that one")
    return camera, wanted


def _meant(cameras: Sequence[Found], name: str) -> Found | None:
    # One camera may answer by two networks.
    meant = list({one.id: one for one in cameras if not name or one.is_named(name)}.values())
    if len(meant) > 1:
        raise StreamerError(
            f"source: {PREFIX}{name}: means {len(meant)} cameras, expected one; say which: {_told(meant)}"
        )
    return meant[0] if meant else None


def _not_there(cameras: Sequence[Found], name: str) -> str:
    if not cameras:
        return "no camera answers"
    return f"no camera of that name answers; there are {_told(cameras)}" if name else "no camera answers"


def _told(cameras: Sequence[Found], limit: int = 8) -> str:
    some = ", ".join(f"{PREFIX}{one.id} ({one.model}, {one.address})" for one in cameras[:limit])
    return printable(some + (f" and {len(cameras) - limit} more" if len(cameras) > limit else ""))

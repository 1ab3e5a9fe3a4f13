"""Which camera a name means, of those that Aravis sees, and the one that is opened."""

import re
from collections.abc import Sequence
from typing import Any

from streamer.errors import StreamerError
from streamer.printable import printable
from streamer.sources.device import SourceLost
from streamer.sources.genicam.aravis import AravisError, Found, Library
from streamer.sources.genicam.settings import PREFIX

_ADDRESS = re.compile(r"(\d{1,3}\.){3}\d{1,3}")


def open_camera(aravis: Library, name: str) -> tuple[Any, str]:
    """The camera of a name, opened, and Aravis's id of it.

    Args:
        aravis: the library.
        name: a serial number, an address, an id; "" for the only camera there is.

    Raises:
        SourceLost: it does not answer, or another program has it.
        StreamerError: several cameras are meant.
    """
    # A camera of known address is asked itself: beyond a router it does not hear who asks all.
    wanted = name if _ADDRESS.fullmatch(name) else meant(aravis.cameras(), name).id
    try:
        camera = aravis.owned(aravis.call("arv_camera_new", wanted))
    except AravisError as error:
        raise SourceLost(f"source: {PREFIX}{name}: cannot be opened ({error})") from None
    if not controlled(aravis, camera):
        aravis.release(camera)
        raise SourceLost(f"source: {PREFIX}{name}: another program controls the camera; stop that one")
    return camera, wanted


def controlled(aravis: Library, camera: Any) -> bool:
    """Whether a camera of GigE Vision obeys this program; of USB3 Vision only one program has it open."""
    if not aravis.lib.arv_camera_is_gv_device(camera):
        return True
    return bool(aravis.lib.arv_gv_device_is_controller(aravis.lib.arv_camera_get_device(camera)))


def meant(cameras: Sequence[Found], name: str) -> Found:
    """The camera that a name means.

    Raises:
        SourceLost: none answers to it.
        StreamerError: several do.
    """
    # One camera may answer by two networks.
    found = list({one.id: one for one in cameras if not name or one.is_named(name)}.values())
    if len(found) > 1:
        raise StreamerError(
            f"source: {PREFIX}{name}: means {len(found)} cameras, expected one; say which: {_told(found)}"
        )
    if not found:
        why = (
            f"no camera of that name answers; there are {_told(cameras)}" if cameras else "no camera answers"
        )
        raise SourceLost(f"source: {PREFIX}{name}: {why}")
    return found[0]


def _told(cameras: Sequence[Found], limit: int = 8) -> str:
    some = ", ".join(f"{PREFIX}{one.id} ({one.model}, {one.address})" for one in cameras[:limit])
    return printable(some + (f" and {len(cameras) - limit} more" if len(cameras) > limit else ""))

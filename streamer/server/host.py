"""What `status` says of the package and the disks that a service runs on."""

import shutil
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path


def free_bytes(path: Path | None) -> int | None:
    """Room that the disk of a file or folder has for us; None without a path, or where it does not say."""
    if path is None:
        return None
    for place in (path, path.parent):  # a file that is not there yet
        with suppress(OSError):
            return shutil.disk_usage(place).free
    return None


@cache
def version() -> str | None:
    """Of this package; None where it runs without having been installed."""
    try:
        return metadata.version("musc-online")
    except metadata.PackageNotFoundError:
        return None

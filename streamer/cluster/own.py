"""What a cluster of our own runs in: a folder, an environment, shared memory, and loopback alone."""

import contextlib
import fcntl
import os
import secrets
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

from streamer.errors import StreamerError

LOOPBACK = "127.0.0.1"
"""Exactly this address makes Ray's servers listen there alone: with any other they listen everywhere."""

_NAME = "musc-ray-"
_SHARED = Path("/dev/shm")  # noqa: S108  (Ray's object store lies there)
_STORE_BYTES = 2 << 30
_LEAST_STORE_BYTES = 80 << 20
_LONGEST_FOLDER = 24
_SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else every part looks for an address that others can reach
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_METRICS_COLLECTION": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_task_events_report_interval_ms": "0",  # what a dashboard would show
    "RAY_memory_monitor_refresh_ms": "0",  # it would end a line before memory is short
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # an actor that asks for no GPU sees all, as one process does
    "RAY_ROTATION_MAX_BYTES": str(16 << 20),
    "RAY_ROTATION_BACKUP_COUNT": "1",
    "RAY_worker_niceness": "0",  # actors do the work that the threads of one process would do
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that wait would spin on cores that another actor needs
}


class Folder:
    """Where Ray's sockets and logs lie: only its owner gets in, though Ray opens what is inside to everybody.

    It is held until `remove`. What one left behind that was killed is removed by the next.

    Attributes:
        path: for Ray; short, since a socket's path has room for some hundred characters.
    """

    def __init__(self) -> None:
        parent = Path(tempfile.gettempdir())
        if len(str(parent)) > _LONGEST_FOLDER:
            parent = Path("/tmp")  # noqa: S108  (a folder of our own is made in it)
        _remove_left(parent)
        made = Path(tempfile.mkdtemp(prefix=".musc-", dir=parent))
        self._lock = os.open(made / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._folder = made.rename(parent / f"{_NAME}{made.name.removeprefix('.musc-')}")
        self.path = self._folder / "r"

    def remove(self) -> None:
        """With all in it, and let go of it."""
        _remove(self._folder)
        os.close(self._lock)


def _remove_left(parent: Path) -> None:
    """Folders of ours whose process has ended without removing them; others' are left alone, and links."""
    for folder in parent.glob(f"{_NAME}*"):
        with contextlib.suppress(OSError), contextlib.ExitStack() as opened:
            inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            opened.callback(os.close, inside)
            about = os.fstat(inside)
            if about.st_uid != os.geteuid() or about.st_mode & 0o077:
                continue
            lock = os.open("lock", os.O_RDWR | os.O_NOFOLLOW, dir_fd=inside)
            opened.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(folder)


def _remove(folder: Path) -> None:
    """The lock last: a folder without one belongs to nobody."""
    with contextlib.suppress(RecursionError):  # folders in folders, a thousand deep
        shutil.rmtree(folder / "r", ignore_errors=True)
        if not (folder / "r").exists():
            shutil.rmtree(folder, ignore_errors=True)


def environment() -> dict[str, str]:
    """For the processes of the cluster: a fresh token, and the packages that this process has."""
    installed = sysconfig.get_paths().values()
    paths = [path for path in map(os.path.abspath, sys.path) if path not in installed and Path(path).is_dir()]
    return {
        **_SETTINGS,
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
    }


@contextlib.contextmanager
def in_environment(values: dict[str, str | None]) -> Iterator[None]:
    """With these variables set, or unset where None, and then as before."""
    before = {name: os.environ.get(name) for name in values}
    _set(values)
    try:
        yield
    finally:
        _set(before)


def _set(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def store_bytes() -> int:
    """What the object store, shared memory that actors hand frames' tokens on in, may take.

    Raises:
        StreamerError: there is too little.
    """
    free = shutil.disk_usage(_SHARED).free
    if free < _LEAST_STORE_BYTES:
        raise StreamerError(
            f"engine: {_SHARED} has {free >> 20} MiB free, expected at least {_LEAST_STORE_BYTES >> 20} for "
            "Ray's object store; give a container more: --shm-size 1g"
        )
    return min(_STORE_BYTES, free * 3 // 4)

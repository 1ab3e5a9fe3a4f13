"""A cluster of Ray: one of our own on this machine's loopback, or one that runs; the only place that starts Ray."""

import contextlib
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import structlog
from ray import exceptions
from ray._private import ray_constants
from ray._raylet import AuthenticationTokenLoader, Config
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from musc_online.config_service import Engine
from streamer.errors import StreamerError

log = structlog.get_logger()

LOST: tuple[type[Exception], ...] = (
    exceptions.RayActorError,
    exceptions.WorkerCrashedError,
    exceptions.ObjectLostError,
    exceptions.NodeDiedError,
    exceptions.LocalRayletDiedError,
    exceptions.OutOfMemoryError,
)
"""What says that an actor, its node or an object is gone. One that cannot be reached is treated as gone."""

_LOOPBACK = "127.0.0.1"
_STORE_BYTES = 2 << 30
_LEAST_STORE_BYTES = 80 << 20
_WORKERS_AT_ONCE = 4


@dataclass(frozen=True)
class Node:
    """A machine of the cluster: `cpus` and `gpus` are what it offers, `draining` that it will go soon."""

    id: str
    address: str
    alive: bool
    is_head: bool
    cpus: float
    gpus: float
    draining: bool = False


class Cluster:
    """A cluster this process is connected to.

    Attributes:
        own: whether it was started by this process, and ends with it.
        address: of its head, `host:port`.
    """

    def __init__(self, own: bool, address: str, folder: Path | None) -> None:
        self.own = own
        self.address = address
        self._folder = folder
        self._closed = False

    def options(
        self, cpus: float, gpus: float = 0.0, node: str | None = None, avoid: Container[str] = ()
    ) -> dict[str, Any]:
        """Options of an actor, for `Actor.options(**options)`.

        Args:
            cpus: what it asks of its node; a cluster of our own hands its cores to whoever is at work.
            gpus: likewise; parts of a GPU are shared.
            node: id of the only node where it may be; None for any.
            avoid: ids of nodes where it must not be.
        """
        options: dict[str, Any] = {
            "max_restarts": 0,
            "max_task_retries": 0,
            "num_cpus": 0 if self.own else cpus,
            "num_gpus": gpus,
            "scheduling_strategy": "SPREAD",
        }
        if node is not None:
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node, soft=False)
        elif avoided := [one.id for one in self.nodes() if one.alive and one.id in avoid]:
            options["label_selector"] = {"ray.io/node-id": f"!in({','.join(avoided)})"}
        return options

    def threads(self, cpus: float) -> int:
        """Threads of an actor that asked for `cpus`: all cores in a cluster of our own."""
        return len(os.sched_getaffinity(0)) if self.own else max(1, int(cpus))

    def nodes(self) -> list[Node]:
        """The nodes that the head knows, those that are gone too."""
        draining = ray._private.state.state.get_draining_nodes()
        return [
            Node(
                id=one["NodeID"],
                address=one["NodeManagerAddress"],
                alive=one["Alive"],
                is_head="node:__internal_head__" in one["Resources"],
                cpus=one["Resources"].get("CPU", 0.0),
                gpus=one["Resources"].get("GPU", 0.0),
                draining=one["NodeID"] in draining,
            )
            for one in ray.nodes()
        ]

    def close(self) -> None:
        """Let go of the cluster; one of our own ends, its actors with it. May be called again."""
        if self._closed:
            return
        self._closed = True
        ray.shutdown(wait_for_processes=True)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def connect(engine: Engine, failed: Callable[[BaseException], None]) -> Cluster:
    """Start a cluster of our own, or join the one at `engine.address`.

    Ray's processes end with the thread that calls: it must live as long as the cluster.

    Args:
        engine: the key of the configuration.
        failed: told once, by a thread of this module, that the head is gone.

    Raises:
        StreamerError: it cannot be started, reached or trusted.
    """
    return _own()


def _own() -> Cluster:
    folder = Path(tempfile.mkdtemp(prefix="musc-ray-", dir=_short_temporary()))
    try:
        with _environment(_own_environment()), _handlers_kept():
            _read_environment_again()
            ray_constants.ENABLE_RAY_CLUSTER = False  # else it looks for an address that others can reach
            ray.init(
                address="local",
                num_cpus=_WORKERS_AT_ONCE,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="error",
                object_store_memory=_store_bytes(),
                _node_ip_address=_LOOPBACK,
                _temp_dir=str(folder / "ray"),
            )
    except Exception:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Cluster(True, ray.get_runtime_context().gcs_address, folder)


def _read_environment_again() -> None:
    """Ray read it as it was imported."""
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def _own_environment() -> dict[str, str]:
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": os.environ.get("RAY_AUTH_TOKEN") or secrets.token_hex(32),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")])
        ),
    }


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if name.startswith("RAY_AUTH"):
                continue
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _handlers_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself."""
    try:
        before = signal.getsignal(signal.SIGTERM)
        yield
    finally:
        with contextlib.suppress(ValueError):  # not the main thread: nothing was taken
            signal.signal(signal.SIGTERM, before)


def _short_temporary() -> str:
    """Sockets lie in it, and a socket's path has room for some hundred characters."""
    folder = tempfile.gettempdir()
    return folder if len(folder) <= 16 else "/tmp"  # noqa: S108  (a folder of our own is made in it)


def _store_bytes() -> int:
    free = shutil.disk_usage("/dev/shm").free  # noqa: S108
    if free < _LEAST_STORE_BYTES:
        raise StreamerError(f"engine: /dev/shm has {free >> 20} MiB free, expected at least 80")
    return min(_STORE_BYTES, free * 3 // 4)

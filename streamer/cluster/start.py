"""A cluster of Ray: one of our own on loopback, or one that runs. Ray starts here and nowhere else."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from typing import Any

import ray
from ray import exceptions
from ray._private import auto_init_hook, ray_constants
from ray._private import node as ray_node
from ray._private import worker as ray_worker
from ray._raylet import AuthenticationTokenLoader, Config
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from musc_online.config_service import Engine
from streamer.cluster import joining, own, ray_log
from streamer.cluster.reaper import Reaper
from streamer.cluster.watching import HeadWatch, listener
from streamer.errors import StreamerError
from streamer.sockets import is_loopback

auto_init_hook.enable_auto_connect = False
# Else Ray starts a cluster, of its own making, for whoever asks it something after it was closed.

LOST: tuple[type[Exception], ...] = (
    exceptions.RayActorError,
    exceptions.WorkerCrashedError,
    exceptions.ObjectLostError,
    exceptions.NodeDiedError,
    exceptions.LocalRayletDiedError,
    exceptions.OutOfMemoryError,
)
"""What says that an actor, its node or an object is gone. One that cannot be reached is treated as gone."""

_CORES = 4
"""Of a node of our own, as Ray counts: so many workers wait, without work, for the next actor."""
_CLOSE_S = 30.0
_UNUSED = ("start_api_server", "start_log_monitor", "start_monitor")
"""Of Ray's node: a dashboard without pages, the logs of actors in this process's own, more nodes where there
are none. Ray has no option that leaves them all out; a start would wait for them, and an end too."""


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

    def __init__(self, own: bool, folder: own.Folder | None, failed: Callable[[BaseException], None]) -> None:
        self.own = own
        context = ray.get_runtime_context()
        self.address: str = context.gcs_address
        self._folder = folder
        self._closed = False
        processes = _processes()
        self._reaper = Reaper(processes.values()) if own else None
        self._watch = HeadWatch(
            self.address,
            processes,
            ray_worker.global_worker.gcs_client,
            context.get_node_id(),
            failed,
        )

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
        elif avoid and (avoided := [one.id for one in self.nodes() if one.alive and one.id in avoid]):
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
        self._watch.stop()
        with self._ended_at_last():
            ray.shutdown(wait_for_processes=True)
        if self._folder is not None:
            self._folder.remove()

    @contextlib.contextmanager
    def _ended_at_last(self) -> Iterator[None]:
        """A head of our own that hangs would be waited for without an end."""
        if self._reaper is None:
            yield
            return
        timer = threading.Timer(_CLOSE_S, self._reaper.end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            self._reaper.end()


def connect(engine: Engine, failed: Callable[[BaseException], None]) -> Cluster:
    """Start a cluster of our own, or join the one at `engine.address`.

    Processes of our own cluster end with the thread that calls: it must live as long as the cluster.

    Args:
        engine: the key of the configuration.
        failed: told once, by a thread of this module, that the head is gone.

    Raises:
        StreamerError: it cannot be started, reached or trusted.
    """
    ray_log.redirect()
    return _started(failed) if engine.address is None else _joined(engine.address, engine, failed)


def _started(failed: Callable[[BaseException], None]) -> Cluster:
    store = own.store_bytes()
    folder = own.Folder()
    try:
        with own.in_environment({**own.environment()}), _without_unused():
            _init(
                alone=True,
                address="local",
                num_cpus=_CORES,
                include_dashboard=False,
                object_store_memory=store,
                _node_ip_address=own.LOOPBACK,
                _temp_dir=str(folder.path),
            )
        cluster = Cluster(True, folder, failed)
    except Exception as error:
        ray.shutdown()
        folder.remove()
        raise StreamerError(f"engine: Ray cannot be started ({_reason(error)})") from error
    if not cluster.address.startswith(f"{own.LOOPBACK}:"):
        cluster.close()
        raise StreamerError(f"engine: Ray listens at {cluster.address}, expected {own.LOOPBACK} alone")
    return cluster


def _joined(address: str, engine: Engine, failed: Callable[[BaseException], None]) -> Cluster:
    host, _ = joining.checked(address)
    environment = joining.environment(engine.token)
    joining.prove_closed(address, environment)
    try:
        with own.in_environment(environment):
            _init(
                alone=is_loopback(host),
                address=address,
                runtime_env={"env_vars": {"OMP_WAIT_POLICY": "PASSIVE"}},
            )
        return Cluster(False, None, failed)
    except Exception as error:
        ray.shutdown()
        why = _reason(error)
        if "No node info" in why:  # as Ray says it
            why = f"this machine is no node of it; first RAY_AUTH_MODE=token ray start --address={address}"
        raise StreamerError(f"engine.address: {address} cannot be joined ({why})") from error


def _init(alone: bool, **options: Any) -> None:
    """Start Ray in this process, in the environment as it is now.

    Args:
        alone: keep addresses of loopback, which Ray else turns into one that others can reach.
        options: of `ray.init`.
    """
    Config.initialize("")  # it read the environment when it was imported
    AuthenticationTokenLoader.instance().reset_cache()
    ray_constants.ENABLE_RAY_CLUSTER = not alone
    with _signals_kept():
        ray.init(configure_logging=False, log_to_driver=False, **options)


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself; what a terminal sends is for this process alone: it ends the others."""
    terminals = {signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}
    before = signal.getsignal(signal.SIGTERM)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, terminals)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # not the main thread: nothing was taken
            signal.signal(signal.SIGTERM, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextlib.contextmanager
def _without_unused() -> Iterator[None]:
    """Ray starts none of what nobody would ask; a version that names them otherwise starts them."""
    before = {name: getattr(ray_node.Node, name) for name in _UNUSED if hasattr(ray_node.Node, name)}
    for name in before:
        setattr(ray_node.Node, name, lambda *_, **__: None)
    try:
        yield
    finally:
        for name, start in before.items():
            setattr(ray_node.Node, name, start)


def _processes() -> dict[str, int]:
    """Those of this machine without which nothing goes on: its raylet, and the GCS where it is ours."""
    node = ray_worker._global_node
    found = {name: infos[0].process.pid for name, infos in node.all_processes.items()}
    raylet = found.get("raylet") or listener(node.raylet_socket_name)
    processes = {"gcs_server": found.get("gcs_server"), "raylet": raylet}
    return {name: number for name, number in processes.items() if number is not None}


def _reason(error: BaseException) -> str:
    """What lies behind an error, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:300] or type(error).__name__

"""A Ray cluster and its backbones for the tests of this process, and the engine that services have on them.

What a test's service makes is its own: its lines. Cluster and backbones are made once, as the backbone is
for the engine of one process. Ray is imported where it is used.
"""

from typing import Any

import pytest

ENGINE = {"name": "local"}
"""On what `serving` and `server_process` serve; the fixture `engine` changes it for a test."""
SHARED: dict[Any, Any] = {}
"""The cluster, under None, and what stands on it by what of a configuration that depends on."""


def engine_on_shared(parts: Any) -> Any:
    """What `Service(config, engine=...)` takes."""
    from streamer.cluster.engine import ClusterEngine

    return ClusterEngine(parts, _resources(parts.config))


def shared_cluster() -> Any:
    """The cluster of this process's tests."""
    pytest.importorskip("ray")
    if None not in SHARED:
        from musc_online.config_service import Engine
        from streamer.cluster.start import connect

        SHARED[None] = connect(Engine(name="ray"), _failed)
    return SHARED[None]


def end_shared() -> None:
    """End what stands on the cluster, then it."""
    cluster = SHARED.pop(None, None)
    while SHARED:
        resources = SHARED.popitem()[1]
        resources.spares.close()
        resources.close()
    if cluster is not None:
        cluster.close()


def _resources(config: Any) -> Any:
    from streamer.cluster.resources import Resources
    from streamer.cluster.spares import Spares
    from streamer.server.preparing import wire_limits

    cluster = shared_cluster()
    parts = (config.backbone, config.tiles, config.output, config.engine, *config.streams)
    decoding = (wire_limits(config), config.limits.decode_s, config.bit_depth)
    key = (*(part.model_dump_json() for part in parts), config.transport.batch, *decoding)
    if key not in SHARED:
        shared = next(iter(other.spares for at, other in SHARED.items() if at is not None), None)
        SHARED[key] = Resources(config, cluster, shared or Spares(cluster, "info"))
    return SHARED[key]


def _failed(error: BaseException) -> None:
    raise error

"""A Ray cluster and its backbones for the tests of this process, and the engine that services have on them.

What a test's service makes is its own: its lines. Cluster and backbones are made once, as the backbone is
for the engine of one process. Ray is imported where it is used.
"""

from typing import Any

import pytest

ENGINE = {"name": "local"}
"""On what `serving` and `server_process` serve; the fixture `engine` changes it for a test."""
SHARED: dict[Any, Any] = {}
"""The cluster, under None, `spares` for lines, pools by what of a configuration they depend on."""


def engine_on_shared(parts: Any) -> Any:
    """What `Service(config, engine=...)` takes."""
    from streamer.cluster.engine import ClusterEngine

    cluster = shared_cluster()
    return ClusterEngine(parts, cluster=cluster, pool=_pool(cluster, parts.config), spares=SHARED["spares"])


def shared_cluster() -> Any:
    """The cluster of this process's tests."""
    pytest.importorskip("ray")
    if None not in SHARED:
        from musc_online.config_service import Engine
        from streamer.cluster.spares import Spares
        from streamer.cluster.start import connect

        SHARED[None] = connect(Engine(name="ray"), _failed)
        SHARED["spares"] = Spares(SHARED[None], "info")
    return SHARED[None]


def end_shared() -> None:
    """End pools and cluster."""
    cluster = SHARED.pop(None, None)
    if cluster is not None:
        SHARED.pop("spares").close()
    while SHARED:
        SHARED.popitem()[1].stop()
    if cluster is not None:
        cluster.close()


def _pool(cluster: Any, config: Any) -> Any:
    from streamer.cluster.pool import Pool

    parts = (config.backbone, config.limits, config.tiles, config.output, config.engine, *config.streams)
    key = (*(part.model_dump_json() for part in parts), config.transport.batch, config.bit_depth)
    if key not in SHARED:
        pool = Pool(cluster, config, _failed)
        pool.start()
        SHARED[key] = pool
    return SHARED[key]


def _failed(error: BaseException) -> None:
    raise error

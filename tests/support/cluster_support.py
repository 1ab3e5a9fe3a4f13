"""A Ray cluster and its backbones for the tests of this process, and the engine that services have on them.

What a test's service makes is its own: its lines. The cluster is made once. Backbones are kept for the next
test that has the same of them, of two configurations at most. Ray is imported where it is used.
"""

from typing import Any

import pytest

ENGINE = {"name": "local"}
"""On what `serving` and `server_process` serve; the fixture `engine` changes it for a test."""
SHARED: dict[Any, Any] = {}
"""The cluster, under None, and what stands on it by what of a configuration it depends on, used last last."""
USED: dict[int, Any] = {}
"""Of that what an engine stands on that is not closed, by the engine's `id`."""
_KEPT = 2


def engine_on_shared(parts: Any) -> Any:
    """What `Service(config, engine=...)` takes."""
    from streamer.cluster.engine import ClusterEngine

    class OnShared(ClusterEngine):
        """Says what it uses, and until when."""

        def __init__(self) -> None:
            USED[id(self)] = resources = _resources(parts.config)
            super().__init__(parts, resources)

        def close(self) -> None:
            super().close()
            USED.pop(id(self), None)

    return OnShared()


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
    USED.clear()
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
    if key in SHARED:
        SHARED[key] = SHARED.pop(key)
    else:
        shared = next((other.spares for at, other in SHARED.items() if at is not None), None)
        _make_room()
        SHARED[key] = Resources(config, cluster, shared or Spares(cluster, "info"))
    return SHARED[key]


def _make_room() -> None:
    """End the backbones that were not used for longest, those of services apart: each takes memory."""
    unused = [key for key, one in SHARED.items() if key is not None and one not in USED.values()]
    for key in unused[: max(0, len(SHARED) - _KEPT)]:
        SHARED.pop(key).close()  # the spares go on


def _failed(error: BaseException) -> None:
    raise error

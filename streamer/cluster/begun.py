"""A service's engine on Ray, begun before the service: both come up at the same time."""

import gc
import threading
from importlib import import_module
from typing import TYPE_CHECKING

from musc_online.config import Config
from streamer.cluster.resources import Resources

if TYPE_CHECKING:
    from streamer.cluster.engine import ClusterEngine
    from streamer.server.engine import Parts

_ENGINE = "streamer.cluster.engine"


class Begun:
    """The resources of a service, begun before it; makes its engine (`streamer.server.engine.MakeEngine`).

    Call it in the thread that lives as long as the process: Ray's own processes end with it.

    Args:
        config: of the service.

    Raises:
        StreamerError: see `Resources`.
    """

    def __init__(self, config: Config) -> None:
        gc.disable()  # until the service is made: what is imported stays
        importing = threading.Thread(target=import_module, args=(_ENGINE,), name="import")
        importing.start()
        try:
            self._resources = Resources(config)
        finally:
            importing.join()

    def __call__(self, parts: "Parts") -> "ClusterEngine":
        """The engine of a service, which closes the resources with it."""
        engine: type[ClusterEngine] = import_module(_ENGINE).ClusterEngine
        return engine(parts, self._resources, owned=True)

    def give_up(self) -> None:
        """Have a start that waits for a backbone end; a signal handler may call it."""
        self._resources.give_up()

    def close(self) -> None:
        """End what was begun, where no engine did."""
        self._resources.close()

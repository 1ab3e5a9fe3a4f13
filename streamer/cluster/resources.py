"""A cluster, its backbones and its processes for lines: what an engine stands on, begun before all else.

Light to import: Ray's processes come up, and load what they need, while this process still imports.
"""

from collections.abc import Callable

import structlog

from musc_online.config import Config
from streamer.cluster.pool import Pool
from streamer.cluster.spares import Spares
from streamer.cluster.start import Cluster, connect

log = structlog.get_logger()

_FILES = ("*.safetensors", "*.journal")


class Resources:
    """What it is made of is begun; `pool.identity()` waits until it can work.

    Args:
        config: of the service.
        cluster: of the caller, who closes it; None connects to the configured one.
        spares: likewise.

    Raises:
        StreamerError: the cluster cannot be reached or trusted.
    """

    def __init__(self, config: Config, cluster: Cluster | None = None, spares: Spares | None = None) -> None:
        self.is_gone = self._closed = False
        self._failed: Callable[[BaseException], None] | None = None
        self._failure: BaseException | None = None
        self._owns = cluster is None
        self.cluster = cluster or connect(config.engine, self._gone)
        self.spares = spares or Spares(self.cluster, config.log.level, config.engine.line_gpus)
        self.pool = Pool(self.cluster, config, self._hear)
        if self._failure is not None:  # before there was a pool to tell
            self.pool.fail(self._failure)
        self.pool.begin()  # first: a backbone takes longest, and lines wait for it
        self.spares.prepare(min(_rings_on_disk(config), config.limits.streams))

    def tell(self, failed: Callable[[BaseException], None]) -> None:
        """Have errors that end the service told there, those of before too."""
        self._failed = failed
        if self._failure is not None:
            failed(self._failure)

    def give_up(self) -> None:
        """Have a start that waits for a backbone end; a signal handler may call it."""
        self.pool.give_up()

    def close(self) -> None:
        """End what is ours; done twice it does nothing. What is gone is not waited for."""
        if self._closed:
            return
        self._closed = True
        if not self.is_gone:
            self.pool.stop()
            if self._owns:
                self.spares.close()
        if self._owns:
            self.cluster.close()

    def _gone(self, error: BaseException) -> None:
        self.is_gone = True
        log.critical("head_gone", text=str(error))
        self._hear(error)

    def _hear(self, error: BaseException) -> None:
        self._failure = self._failure or error
        if hasattr(self, "pool"):
            self.pool.fail(error)
        if self._failed is not None:
            self._failed(error)


def _rings_on_disk(config: Config) -> int:
    """Streams that have a file, snapshot or journal, and are to be opened at the start as a rule."""
    folder = config.snapshot.path
    if folder is None or not folder.is_dir():
        return 0
    return len({path.name.partition(".")[0] for kind in _FILES for path in folder.glob(kind)})

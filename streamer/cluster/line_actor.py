"""The actor of a line: one process, one line at a time, with the shards that are the line's own.

Light to import: where it is placed is known before its libraries load. A process that had a line can have
another, and a spare has loaded everything before it gets its first.
"""

import contextlib
import gc
import os
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import ray

from musc_online.arrays import Geometry
from musc_online.config import Config
from streamer.cluster.exchange import BackboneIdentity, LineEndedError, ShardLostError
from streamer.server import logs

if TYPE_CHECKING:
    from streamer.cluster.line import Line
    from streamer.cluster.shard import ShardedStores, ShardsWanted

BESIDE = 4
"""Calls beside the one that changes the ring: others write a file, settle, say how it is."""
_BACKGROUND = 19


class LineActor:
    """A process for a line. Its calls run side by side: `Line` says which take turns.

    Args:
        level: of its log.
    """

    def __init__(self, level: str) -> None:
        logs.configure(level, "json")
        self._line: Line | None = None
        self._shards: ShardedStores | None = None
        self._of = ""
        self._under_way = 0
        self._changed = threading.Condition()

    def where(self) -> tuple[int, str]:
        """Process id, and the id of the node."""
        return os.getpid(), ray.get_runtime_context().get_node_id()

    def load(self) -> None:
        """Load what a line needs."""
        _load()

    def warm(self) -> None:
        """Load what a line needs, with what others leave of the processors."""
        thread = threading.Thread(target=_warm, name="warm", daemon=True)
        thread.start()
        thread.join()

    def begin(
        self,
        of: str,
        name: str,
        config: Config,
        identity: BackboneIdentity,
        threads: int,
        shards: "ShardsWanted | None",
        signed: bytes | None,
    ) -> None:
        """Be the line of a stream from now on.

        Args:
            of: what `do` is to say that means this line.
            name: of the stream.
            config: its own.
            identity: of the backbone.
            threads: that it matches with.
            shards: that hold its ring's features; None where it does itself.
            signed: of the snapshots' folder, as `Line` takes it.
        """
        from streamer.cluster.line import Line  # noqa: PLC0415  (seconds: torch)
        from streamer.cluster.shard import store_maker  # noqa: PLC0415

        self._shards = None if shards is None else store_maker(shards)
        made = Line(
            name, config, identity, threads, make_store=self._shards, fatal=(ShardLostError,), signed=signed
        )
        with self._changed:
            self._line, self._of = made, of

    def do(self, of: str, what: str, *args: Any, **named: Any) -> Any:
        """Call a method of the line.

        Args:
            of: as given to `begin`.
            what: its name.
            args, named: its arguments; what is a reference to Ray's store comes as what it stands for.

        Raises:
            LineEndedError: it has that line no more.
        """
        with self._changed:
            line = self._line
            if line is None or of != self._of:
                raise LineEndedError(f"{what}: the process has another line, or none")
            self._under_way += 1
        try:
            return getattr(line, what)(*args, **named)
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def shards(self) -> list[dict[str, Any]]:
        """`pid` and `node` of each of its shards; empty until its ring is made."""
        return [] if self._shards is None else self._shards.status()

    def end(self) -> None:
        """Be no stream's line any more, once what was begun is done; files are let go of, shards end."""
        with self._changed:
            line, self._line = self._line, None
            shards, self._shards = self._shards, None
            self._changed.wait_for(lambda: not self._under_way)
        if line is not None:
            line.close()
        if shards is not None:
            shards.close()
        del line
        gc.collect()


def _warm() -> None:
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _BACKGROUND)
    _load()


def _load() -> None:
    from musc_online.nearest.gemm import store  # noqa: PLC0415
    from streamer.cluster import line, shard  # noqa: PLC0415

    del line, shard
    # A match of the smallest image: the compiled loops are loaded with the first, which takes half a second.
    geometry = Geometry(n_stages=1, degrees=(1, 3, 5), n_patches=4, n_channels=2)
    warm = store.GemmStore(1, geometry, fine=False, threads=1)
    features = warm.prepare(np.eye(4, 2, dtype=np.float32)[None])
    warm.put(0, features)
    codes = np.empty((2, 1, 1, 3, 4), np.float32)
    warm.match(features, [0], *codes)

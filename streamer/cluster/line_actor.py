"""The actor of a line: what Ray makes of `Line`, with the shards that are its own."""

import os
import threading
from typing import Any

import ray

from musc_online.config import Config
from streamer.cluster.exchange import BackboneIdentity
from streamer.cluster.line import Line
from streamer.cluster.shard import ShardLostError, ShardsWanted, store_maker
from streamer.server import logs

BESIDE = 4
"""Calls beside the one that changes the ring: one stands for ever, others write, settle, say how it is."""


class LineActor(Line):
    """A line in a process of its own.

    Args:
        name: of the stream.
        config: its own.
        identity: of the backbone.
        threads: that it matches with.
        shards: that hold its ring's features; None where it does itself.
        signed: of the snapshots' folder, as `Line` takes it.
    """

    def __init__(
        self,
        name: str,
        config: Config,
        identity: BackboneIdentity,
        threads: int,
        shards: ShardsWanted | None,
        signed: bytes | None,
    ) -> None:
        logs.configure(config.log.level, "json")
        self._shards = None if shards is None else store_maker(shards)
        super().__init__(
            name, config, identity, threads, make_store=self._shards, fatal=(ShardLostError,), signed=signed
        )

    def where(self) -> tuple[int, str]:
        """Process id, and the id of the node."""
        return os.getpid(), ray.get_runtime_context().get_node_id()

    def shards(self) -> list[dict[str, Any]]:
        """`pid` and `node` of each of its shards; empty until its ring is made."""
        return [] if self._shards is None else self._shards.status()

    def stand(self) -> None:
        """Never returns: whoever waits for it hears at once that the actor is gone."""
        threading.Event().wait()

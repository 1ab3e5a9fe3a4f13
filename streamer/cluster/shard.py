"""Actors that hold the features of a part of a line's ring: how they are made, asked and lost."""

import os
from collections.abc import Callable, Container
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import ray
import torch
from ray.exceptions import GetTimeoutError, RayTaskError

from musc_online import nearest
from musc_online.arrays import Geometry
from musc_online.codes import Codes
from musc_online.config import Config
from musc_online.nearest.gemm.packing import aligned_zeros
from musc_online.nearest.sharded import LocalPart, ShardedStore, Slots, divide
from musc_online.ring_setup import store_wanted
from streamer.cluster.exchange import ShardLostError
from streamer.cluster.start import LOST, Cluster

_START_S = 300.0
"""After which shards that did not come up have no room; on a machine at load 50 they took a minute."""


@dataclass(frozen=True)
class ShardsWanted:
    """What a line's shards are to be: plain data, made where the cluster is known and sent into the line.

    `threads` match in each; `options` are those of its actor.
    """

    n_shards: int
    cpus: float
    threads: int
    options: dict[str, Any]

    @classmethod
    def of(cls, cluster: Cluster, n_shards: int, cpus: float, avoid: Container[str] = ()) -> "ShardsWanted":
        """Shards in a cluster.

        Args:
            cluster: of our own, or one that runs.
            n_shards: at least 1.
            cpus: that each asks of its node.
            avoid: ids of nodes where none may be.
        """
        threads = cluster.threads(cpus)
        if cluster.own:  # they are at work at the same time, on the same cores
            threads = max(1, threads // n_shards)
        return cls(n_shards, cpus, threads, cluster.options(cpus, avoid=avoid))


@dataclass(frozen=True, eq=False)
class PartWanted:
    """A part of a store: matcher, number of slots, geometry and `ignored` `[S, P]` as in `nearest.create`."""

    matcher: str
    n_slots: int
    geometry: Geometry
    ignored: npt.NDArray[np.bool_] | None

    def make(self) -> LocalPart:
        """The part in this process, empty."""
        store = nearest.create(self.matcher, self.n_slots, self.geometry, ignored=self.ignored)
        return LocalPart(store, self.geometry)


class Shard:
    """One process with parts of a line's stores: that of its ring, and of the one it takes the place of.

    An actor of one thread: it does what it is asked in the order in which its line asks.

    Args:
        threads: that match.
    """

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)  # the matcher takes as many
        self._parts: dict[int, LocalPart] = {}

    def where(self) -> dict[str, Any]:
        """`pid`, and the `node`'s id."""
        return {"pid": os.getpid(), "node": ray.get_runtime_context().get_node_id()}

    def make(self, number: int, wanted: PartWanted, living: set[int]) -> None:
        """Make part `number`; of the others only those that are `living` are kept."""
        self._parts = {one: part for one, part in self._parts.items() if one in living}
        self._parts[number] = wanted.make()

    def kept(self) -> list[int]:
        """Numbers of the parts there are."""
        return list(self._parts)

    def put(self, number: int, slot: int, features: Any) -> None:
        """See `Part.put`."""
        self._parts[number].put(slot, features)

    def features(self, number: int, slot: int) -> Any:
        """See `Part.features`."""
        return self._parts[number].features(slot)

    def match(self, number: int, features: Any, slots: Slots) -> Codes:
        """See `Part.match`."""
        return self._parts[number].match(_own(features), slots)()

    def read(self, number: int, name: str, first: int, last: int) -> npt.NDArray[Any]:
        """See `Part.read`."""
        return self._parts[number].read(name, first, last)()

    def write(self, number: int, name: str, first: int, rows: npt.NDArray[Any]) -> None:
        """See `Part.write`."""
        self._parts[number].write(name, first, rows)()


class RemotePart:
    """A `Part` in a shard; features pass as references to Ray's object store, and never through the line.

    Raises:
        ShardLostError: of every method's result: the shard is gone, or did not take an image.
    """

    def __init__(self, shard: Any, number: int) -> None:
        self._shard, self._number = shard, number
        self._puts: list[Any] = []
        self._lock = Lock()

    def put(self, slot: int, features: Any) -> None:
        """See `Part.put`."""
        put = self._shard.put.remote(self._number, slot, features)
        with self._lock:
            self._puts.append(put)

    def features(self, slot: int) -> Any:
        """See `Part.features`."""
        return self._shard.features.remote(self._number, slot)

    def match(self, features: Any, slots: Slots) -> Callable[[], Codes]:
        """See `Part.match`."""
        return partial(self._wait, self._shard.match.remote(self._number, features, slots))

    def read(self, name: str, first: int, last: int) -> Callable[[], npt.NDArray[Any]]:
        """See `Part.read`."""
        return partial(self._wait, self._shard.read.remote(self._number, name, first, last))

    def write(self, name: str, first: int, rows: npt.NDArray[Any]) -> Callable[[], None]:
        """See `Part.write`."""
        return partial(self._wait, self._shard.write.remote(self._number, name, first, rows))

    def _wait(self, result: Any) -> Any:
        found = _get(result)
        with self._lock:  # asked before it, and done before it: nothing to wait for
            try:
                _get(self._puts)
            except ShardLostError:
                raise
            except Exception as error:  # the slot holds what was there before: no result counts any more
                text = f"engine.shards: an image was not kept ({type(error).__name__}: {error})"
                raise ShardLostError(text) from None
            self._puts.clear()
        return found


class ShardedStores:
    """Makes the stores of one line's rings, in the same shards all of them: `Detector(make_store=...)`.

    The shards are asked for at once, so that they come up beside the line. They are the line's: they end when
    its process does.

    Args:
        wanted: how many, where.
    """

    def __init__(self, wanted: ShardsWanted) -> None:
        actor: Any = ray.remote(Shard).options(**wanted.options)
        self._shards: list[Any] = [actor.remote(wanted.threads) for _ in range(wanted.n_shards)]
        self._asked = f"{wanted.n_shards} shards of {wanted.cpus:g} CPUs"
        self._where: list[dict[str, Any]] = []
        self._stores: WeakKeyDictionary[ShardedStore, int] = WeakKeyDictionary()
        self._made = 0

    def __call__(self, config: Config, geometry: Geometry) -> ShardedStore:
        """An empty store; see `ring_setup.MakeStore`.

        Raises:
            ConfigError: an `ignore` that cannot be used, or a matcher that is not installed.
            ShardLostError: a shard is gone, or there is no room for it.
        """
        wanted = store_wanted(config, geometry)
        divided = divide(wanted.n_slots, len(self._shards), wanted.n_subsets)
        shards = self._shards[: len(divided)]
        number, self._made = self._made, self._made + 1
        parts = [RemotePart(shard, number) for shard in shards]
        store = ShardedStore(wanted.matcher, geometry, divided, parts, share=ray.put)
        living = set(self._stores.values())
        made = [
            shard.make.remote(number, PartWanted(store.name, len(slots), geometry, wanted.ignored), living)
            for shard, slots in zip(shards, divided, strict=True)
        ]
        self._arrive(made)
        self._stores[store] = number
        return store

    def status(self) -> list[dict[str, Any]]:
        """`pid` and `node` of each shard; empty until the first store is made."""
        return self._where

    def close(self) -> None:
        """End the shards. May be called again."""
        for shard in self._shards:
            ray.kill(shard)

    def _arrive(self, made: list[Any]) -> None:
        try:
            _get(made, timeout=_START_S)
            self._where = _get([shard.where.remote() for shard in self._shards], timeout=_START_S)
        except GetTimeoutError:
            raise ShardLostError(
                f"engine.shards: no node had room for {self._asked} within {_START_S:g} s; "
                "add a node, or lower engine.shards or engine.shard_cpus"
            ) from None


def store_maker(wanted: ShardsWanted) -> ShardedStores:
    """What a line's `Detector` makes its stores by; to be called in the line, which then owns the shards."""
    return ShardedStores(wanted)


def _get(results: Any, timeout: float | None = None) -> Any:
    """What Ray's references stand for; an error in a shard is raised as it was there."""
    try:
        return ray.get(results, timeout=timeout)
    except LOST as error:
        raise ShardLostError(f"engine.shards: a shard is gone ({type(error).__name__})") from None
    except RayTaskError as error:
        if isinstance(error.cause, LOST):  # what one shard has of another
            raise ShardLostError(f"engine.shards: a shard is gone ({type(error.cause).__name__})") from None
        if isinstance(error.cause, Exception):
            raise error.cause from None
        raise


def _own(features: Any) -> Any:
    """Copies of arrays that Ray lends read-only: the compiled loops know them as they are in one process."""
    if isinstance(features, np.ndarray):
        return _aligned(features)
    if isinstance(features, tuple):
        return type(features)(*map(_own, features))
    return features


def _aligned(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    copy = aligned_zeros(array.shape, array.dtype)
    copy[...] = array
    return copy

"""From configuration to ring: whether it fits in `ring.max_bytes`, before anything is allocated."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from musc_online import backbones, nearest
from musc_online.arrays import Geometry, grid_side
from musc_online.backbones.loading import choose_device
from musc_online.config import Config, RingConfig
from musc_online.errors import CapacityError, FrameError
from musc_online.frames import tile_side
from musc_online.ignore import ignored_maps
from musc_online.ring import Ring
from musc_online.ring_nearest import NearestRing
from musc_online.tiles import Tiling

MakeStore = Callable[[Config, Geometry], nearest.PatchStore]
"""Of a configuration and the shape of one image's features an empty store: see `store_wanted`."""


@dataclass(frozen=True, eq=False)
class StoreWanted:
    """The store of a ring: `ring.matcher`, slots, quarantine and all, subsets, `ignored` `[S, P]`."""

    matcher: str
    n_slots: int
    n_subsets: int
    geometry: Geometry
    ignored: npt.NDArray[np.bool_] | None


def expected_geometry(config: Config) -> Geometry:
    """The features the configured backbone will give, known without loading it.

    Raises:
        ConfigError: an unknown backbone, or tiles that overlap by more than half.
    """
    wanted, side = config.backbone, tile_side(config)
    n_channels = backbones.spec(wanted.name).n_channels
    return geometry_of(config, len(wanted.stages), side * side, n_channels)


def geometry_of(config: Config, n_stages: int, n_patches: int, n_channels: int) -> Geometry:
    """The shape of a frame's features.

    Args:
        config: method and tiles are used.
        n_stages: S, of one backbone input.
        n_patches: P, of one backbone input.
        n_channels: C.

    Raises:
        FrameError: not a square number of patches, or tiles that share more than half of so few.
    """
    tiles, method = config.tiles, config.method
    if tiles.count == 1:
        return Geometry(n_stages, method.degrees, n_patches, n_channels, position=method.position)
    tiling = Tiling(tiles.rows, tiles.cols, grid_side(n_patches), tiles.overlap)
    if 2 * tiling.overlap > tiling.side:
        raise FrameError(
            f"tokens: got tiles of {tiling.side} x {tiling.side} patches, expected at least "
            f"{2 * tiling.overlap} x {2 * tiling.overlap}: twice tiles.overlap"
        )
    if method.position is None:
        n_maps = tiling.n_tiles * n_stages
        return Geometry(n_maps, method.degrees, n_patches, n_channels, tiling=tiling)
    height, width = tiling.grid  # neighbouring tiles' borders are in reach: one map covers the frame
    return Geometry(n_stages, method.degrees, height * width, n_channels, (height, width), method.position)


def maps_of(config: Config, tokens: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Tokens `[T * S, ..., P, C]` of a frame's tiles, tile by tile, as the maps of `geometry_of`.

    Returns:
        `[T * S, ..., P, C]`, or `[S, ..., H * W, C]` where tiles are stitched to one map.
    """
    tiles = config.tiles
    if tiles.count == 1 or config.method.position is None:
        return tokens
    tiling = Tiling(tiles.rows, tiles.cols, grid_side(tokens.shape[-2]), tiles.overlap)
    return tiling.stitch(tokens.reshape(tiles.count, -1, *tokens.shape[1:]))


def make_ring(
    config: Config,
    geometry: Geometry,
    make_store: MakeStore | None = None,
    kind: Callable[[type[Ring]], Callable[..., Ring]] = lambda kind: kind,
) -> Ring:
    """An empty ring.

    Args:
        config: of the detector.
        geometry: shape of one image's features.
        make_store: called once it is known that the ring fits; by default the configured matcher's store in
            this process. `bench` looks up what was matched before.
        kind: from the ring's class to what makes the ring, called as that class is; `bench` remembers what
            it has averaged before.

    Raises:
        CapacityError: it does not fit in `ring.max_bytes`.
        ConfigError: `ring.nearest` without FAISS, or an `ignore` that cannot be used.
    """
    wanted = config.ring
    check_capacity(config, geometry)
    given: dict[str, Any] = {
        "capacity": wanted.capacity,
        "n_subsets": wanted.subsets,
        "score_against": None if wanted.score_against == "all" else wanted.score_against,
        "geometry": geometry,
        "store": (make_store or _own_store)(config, geometry),
        "interval": config.method.interval,
        "n_quarantine": wanted.n_quarantine,
    }
    if wanted.nearest is None:
        return kind(Ring)(**given)
    return kind(NearestRing)(**given, nearest=wanted.nearest, keep=_keep(wanted))


def store_wanted(config: Config, geometry: Geometry) -> StoreWanted:
    """What `make_store` is to make.

    Raises:
        ConfigError: an `ignore` that cannot be used.
    """
    ring = config.ring
    n_slots = ring.capacity + ring.n_quarantine
    return StoreWanted(ring.matcher, n_slots, ring.subsets, geometry, ignored_maps(config, geometry))


def _own_store(config: Config, geometry: Geometry) -> nearest.PatchStore:
    wanted = store_wanted(config, geometry)
    return nearest.create(
        wanted.matcher, wanted.n_slots, geometry, device=_device(config), ignored=wanted.ignored
    )


def ring_bytes(config: Config, geometry: Geometry, capacity: int | None = None) -> int:
    """Bytes that a ring holds, quarantine included: of `capacity` references, or of as many as configured."""
    ring = config.ring
    n_slots = (ring.capacity if capacity is None else capacity) + ring.n_quarantine
    store = nearest.price(ring.matcher, n_slots, geometry, device=_device(config))
    if ring.nearest is None:
        return store + Ring.price(n_slots, geometry)
    token_width = backbones.spec(config.backbone.name).class_dim * config.tiles.count
    return store + NearestRing.price_nearest(
        n_slots, geometry, ring.nearest, _keep(ring, capacity), ring.n_quarantine, token_width
    )


def check_capacity(config: Config, geometry: Geometry) -> None:
    """Raise CapacityError, saying what would fit, if the ring does not fit in `ring.max_bytes`."""
    ring = config.ring
    needed, allowed = ring_bytes(config, geometry), int(ring.max_bytes)
    if needed <= allowed:
        return
    fits = largest_capacity(config, geometry)
    advice = f"set ring.capacity to at most {fits}" if fits else "not even 2 images fit"
    if ring.nearest is not None and ring.keep > ring.nearest:
        advice += f", ring.keep ({ring.keep}) nearer to ring.nearest ({ring.nearest})"
    if ring.n_quarantine:
        advice += f" beside ring.quarantine ({ring.quarantine})"
    raise CapacityError(
        f"ring.capacity: got {ring.capacity}, which needs {_mib(needed)} ({geometry.n_stages} stages x "
        f"{geometry.n_patches} patches x {geometry.n_channels} channels), but ring.max_bytes allows "
        f"{_mib(allowed)}; {advice}, or ring.max_bytes to {_mib(needed, up=True)}"
    )


def largest_capacity(config: Config, geometry: Geometry) -> int:
    """The most slots whose features and table fit in `ring.max_bytes`; 0 if not even two do."""
    low, high = 0, config.ring.capacity
    while low < high:
        middle = (low + high + 1) // 2
        fits = ring_bytes(config, geometry, middle) <= int(config.ring.max_bytes)
        low, high = (middle, high) if fits else (low, middle - 1)
    return low if low >= 2 else 0


def _keep(ring: RingConfig, capacity: int | None = None) -> int:
    """Partners that a frame has room for: never more than there are references."""
    return min(ring.keep, ring.capacity if capacity is None else capacity)


def _device(config: Config) -> str:
    return str(choose_device(config.backbone.device))


def _mib(n_bytes: int, *, up: bool = False) -> str:
    return f"{-(-n_bytes // 2**20) if up else n_bytes / 2**20:{'d' if up else '.1f'}}MiB"

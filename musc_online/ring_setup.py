"""From configuration to ring: whether it fits in `ring.max_bytes`, before anything is allocated."""

from collections.abc import Callable

from musc_online import backbones, nearest
from musc_online.arrays import Geometry
from musc_online.backbones.loading import choose_device
from musc_online.config import Config
from musc_online.errors import CapacityError
from musc_online.ring import Ring, table_bytes


def expected_geometry(config: Config) -> Geometry:
    """The features the configured backbone will give, known without loading it.

    Raises:
        ConfigError: an unknown backbone.
    """
    wanted = config.backbone
    spec = backbones.spec(wanted.name)
    side = max(1, wanted.image_size // spec.patch_size)  # too small a size is told by the backbone
    return Geometry(len(wanted.stages), config.method.degrees, side * side, spec.n_channels)


def make_ring(
    config: Config,
    geometry: Geometry,
    store: nearest.PatchStore | None = None,
    kind: Callable[..., Ring] = Ring,
) -> Ring:
    """An empty ring.

    Args:
        config: of the detector.
        geometry: shape of one image's features.
        store: in the configured matcher's place; `bench` looks up what was matched before.
        kind: makes the ring, called as `Ring` is; `bench` remembers what it has averaged before.

    Raises:
        CapacityError: it does not fit in `ring.max_bytes`.
    """
    wanted = config.ring
    check_capacity(config, geometry)
    if store is None:
        n_slots = wanted.capacity + wanted.n_quarantine
        store = nearest.create(wanted.matcher, n_slots, geometry, device=_device(config))
    return kind(
        capacity=wanted.capacity,
        n_subsets=wanted.subsets,
        score_against=None if wanted.score_against == "all" else wanted.score_against,
        geometry=geometry,
        store=store,
        interval=config.method.interval,
        n_quarantine=wanted.n_quarantine,
    )


def ring_bytes(config: Config, geometry: Geometry, capacity: int | None = None) -> int:
    """Bytes that a ring holds, quarantine included: of `capacity` references, or of as many as configured."""
    ring = config.ring
    n_slots = (ring.capacity if capacity is None else capacity) + ring.n_quarantine
    store = nearest.price(ring.matcher, n_slots, geometry, device=_device(config))
    return store + table_bytes(n_slots, geometry)


def check_capacity(config: Config, geometry: Geometry) -> None:
    """Raise CapacityError, saying what would fit, if the ring does not fit in `ring.max_bytes`."""
    ring = config.ring
    needed, allowed = ring_bytes(config, geometry), int(ring.max_bytes)
    if needed <= allowed:
        return
    fits = largest_capacity(config, geometry)
    advice = f"set ring.capacity to at most {fits}" if fits else "not even 2 images fit"
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


def _device(config: Config) -> str:
    return str(choose_device(config.backbone.device))


def _mib(n_bytes: int, *, up: bool = False) -> str:
    return f"{-(-n_bytes // 2**20) if up else n_bytes / 2**20:{'d' if up else '.1f'}}MiB"

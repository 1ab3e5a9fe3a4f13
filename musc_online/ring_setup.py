"""From configuration to ring: whether it fits in `ring.max_bytes`, before anything is allocated."""

from musc_online import backbones, nearest
from musc_online.arrays import grid_side
from musc_online.backbones.loading import choose_device
from musc_online.config import Config
from musc_online.errors import CapacityError
from musc_online.ring import Geometry, Ring, table_bytes


def expected_geometry(config: Config) -> Geometry:
    """The features the configured backbone will give, known without loading it.

    Raises:
        ConfigError: an unknown backbone.
    """
    wanted = config.backbone
    spec = backbones.spec(wanted.name)
    side = wanted.image_size // spec.patch_size
    return Geometry(len(wanted.stages), len(config.method.degrees), side * side, spec.n_channels)


def make_ring(config: Config, geometry: Geometry) -> Ring:
    """An empty ring.

    Raises:
        CapacityError: it does not fit in `ring.max_bytes`.
        FrameError: the number of patches is not a square.
    """
    wanted = config.ring
    check_capacity(config, geometry)
    grid_side(geometry.n_patches)
    store = nearest.create(
        wanted.matcher,
        capacity=wanted.capacity,
        n_stages=geometry.n_stages,
        n_patches=geometry.n_patches,
        n_channels=geometry.n_channels,
        degrees=config.method.degrees,
        device=str(choose_device(config.backbone.device)),
    )
    return Ring(
        capacity=wanted.capacity,
        n_subsets=wanted.subsets,
        score_against=None if wanted.score_against == "all" else wanted.score_against,
        geometry=geometry,
        store=store,
        interval=config.method.interval,
    )


def image_bytes(geometry: Geometry, matcher: str) -> int:
    """Bytes of one image's features: float16 tokens and norms, or FAISS's float32 vectors per degree."""
    values = geometry.n_stages * geometry.n_patches * geometry.n_channels
    if matcher == "faiss":
        return values * 4 * geometry.n_degrees
    return values * 2 + geometry.width * 4


def ring_bytes(capacity: int, geometry: Geometry, matcher: str) -> int:
    """Bytes that a ring of `capacity` images holds."""
    return capacity * image_bytes(geometry, matcher) + table_bytes(capacity, geometry)


def check_capacity(config: Config, geometry: Geometry) -> None:
    """Raise CapacityError, saying what would fit, if the ring does not fit in `ring.max_bytes`."""
    ring = config.ring
    needed, allowed = ring_bytes(ring.capacity, geometry, ring.matcher), int(ring.max_bytes)
    if needed <= allowed:
        return
    fits = largest_capacity(allowed, image_bytes(geometry, ring.matcher), geometry)
    advice = f"set ring.capacity to at most {fits}" if fits else "not even 2 images fit"
    raise CapacityError(
        f"ring.capacity: got {ring.capacity}, which needs {_mib(needed)} ({geometry.n_stages} stages x "
        f"{geometry.n_patches} patches x {geometry.n_channels} channels), but ring.max_bytes allows "
        f"{_mib(allowed)}; {advice}, or ring.max_bytes to {_mib(needed, up=True)}"
    )


def largest_capacity(max_bytes: int, per_image: int, geometry: Geometry) -> int:
    """The most slots whose features and table fit in `max_bytes`; 0 if not even two do."""
    low, high = 0, max(2, max_bytes // max(per_image, 1) + 1)
    while low < high:
        middle = (low + high + 1) // 2
        fits = middle * per_image + table_bytes(middle, geometry) <= max_bytes
        low, high = (middle, high) if fits else (low, middle - 1)
    return low if low >= 2 else 0


def _mib(n_bytes: int, *, up: bool = False) -> str:
    return f"{-(-n_bytes // 2**20) if up else n_bytes / 2**20:{'d' if up else '.1f'}}MiB"

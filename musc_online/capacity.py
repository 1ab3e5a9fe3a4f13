"""Whether the ring fits in `ring.max_bytes`, before anything is allocated."""

from musc_online.config import Config
from musc_online.errors import CapacityError
from musc_online.ring import Geometry, largest_capacity, table_bytes


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


def _mib(n_bytes: int, *, up: bool = False) -> str:
    return f"{-(-n_bytes // 2**20) if up else n_bytes / 2**20:{'d' if up else '.1f'}}MiB"

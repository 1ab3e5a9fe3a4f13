"""The NAL units of H.264 by RTSP, put together as soon as they are whole."""

from dataclasses import dataclass
from functools import cached_property

_START = b"\0\0\0\1"
"""libav sets it before each unit; within one it cannot be."""
_SLICES = frozenset({1, 2, 5})
"""Types of units that carry a picture; of data partitions the first."""
_MOST_BYTES = 64 << 20
"""Of one unit; a key frame of 8192 x 4320 pixels that is not compressed at all is smaller."""


@dataclass(frozen=True, eq=False)
class Unit:
    """What one packet or several carried.

    Args:
        data: of whole NAL units, each behind its start code; empty where a unit cannot be put together.
        pts: of the picture that it is part of, in the stream's time base.
        is_sound: whether the picture may be whole, as far as is known.
    """

    data: bytes
    pts: int | None
    is_sound: bool = True

    @cached_property
    def firsts(self) -> list[int]:
        """Of each slice in it the macroblock with which it begins (`first_mb_in_slice`)."""
        units = self.data.split(_START[1:])[1:]
        return [_exp_golomb(unit[1:9]) for unit in units if unit and unit[0] & 0x1F in _SLICES]


def _exp_golomb(data: bytes) -> int:
    """The number with which some bytes begin: as many 0 bits as its digits after the first, then it + 1."""
    bits = "".join(f"{byte:08b}" for byte in data)
    zeros = len(bits) - len(bits.lstrip("0"))
    return int(bits[zeros : 2 * zeros + 1] or "1", 2) - 1


class Units:
    """Puts together what libav gives of RTP's fragments (FU-A), each in a packet of its own.

    libav does not hand on which fragment is the last one, nor RTP's mark at the end of a picture. So a unit
    is whole where the next one begins, and that is a picture later for a picture's last unit. Cameras fill
    each fragment but the last, though. Once this is seen of one, a fragment with room left ends its unit
    at once, and so does a first packet with room left; one that happens to be full waits for the next.
    A camera whose fragments turn out to differ is never again taken at its word: each of its units waits.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._pts: int | None = None
        self._count, self._last = 0, 0
        """Fragments in what is held; bytes of the newest one, without what the first has before it."""
        self._full, self._is_filled, self._differ = 0, False, False

    def of(self, data: bytes, pts: int | None) -> list[Unit]:
        """The units that are whole with this packet, in order; what is of the next is held."""
        found: list[Unit] = []
        if data.startswith(_START):
            found += self._ended()
            self._held, self._pts = bytearray(data), pts
            self._count, self._last = 1, len(data) - len(_START) - 1
            if data.rfind(_START) > 0:  # several small ones in one packet (STAP-A)
                return [*found, self._taken()]
        elif not self._held:  # its beginning was lost, or what was handed on had not ended
            self._differ = True
            return [Unit(b"", pts, is_sound=False)]
        else:
            self._goes_on()
            self._held += data
            self._count, self._last = self._count + 1, len(data)
        if len(self._held) > _MOST_BYTES:
            self._held = bytearray()
            return [*found, Unit(b"", self._pts, is_sound=False)]
        if self._is_filled and not self._differ and self._last < self._full:
            found.append(self._taken())
        return found

    def _goes_on(self) -> None:
        """The newest fragment is not the last one: it must be a full one."""
        self._full = self._full or self._last
        self._differ |= self._last != self._full

    def _ended(self) -> list[Unit]:
        """What is held, since another unit begins."""
        if not self._held:
            return []
        # Who shares a unit out evenly leaves less room in the last fragment than there are fragments.
        self._is_filled |= self._count > 1 and self._last < self._full - self._count
        self._differ |= self._count > 1 and self._last > self._full
        return [self._taken()]

    def _taken(self) -> Unit:
        data, self._held = bytes(self._held), bytearray()
        return Unit(data, self._pts)

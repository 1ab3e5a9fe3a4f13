"""Which pictures of H.264 have all their slices: a decoder fills in what is missing, and says nothing."""

from streamer.sources.units import Unit

_HELD = 64
"""Pictures that may be begun and not out yet; H.264 holds back 16."""
_ALIKE = 8
"""So many pictures with the same slices, and one that lacks some of them is damaged."""


class Slices:
    """Follows each picture from its first slice until the decoder gives it."""

    def __init__(self) -> None:
        self._begun: dict[int, set[int] | None] = {}
        """By the stream's time: the macroblocks at which slices begin; None of a picture that is damaged."""
        self._usual: set[int] = set()
        self._alike = 0
        self._is_coming = False

    def begin(self, unit: Unit) -> bool:
        """Note a unit, before it is decoded.

        Returns:
            Whether it begins a picture while an older one is not out: one that lacks its last slice is
            waited for by the decoder, which takes no newer one meanwhile.
        """
        if unit.pts is None or not (unit.firsts or not unit.is_sound):
            return False
        is_next = unit.pts not in self._begun and bool(self._begun)
        # Slices come in order; without its first one a picture is damaged from above.
        is_cut = unit.pts not in self._begun and unit.firsts[:1] != [0]
        before = self._begun.get(unit.pts, set())
        is_damaged = before is None or is_cut or not unit.is_sound
        self._begun[unit.pts] = None if is_damaged else {*(before or ()), *unit.firsts}
        if len(self._begun) > _HELD:
            del self._begun[min(self._begun)]
        return is_next

    def end(self, pts: int, is_interlaced: bool) -> tuple[bool, list[int]]:
        """The decoder gives a picture.

        Returns:
            Whether it has all its slices, and the times of those that were begun before it and never come.
        """
        never = sorted(begun for begun in self._begun if begun < pts)
        is_whole = self._is_usual(self._begun.get(pts, set()))
        self._begun = {begun: firsts for begun, firsts in self._begun.items() if begun > pts}
        # A decoder begins with a key frame; the half pictures of one have times of their own.
        is_counted = self._is_coming and not is_interlaced
        self._is_coming = True
        return is_whole, never if is_counted else []

    def _is_usual(self, firsts: set[int] | None) -> bool:
        if firsts is None:
            return False
        if firsts == self._usual:
            self._alike = min(self._alike + 1, 2 * _ALIKE)
        elif firsts < self._usual and self._alike >= _ALIKE:
            self._alike -= _ALIKE  # a second one may pass for that; then the camera is set otherwise
            return False
        else:
            self._usual, self._alike = firsts, 0
        return True

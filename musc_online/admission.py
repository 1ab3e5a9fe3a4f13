"""Which arrivals become references, and what operators do about those that are."""

from musc_online.arrays import FrameId
from musc_online.config import Config
from musc_online.ring import Ring
from musc_online.score import Score
from musc_online.window import Window


def check_room(config: Config, ring: Ring) -> None:
    """Raise FrameError if every arrival is to be kept (`ring.admit: all`) and every slot is pinned."""
    if config.ring.admit == "all":
        ring.free_slot()


def admits(config: Config, ring: Ring, score: Score) -> bool:
    """Whether an arrival is kept, by `ring.admit`, its provisional score and the room there is.

    During warm-up everything is a reference, or there would never be enough. A ring whose every slot is
    pinned takes nothing in: frames are scored against it all the same.
    """
    rule = config.ring.admit
    if ring.upcoming_slot() is None:
        return False
    if rule == "pinned_only":
        return not is_closed(config, ring)
    return rule == "all" or score.state == "warmup" or not score.pred_label


def is_closed(config: Config, ring: Ring) -> bool:
    """Whether `pinned_only` takes nothing in any more: as many frames are pinned as the warm-up needs."""
    return config.ring.admit == "pinned_only" and len(ring.pinned) >= config.warmup


class Operators:
    """An operator's word on frames in the ring; every method raises FrameError for an id that is not in it.

    Args:
        config: of the detector.
        ring: of the detector.
        window: of the detector.
    """

    def __init__(self, config: Config, ring: Ring, window: Window) -> None:
        self._config, self._ring, self._window = config, ring, window

    def pin(self, frame_id: FrameId) -> None:
        """Known good: never evicted, labelled False from now on, and with `pinned_only` what counts."""
        slot = self._ring.slot(frame_id)
        self._ring.pinned.add(slot)
        self._window.entries[slot].known_good = True
        if is_closed(self._config, self._ring):
            for other in set(self._ring.slot_of.values()) - self._ring.pinned:
                self._drop(other)

    def unpin(self, frame_id: FrameId) -> None:
        """May be evicted in its turn again."""
        self._ring.pinned.discard(self._ring.slot(frame_id))

    def forget(self, frame_id: FrameId) -> None:
        """A wrongly admitted defect: out of the ring and the table; its last score is final."""
        self._drop(self._ring.slot(frame_id))

    def false_alarm(self, frame_id: FrameId) -> None:
        """Good, and labelled False from now on, but not pinned."""
        self._window.entries[self._ring.slot(frame_id)].known_good = True

    def _drop(self, slot: int) -> None:
        self._window.leave(slot)
        self._ring.evict(slot)

"""Which arrivals become references, which go into quarantine, and how they change places."""

from collections.abc import Container
from typing import Literal

from musc_online.config import Config
from musc_online.errors import FrameError
from musc_online.ring import Ring
from musc_online.score import Score
from musc_online.window import Window

Place = Literal["reference", "quarantine", "out"]


def check_room(config: Config, ring: Ring) -> None:
    """Raise FrameError if every arrival is to be kept (`ring.admit: all`) and every slot is pinned."""
    if config.ring.admit == "all":
        ring.leaving()


def place(config: Config, ring: Ring, score: Score, *, is_copy: bool) -> Place:
    """Where an arrival goes, by `ring.admit`, its provisional score and the room there is.

    During warm-up everything is a reference, or there would never be enough; but with quarantine a copy of
    the frame before never is: a camera that freezes must not fill the ring with one picture. A ring whose
    every slot is pinned takes nothing in: frames are scored against it all the same.
    """
    rule = config.ring.admit
    if is_copy and rule == "quarantine":
        return "out"
    flagged = bool(score.pred_label) and score.state != "warmup"
    if flagged and rule == "quarantine":
        return "quarantine"
    if ring.is_full_of_pins or (flagged and rule == "below_threshold"):
        return "out"
    return "out" if is_closed(config, ring) else "reference"


def is_closed(config: Config, ring: Ring) -> bool:
    """Whether `pinned_only` takes nothing in any more: as many frames are pinned as the warm-up needs."""
    return config.ring.admit == "pinned_only" and len(ring.pinned) >= config.warmup


def drop(ring: Ring, window: Window, slot: int) -> None:
    """Out of ring and table; the frame's last score is final."""
    window.leave(slot)
    ring.evict(slot)


def move(ring: Ring, window: Window, slot: int, *, quarantined: bool, sparing: Container[int] = ()) -> None:
    """Make a frame a reference or put it into quarantine, where there is one; who makes room leaves the ring.

    A reference that is pinned stays one, and where nobody may leave, `sparing` among them, nothing moves.
    """
    if quarantined == (slot in ring.quarantined) or slot in ring.pinned or not ring.n_quarantine:
        return
    try:
        leaving = ring.leaving(quarantined=quarantined, sparing=sparing)
    except FrameError:
        return
    if leaving is not None:
        drop(ring, window, leaving)
    ring.move(slot, quarantined=quarantined)


def sort_by_label(config: Config, ring: Ring, window: Window, labels: dict[int, bool]) -> None:
    """After a revision: what it condemned goes into quarantine, what it cleared becomes a reference.

    A threshold set far too low must not cost the ring its references: none is condemned where that would
    push another frame out of quarantine, or leave fewer than warm-up asks for.

    Args:
        config: of the detector.
        ring: of the detector.
        window: of the detector.
        labels: of revised frames by slot, oldest first.
    """
    if not ring.n_quarantine:
        return
    for slot, label in labels.items():
        has_room = len(ring.quarantined) < ring.n_quarantine
        if label and has_room and len(ring) - len(ring.quarantined) > config.warmup + 1:
            move(ring, window, slot, quarantined=True)
    for slot, label in labels.items():
        if not label and ring.frame_ids[slot] is not None:
            move(ring, window, slot, quarantined=False)

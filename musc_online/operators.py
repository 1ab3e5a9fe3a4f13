"""An operator's word on frames and on groups of frames, and what it does to ring, labels and threshold."""

from collections.abc import Container
from dataclasses import replace
from typing import Any

from musc_online.admission import drop, is_closed, move
from musc_online.arrays import FrameId
from musc_online.config import Config
from musc_online.errors import FrameError
from musc_online.events import Events, Group
from musc_online.known import Truth, Word
from musc_online.ring import Ring
from musc_online.verdict import Verdict
from musc_online.window import Window

EXEMPLARS = 3
"""Frames of a rejected group that are kept, so that later ones are known by them."""


class Operators:
    """What operators may say; every method raises FrameError for a frame or group that is not there.

    Args:
        config: of the detector.
        ring: of the detector.
        window: of the detector.
        verdict: of the detector.
        events: of the detector.
    """

    def __init__(self, config: Config, ring: Ring, window: Window, verdict: Verdict, events: Events) -> None:
        self._config, self._ring, self._window = config, ring, window
        self._verdict, self._events = verdict, events

    def pin(self, frame_id: FrameId) -> None:
        """Known good: never evicted, labelled False from now on, and with `pinned_only` what counts.

        Args:
            frame_id: of a frame in the ring.

        Raises:
            FrameError: the frame is not in the ring; or it is in quarantine, and every reference is pinned.
        """
        slot = self._ring.slot(frame_id)
        if slot in self._ring.quarantined:
            self._ring.leaving()  # raises where there is no room
        self._call_good(slot)
        self._ring.pinned.add(slot)
        if is_closed(self._config, self._ring):
            for other in set(self._ring.slot_of.values()) - self._ring.pinned:
                drop(self._ring, self._window, other)

    def unpin(self, frame_id: FrameId) -> None:
        """May be evicted in its turn again.

        Args:
            frame_id: of a frame in the ring.

        Raises:
            FrameError: the frame is not in the ring.
        """
        self._ring.pinned.discard(self._ring.slot(frame_id))

    def forget(self, frame_id: FrameId) -> None:
        """A wrongly admitted defect: out of the ring and the table; its last score is final.

        Args:
            frame_id: of a frame in the ring.

        Raises:
            FrameError: the frame is not in the ring.
        """
        drop(self._ring, self._window, self._ring.slot(frame_id))
        self._events.clear(frame_id)

    def false_alarm(self, frame_id: FrameId) -> None:
        """Good, and labelled False from now on, but not pinned.

        Args:
            frame_id: of a frame in the ring.

        Raises:
            FrameError: the frame is not in the ring.
        """
        self._call_good(self._ring.slot(frame_id))

    def confirm(self, frame_id: FrameId, verdict: Truth, name: str | None = None) -> None:
        """The frame's truth, kept though it leaves the ring: the threshold is calibrated on it.

        Args:
            frame_id: of a frame in the ring, or of one that was confirmed before.
            verdict: `good` or `defect`.
            name: of the defect, for people.

        Raises:
            FrameError: neither in the ring nor told of before, or not `good` or `defect`.
        """
        if verdict not in ("good", "defect"):
            raise FrameError(f"verdict: got {verdict!r}, expected 'good' or 'defect'")
        known, held = self._verdict.known, self._ring.slot_of.get(frame_id)
        earlier = known.words.get(frame_id)
        if held is None and earlier is None:
            self._ring.slot(frame_id)  # raises
        raw = earlier.raw_score if earlier is not None else None
        if held is not None:
            raw = self._window.entries[held].score.raw_score
            (self._call_good if verdict == "good" else self._defect)(held)
        known.tell(frame_id, Word(verdict, name, raw))
        self._verdict.set_rule(self._verdict.rule)

    def accept(self, group: int) -> list[FrameId]:
        """The product changed: the group's frames are good, and references.

        After a changeover nothing else is a reference any more, but for pinned frames: among many of the old
        product the few of the new one would be anomalous for a third of the ring's length.

        Args:
            group: number of an event.

        Returns:
            The frames that were accepted.

        Raises:
            FrameError: no event has this number, or none of its frames is in the ring any more.
        """
        held = self._group(group)
        slots = self._slots(held)
        if not slots:
            raise FrameError(f"group: got {group!r}, of which no frame is in the ring any more")
        accepted = [self._window.entries[slot].score.frame_id for slot in slots]
        if held.kind == "changeover":
            for other in set(self._ring.slot_of.values()) - set(slots) - self._ring.pinned:
                if other not in self._ring.exemplars:
                    drop(self._ring, self._window, other)
        for slot in slots:
            self._good(slot, sparing=set(slots))
        self._window.stale = True
        self._events.accept(group)
        return accepted

    def reject(self, group: int, name: str) -> list[FrameId]:
        """A known defect: its frames are confirmed, and later ones that show it carry `name`.

        Args:
            group: number of an event.
            name: of the defect; later frames that show it carry it as `known_defect`.

        Returns:
            The frames that were rejected.

        Raises:
            FrameError: no event has this number.
        """
        held = self._group(group)
        slots = self._slots(held)
        rejected = [self._window.entries[slot].score.frame_id for slot in slots]
        for slot in slots:
            entry = self._window.entries[slot]
            self._verdict.known.tell(entry.score.frame_id, Word("defect", name, entry.score.raw_score))
        for slot in slots:
            self._defect(slot, sparing=set(slots))
        self._verdict.set_rule(self._verdict.rule)
        self._keep_exemplars([slot for slot in slots if slot in self._ring.quarantined])
        held.name, held.accepted = name, False
        return rejected

    def _keep_exemplars(self, slots: list[int]) -> None:
        """Hold the newest of `slots` in quarantine; half of it stays free for what comes."""
        kept = [slot for slot in self._ring.slot_of.values() if slot in self._ring.exemplars]
        kept += [slot for slot in slots[-EXEMPLARS:] if slot not in kept]
        most = self._ring.n_quarantine // 2
        self._ring.exemplars = set(kept[len(kept) - most :] if len(kept) > most else kept)

    def _group(self, group: int) -> Group:
        known: Any = {number: held for number, held in self._events.groups.items() if held.told}
        if isinstance(group, bool) or group not in known:
            there = ", ".join(map(str, known)) or "none"
            raise FrameError(f"group: got {group!r}, expected one of {there}")
        held: Group = known[group]
        return held

    def _slots(self, group: Group) -> list[int]:
        return [self._ring.slot_of[known] for known in group.frame_ids if known in self._ring.slot_of]

    def _call_good(self, slot: int) -> None:
        """One frame by itself: it belongs to no group any more."""
        self._events.clear(self._window.entries[slot].score.frame_id)
        self._good(slot)

    def _good(self, slot: int, sparing: Container[int] = ()) -> None:
        entry = self._window.entries[slot]
        entry.truth = False
        entry.score = replace(entry.score, known_defect=None)
        if self._verdict.known.correct(entry.score.frame_id, "good"):
            self._verdict.set_rule(self._verdict.rule)
        move(self._ring, self._window, slot, quarantined=False, sparing=sparing)

    def _defect(self, slot: int, sparing: Container[int] = ()) -> None:
        self._window.entries[slot].truth = True
        self._events.confirm(self._window.entries[slot].score.frame_id)
        self._ring.pinned.discard(slot)
        move(self._ring, self._window, slot, quarantined=True, sparing=sparing)

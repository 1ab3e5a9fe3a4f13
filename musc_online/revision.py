"""The window re-scored: against whom, by which threshold, and what that means for quarantine and events."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from musc_online import division, rscin, threshold
from musc_online.admission import move, sort_by_label
from musc_online.anomaly_map import Maps
from musc_online.config import Config
from musc_online.events import Events
from musc_online.parallel import spread
from musc_online.ring import Ring
from musc_online.score import Score
from musc_online.verdict import Verdict
from musc_online.window import Window, without_arrays

Values = npt.NDArray[np.float64]
Slots = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Scored:
    """A frame re-scored: `against` `[n]` slots, its `[P]` patch scores, its map and its raw score."""

    against: Slots
    patches: Values
    map_: Maps
    raw: float


Found = dict[int, Scored]
"""By slot, oldest first."""


class Revision:
    """One revision; the parts are those of its detector.

    Args:
        config: of the detector.
        ring: with frames in it.
        window: whose entries are re-scored.
        verdict: learns the threshold.
        events: told of frames that are condemned.
        model_id: to be written into the scores.
    """

    def __init__(
        self,
        config: Config,
        ring: Ring,
        window: Window,
        verdict: Verdict,
        events: Events,
        model_id: str,
    ) -> None:
        self._config, self._ring, self._window = config, ring, window
        self._verdict, self._events, self._model_id = verdict, events, model_id

    def run(self, slots: list[int], *, final: bool) -> list[Score]:
        """Revised scores of `slots` that are not final yet, in their order.

        Args:
            slots: occupied, oldest first.
            final: call the scores final.
        """
        found = self._score(self._support(slots), {})
        if not found:  # a single frame: at a flush it is final, and there was nothing to score it against
            return self._window.close(slots) if final else []
        self._learn(found)
        if self._ring.quarantined:
            self._clear(found)
            slots = [slot for slot in slots if slot in self._window.entries]
            found = self._score({slot: self._ring.references(slot) for slot in slots}, found)
            if not found:  # they met nobody but frames in quarantine
                return self._window.close(slots) if final else []
        revised = self._say(slots, found, final=final)
        self._sort(found)
        return revised

    def of_leaving(self, slot: int) -> None:
        """Revise a frame that would leave without ever having been: a ring smaller than `revise.every`."""
        entry = self._window.entries.get(slot)
        if entry is None or entry.score.revision or entry.score.is_final:
            return
        patches = self._ring.patch_scores(slot)
        if patches is None:
            return
        # Nobody has seen this score's map: it goes with it, for `take_finals` to hand over.
        map_ = self._verdict.frame_maps.maps(patches[None], [entry.frame_shape])[0]
        entry.score = self._revised(slot, patches, map_, entry.score.rscin_score)

    def _support(self, slots: list[int]) -> dict[int, Slots]:
        """Against whom slots are scored as the threshold is learned of them.

        References as ever. Frames in quarantine against all others, be they in quarantine too, but
        their twins: a rare variant of good parts is supported by its kind a little, a defect that repeats by
        its twins alone, and without them it is as anomalous as it was. Where only the nearest count, frames
        of another product do not support each other either: a handful would be enough.
        """
        ring = self._ring

        def supporters(slot: int) -> Slots:
            if slot not in ring.quarantined:
                return ring.references(slot)
            frame_id = self._window.entries[slot].score.frame_id
            but = self._events.twins(self._ring, frame_id)
            if self._config.ring.nearest is not None:  # a handful of another product would be all that counts
                but = [*but, *self._events.foreign(frame_id)]
            return ring.supporters(slot, [ring.slot_of[one] for one in but if one in ring.slot_of])

        return {slot: supporters(slot) for slot in slots}

    def _score(self, against: dict[int, Slots], before: Found) -> Found:
        """Score slots `against` others, where there are any; who was `before`, against the same, stays so."""
        frame_maps = self._verdict.frame_maps
        fresh = {
            slot: others
            for slot, others in against.items()
            if len(others) and not (slot in before and np.array_equal(others, before[slot].against))
        }
        found = {slot: before[slot] for slot in against if slot in before}
        if fresh:
            scores = _patch_scores(self._ring, fresh)
            shapes = [self._window.entries[slot].frame_shape for slot in fresh]
            maps = frame_maps.maps(scores, shapes)
            raw = frame_maps.raw_scores(scores, maps, shapes).tolist()
            scored = zip(fresh.values(), scores, maps, raw, strict=True)
            found |= {slot: Scored(*one) for slot, one in zip(fresh, scored, strict=True)}
        return {slot: found[slot] for slot, others in against.items() if len(others)}

    def _learn(self, found: Found) -> None:
        """Threshold and range are those of the window, at a flush of a larger ring too."""
        raw = {slot: one.raw for slot, one in found.items()}
        for slot, score in raw.items():
            entry = self._window.entries[slot]
            if entry.truth is not None:  # else it only has the id of a frame that was confirmed once
                self._verdict.known.rescored(entry.score.frame_id, score)
        newest = [slot for slot in self._window.newest() if slot in raw]
        few = len(newest) < threshold.ENOUGH
        recent = [slot for slot in newest if not self._is_repeat(slot, few=few)]
        if recent:
            self._verdict.learn(np.array([raw[slot] for slot in recent]), self._parting(recent, raw))

    def _parting(self, recent: list[int], raw: dict[int, float]) -> float:
        """Where good and defective frames part, of those that nobody called defects."""
        entries = self._window.entries
        slots = [slot for slot in recent if not entries[slot].truth]
        if len(slots) < division.ENOUGH:
            return math.inf

        def image_scores(patches: Values, of: Sequence[int]) -> Values:
            shapes = [entries[slot].frame_shape for slot in of]
            return self._verdict.frame_maps.worst_scores(patches, division.WORST, shapes)

        good = np.array([entries[slot].truth is False for slot in slots])
        scores, tokens = np.array([raw[slot] for slot in slots]), self._window.class_tokens(slots)
        return division.limit(self._ring, division.Frames(slots, scores, good, tokens, image_scores))

    def _is_repeat(self, slot: int, *, few: bool) -> bool:
        """Whether an older frame shows the same defect: counted once, or many would raise the threshold.

        Among few frames a single one raises it by enough to clear the rest: there it counts for none of them.
        """
        frame_id = self._window.entries[slot].score.frame_id
        twins = set(self._events.twins(self._ring, frame_id))
        if few or not twins:
            return bool(twins)
        return next(known for known in self._ring.slot_of if known == frame_id or known in twins) != frame_id

    def _clear(self, found: Found) -> None:
        """What is normal by its support becomes a reference; an operator's word stands above it."""
        limit = self._verdict.threshold
        for slot, one in found.items():
            entry = self._window.entries.get(slot)  # gone, if one before it took its place
            if entry is None or slot not in self._ring.quarantined or limit is None:
                continue
            if not entry.truth and entry.score.known_defect is None and one.raw < limit:
                move(self._ring, self._window, slot, quarantined=False)

    def _say(self, slots: list[int], found: Found, *, final: bool) -> list[Score]:
        wanted, class_tokens = self._config.rscin, self._window.class_tokens(found)
        raw = np.array([one.raw for one in found.values()])
        rescored = rscin.rescore(raw, class_tokens, wanted.neighbour_counts, wanted.normalise)
        by_slot = dict(zip(found, rescored.tolist(), strict=True))
        revised: list[Score] = []
        for slot in slots:
            entry = self._window.entries[slot]
            if slot not in found:  # nothing to score it against: at a flush what was said of it is final
                revised += self._window.close([slot]) if final else []
            elif not entry.score.is_final:
                one = found[slot]
                score = self._revised(slot, one.patches, one.map_, by_slot[slot], final=final)
                entry.score = without_arrays(score)
                revised.append(score)
        return revised

    def _revised(
        self, slot: int, patches: Values, map_: Maps, rscin_score: float | None, *, final: bool = False
    ) -> Score:
        entry = self._window.entries[slot]
        n_references = len(self._ring.references(slot))
        score = self._verdict.score(entry.score.frame_id, patches, map_, n_references, entry.frame_shape)
        name = entry.score.known_defect
        return replace(
            entry.labelled(_named(score, name)),
            rscin_score=rscin_score,
            revision=entry.score.revision + 1,
            is_final=final,
            model_id=self._model_id,
            known_defect=name,
        )

    def _sort(self, found: Found) -> None:
        """What the labels of this revision mean for quarantine and events, be the scores final long ago."""
        labels: dict[int, bool] = {}
        for slot, one in found.items():
            entry = self._window.entries[slot]
            score = replace(entry.score, threshold=self._verdict.threshold)
            label = self._verdict.label(one.raw, len(self._ring.references(slot)))
            label = _named(replace(score, pred_label=label), score.known_defect).pred_label
            label = label if entry.truth is None else entry.truth
            if label is not None:
                labels[slot] = label
            if label and score.raw_score is not None:
                self._events.flag(self._ring, score, one.patches, defect=bool(entry.truth))
        sort_by_label(self._config, self._ring, self._window, labels)


def _patch_scores(ring: Ring, against: dict[int, Slots]) -> Values:
    """`[n, P]` scores of slots against others, of which each has some."""
    beside = ring.complete(against)  # all that is matched is matched here: the threads below only read
    found = spread(lambda slot: ring.patch_scores(slot, against[slot], beside.get(slot)), against)
    return np.stack([scores for scores in found if scores is not None])


def _named(score: Score, known_defect: str | None) -> Score:
    """A known defect is anomalous whatever its score, where labels are given at all."""
    return score if known_defect is None or score.pred_label is None else replace(score, pred_label=True)

"""A line in tokens: parts of one product with a little noise, defects, other products, and who watches it."""

import numpy as np
from stream_support import detector

N_STAGES, N_PATCHES, N_CHANNELS = 2, 16, 24
NOISE = 0.25


class Product:
    """Parts that differ by noise; every draw advances one generator, so that a seed is one sequence."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.master = self.draw(1.0)

    def draw(self, scale):
        return scale * self.rng.normal(size=(N_STAGES, N_PATCHES, N_CHANNELS)).astype(np.float32)

    def part(self, noise=NOISE):
        """`[S, P, C]` tokens of one more good part."""
        return (self.master + self.draw(noise)).astype(np.float32)

    def defect(self, seed, patches=(5, 6)):
        """What replaces some patches of a part: of one seed, always the same."""
        rng = np.random.default_rng(1000 + seed)
        return list(patches), rng.normal(size=(N_STAGES, len(patches), N_CHANNELS)).astype(np.float32)

    def damaged(self, defect, noise=0.05):
        """A part that shows a defect."""
        patches, shown = defect
        part = self.part()
        part[:, patches] = shown + self.draw(noise)[:, patches]
        return part


class Watched:
    """A detector that is revised when that is due, and all that it said."""

    def __init__(self, capacity=40, **sections):
        sections.setdefault("method", {"degrees": [1]})
        sections["ring"] = {"admit": "quarantine", "quarantine": 10, **sections.get("ring", {})}
        self.stream = detector(capacity, **sections)
        self.first, self.last, self.events = {}, {}, []
        self.count = 0

    @property
    def ring(self):
        return self.stream.ring

    def show(self, part, frame_id=None, **known):
        """The provisional score of one more part."""
        frame_id = self.count if frame_id is None else frame_id
        self.count += 1
        token = known.pop("token", np.ones(4, np.float32))
        score = self.stream.step_tokens(part, token, frame_id, **known)
        self.first[frame_id] = self.last[frame_id] = score
        self.events += self.stream.take_events()
        if self.stream.revise_due:
            self.revise()
        self.stream.check_invariants()
        return score

    def revise(self):
        revised = self.stream.revise()
        self.last |= {score.frame_id: score for score in revised}
        self.last |= {score.frame_id: score for score in self.stream.take_finals()}
        self.events += self.stream.take_events()
        self.stream.check_invariants()
        return revised

    def show_all(self, parts):
        return [self.show(part) for part in parts]

    def kinds(self):
        return [event.kind for event in self.events]

    def references(self):
        """Ids of the frames that others are scored against."""
        return {known for known, slot in self.ring.slot_of.items() if slot not in self.ring.quarantined}

    def quarantined(self):
        return {self.ring.frame_ids[slot] for slot in self.ring.quarantined}


def line(product, n_good=30, **sections):
    """A detector that has seen good parts."""
    watched = Watched(**sections)
    watched.show_all(product.part() for _ in range(n_good))
    assert watched.events == []
    return watched

"""The online method over explicit lists: the oracle of a stream. Imports nothing of ours.

Every answer is recomputed from the images that are there; nothing is kept up to date.
"""

from dataclasses import dataclass, replace

import naive


class RefusedError(Exception):
    """What has to be an error, and to change nothing."""


@dataclass
class Said:
    """What is to be said of a frame. Patch scores and map are handed over once, and not kept."""

    image: int
    raw: float | None = None
    patches: object = None
    map: object = None
    rscin: float | None = None
    spread: float = 0.0
    """Range of the raw scores by which RsCIN was scaled, and below that of the normalised score."""
    range: float = 0.0
    pred: float | None = None
    label: bool | None = None
    threshold: float | None = None
    state: str = "warmup"
    n_references: int = 0
    revision: int = 0
    is_final: bool = False


def threshold_of(raw_scores, rule):
    """The label-free rules: a fixed score, a quantile, or the median and so many deviations."""
    if rule["rule"] == "fixed":
        return rule["value"]
    if not raw_scores:
        return None
    if rule["rule"] == "quantile":
        return quantile(raw_scores, rule["quantile"])
    middle = quantile(raw_scores, 0.5)
    return middle + rule["k"] * 1.4826 * quantile([abs(raw - middle) for raw in raw_scores], 0.5)


def quantile(values, fraction):
    """Linear between the two nearest of the sorted values."""
    ordered = sorted(values)
    at = fraction * (len(ordered) - 1)
    below = min(int(at), len(ordered) - 1)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (at - below) * (ordered[above] - ordered[below])


class Stream:
    """A detector's answers, one by one.

    Args:
        table: `naive.nearest_table` of all images that may come.
        class_tokens: [N, D].
        options: the sections of a configuration, each key that is read here given.
        in_time: how many subsets with images in them the deadline leaves time for; None for no deadline.
    """

    def __init__(self, table, class_tokens, options, in_time=None):
        self.table, self.class_tokens, self.options, self.in_time = table, class_tokens, options, in_time
        self.capacity, self.n_subsets = options["ring"]["capacity"], options["ring"]["subsets"]
        self.slots = [None] * self.capacity
        self.pinned, self.known_good = set(), set()
        self.pairs = set()
        self.order = []  # of arrival
        self.last = {}  # by image: what was last said of it
        self.finals = []
        self.arrivals = self.next_slot = self.next_subset = self.since_revision = 0
        self.threshold = threshold_of([], options["threshold"])
        self.lowest = self.highest = 0.0

    # What is there.

    def references(self, image):
        return sorted(other for left, other in self.pairs if left == image)

    def window(self):
        return self.order[-min(self.options["revise"]["window"], self.capacity) :]

    def due(self):
        """Every so often, once as the warm-up ends, and as a ring of pins closes with no threshold."""
        warm = self.arrivals == self.options["warmup"] + 1 and self.since_revision > 0
        closed = self.options["ring"]["admit"] == "pinned_only" and len(self.pinned) >= self.options["warmup"]
        unlearned = closed and self.threshold is None and len(self.order) > 1
        return self.since_revision >= self.options["revise"]["every"] or warm or unlearned

    def upcoming(self):
        """The slot of the next arrival: the next in turn that is not pinned."""
        for step in range(self.capacity):
            slot = (self.next_slot + step) % self.capacity
            if self.slots[slot] not in self.pinned:
                return slot
        return None

    # Scores.

    def scored(self, image, references):
        """Patch scores and map."""
        patches = naive.patch_scores(self.table, image, references, *self.options["method"]["interval"])
        return patches, naive.upsample(patches, self.options["output"]["map_size"])

    def judged(self, image, references, scored, cut_short=False):
        """All but RsCIN."""
        state = "degraded" if cut_short else "ready"
        if len(references) < self.options["warmup"]:
            state = "warmup"
        said = Said(image, threshold=self.threshold, state=state, n_references=len(references))
        if not references:
            return said
        said.patches, said.map = scored
        said.raw = float(said.map.max())
        if self.threshold is not None:
            said.pred, said.range = self.normalised(said.raw), self.highest - self.lowest
            if state != "warmup":
                said.label = said.raw >= self.threshold
        return said

    def normalised(self, raw):
        spread = self.highest - self.lowest
        if spread <= 0:
            return 0.5 if raw == self.threshold else float(raw > self.threshold)
        return min(max((raw - self.threshold) / spread + 0.5, 0.0), 1.0)

    def rescored(self, raw_scores, images):
        tokens = [self.class_tokens[image] for image in images]
        wanted = self.options["rscin"]
        return naive.rescore(raw_scores, tokens, wanted["neighbour_counts"], wanted["normalise"])

    # What happens.

    def arrive(self, image, decided=None):
        """The provisional score.

        Args:
            image: not in the ring.
            decided: `label -> label`, asked where admission hangs on it: within rounding of the threshold
                either label is right.
        """
        admit, upcoming = self.options["ring"]["admit"], self.upcoming()
        if admit == "all" and upcoming is None:
            raise RefusedError
        references, cut_short = self.matched(upcoming)
        scored = self.scored(image, references) if references else None
        said = self.judged(image, references, scored, cut_short)
        if said.raw is not None:
            known = [other for other in self.window() if self.last[other].raw is not None]
            raw_scores = [*(self.last[other].raw for other in known), said.raw]
            said.spread = max(raw_scores) - min(raw_scores)
            said.rscin = float(self.rescored(raw_scores, [*known, image])[-1])
        if decided:
            said.label = decided(said)
        room = upcoming is not None
        if admit == "pinned_only":
            kept = room and len(self.pinned) < self.options["warmup"]
        elif admit == "below_threshold":
            kept = room and (said.state == "warmup" or not said.label)
        else:
            kept = True
        if not kept:
            return replace(said, is_final=True)
        self.keep(image, upcoming, references, said)
        return said

    def matched(self, upcoming):
        """References of an arrival, and whether the deadline left some out; the next begins with those."""
        against = self.options["ring"]["score_against"]
        against = self.n_subsets if against == "all" else against
        references, begun, visited = [], 0, 0
        for step in range(against):
            subset = (self.next_subset + step) % self.n_subsets
            others = [
                other
                for slot, other in enumerate(self.slots)
                if slot % self.n_subsets == subset and slot != upcoming and other is not None
            ]
            if others and visited == self.in_time:
                self.next_subset = subset
                return references, True
            begun += 1
            visited += bool(others)
            references += others
        self.next_subset = (self.next_subset + begun) % self.n_subsets
        return references, False

    def keep(self, image, slot, references, said):
        leaving = self.slots[slot]
        if leaving is not None:
            last = self.last[leaving]
            if last.revision == 0 and not last.is_final and self.references(leaving):
                scored = self.scored(leaving, self.references(leaving))
                self.last[leaving] = self.revised(leaving, scored, rscin=last.rscin, spread=last.spread)
            self.leave(leaving)
        for other in references:
            self.pairs |= {(image, other), (other, image)}
        self.slots[slot] = image
        self.order.append(image)
        self.last[image] = without_arrays(said)
        self.next_slot = (slot + 1) % self.capacity
        self.arrivals += 1
        self.since_revision += 1

    def leave(self, image):
        """Its last score is final, if that was not said before; what an operator called good is good."""
        last = self.last.pop(image)
        if not last.is_final:
            self.finals.append(replace(last, is_final=True, label=self.label(image, last.label)))
        self.slots[self.slots.index(image)] = None
        self.order.remove(image)
        self.pairs = {pair for pair in self.pairs if image not in pair}
        self.pinned.discard(image)
        self.known_good.discard(image)

    def label(self, image, label):
        return False if image in self.known_good else label

    def revised(self, image, scored, *, rscin, spread, final=False):
        said = self.judged(image, self.references(image), scored)
        said.rscin, said.spread, said.is_final = rscin, spread, final
        said.revision = self.last[image].revision + 1
        said.label = self.label(image, said.label)
        return said

    def revise(self, *, final=False):
        """Revised scores of the window, or of all at a flush, those excepted that were final before."""
        self.since_revision = 0
        images = list(self.order if final else self.window())
        known = [image for image in images if self.references(image)]
        scored = {image: self.scored(image, self.references(image)) for image in known}
        raw_scores = [float(scored[image][1].max()) for image in known]
        spread = max(raw_scores, default=0.0) - min(raw_scores, default=0.0)
        rescored = dict(zip(known, self.rescored(raw_scores, known), strict=True)) if known else {}
        newest = [raw for image, raw in zip(known, raw_scores, strict=True) if image in self.window()]
        if newest:
            self.threshold = threshold_of(newest, self.options["threshold"])
            self.lowest, self.highest = min(newest), max(newest)
        said = []
        for image in images:
            last = self.last[image]
            if last.is_final or (image not in rescored and not final):
                continue
            if image in rescored:
                last = self.revised(
                    image, scored[image], rscin=float(rescored[image]), spread=spread, final=final
                )
            else:  # nothing to score it against
                last = replace(last, is_final=True, label=self.label(image, last.label))
            self.last[image] = without_arrays(last)
            said.append(last)
        return said

    # What operators do.

    def pin(self, image):
        self.pinned.add(image)
        self.known_good.add(image)
        if self.options["ring"]["admit"] == "pinned_only" and len(self.pinned) >= self.options["warmup"]:
            for other in [other for other in self.order if other not in self.pinned]:
                self.leave(other)

    def unpin(self, image):
        self.pinned.discard(image)

    def forget(self, image):
        self.leave(image)

    def false_alarm(self, image):
        self.known_good.add(image)

    def take_finals(self):
        taken, self.finals = self.finals, []
        return taken


def without_arrays(said):
    return replace(said, patches=None, map=None)


def largest_error(rule, of_a_score):
    """How far a threshold can be off where each raw score is off by `of_a_score`."""
    if rule["rule"] == "mad":
        return of_a_score * (1 + 2 * rule["k"] * 1.4826)
    return 0.0 if rule["rule"] == "fixed" else of_a_score

"""The online method over explicit lists: the oracle of a stream. Imports nothing of ours.

Every answer is recomputed from the images that are there; nothing is kept up to date.
"""

import math
from dataclasses import dataclass, replace

import naive
import naive_threshold
import numpy as np
from naive_frame import Frame
from naive_threshold import quantile
from naive_twins import Twins


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
    known_defect: str | None = None


def threshold_of(raw_scores, rule):
    """The label-free rules: a fixed score, a quantile, or the median and so many deviations."""
    if rule["rule"] == "fixed":
        return rule["value"]
    if not raw_scores:
        return None
    if rule["rule"] == "auto":
        return naive_threshold.auto(raw_scores, rule["false_alarms"])
    if rule["rule"] == "quantile":
        limit = quantile(raw_scores, rule["quantile"])
    else:
        middle = quantile(raw_scores, 0.5)
        deviation = quantile([abs(raw - middle) for raw in raw_scores], 0.5)
        limit = middle + rule["k"] * 1.4826 * deviation
    # What is at the threshold is anomalous, but scores that are all alike are not.
    return math.nextafter(max(0.02, limit), math.inf)


class Stream(Twins):
    """A detector's answers, one by one.

    Args:
        table: `naive.nearest_table` of all images that may come, or a list of such, one a tile.
        class_tokens: [N, D].
        options: the sections of a configuration, each key that is read here given.
        in_time: how many subsets with images in them the deadline leaves time for; None for no deadline.
    """

    def __init__(self, table, class_tokens, options, in_time=None):
        self.tables = table if isinstance(table, list) else [table]
        self.class_tokens, self.options, self.in_time = class_tokens, options, in_time
        self.frame = Frame(options)
        self.capacity, self.n_subsets = options["ring"]["capacity"], options["ring"]["subsets"]
        self.count = options["ring"].get("nearest")
        self.admit = options["ring"]["admit"]
        self.room = options["ring"]["quarantine"] if self.admit == "quarantine" else 0
        self.slots = [None] * (self.capacity + self.room)
        self.pinned, self.quarantined = set(), set()
        self.truth = {}  # by image in the ring: whether it is anomalous, where an operator told it
        self.known = {}  # by image, wherever it is: its truth and its last raw score
        self.pairs = set()
        self.order = []  # of arrival
        self.last = {}  # by image: what was last said of it
        self.marks = {}  # of anomalous images in the ring: flagged patches and their mean score
        self.twins = set()
        self.before = None
        self.typical = []  # median patch scores of the last normal images
        self.finals = []
        self.arrivals = self.next_subset = self.since_revision = 0
        self.stale = False
        self.raw_scores = []
        self.parting = math.inf
        self.threshold = threshold_of([], options["threshold"])
        self.lowest = self.highest = 0.0

    # What is there.

    def measured(self, image):
        return sorted(other for left, other in self.pairs if left == image)

    def references(self, image):
        """What is in quarantine is no reference for anything."""
        if self.count:
            return self.most_alike(image, [known for known in self.order if known not in self.quarantined])
        return [other for other in self.measured(image) if other not in self.quarantined]

    def most_alike(self, image, among):
        """By class token; of equal ones the one that came first."""
        among = [other for other in among if other != image]
        return sorted(naive.most_alike(self.class_tokens, image, among, self.count))

    def support(self, image):
        """As the threshold is learned: one in quarantine is held to all but its twins."""
        if image not in self.quarantined:
            return self.references(image)
        if self.count:
            kin = self.twins_of(image)
            if image in self.marks and self.marks[image][2]:  # of another product: not by its like either
                kin += [one for one in self.order if one in self.marks and self.marks[one][2]]
            return self.most_alike(image, [one for one in self.order if one not in kin])
        return [other for other in self.measured(image) if other not in self.twins_of(image)]

    def window(self):
        return self.order[-min(self.options["revise"]["window"], self.capacity) :]

    def due(self):
        """Ever less often as the ring grows, as a ring of pins closes, and where an operator changed much."""
        closed = self.admit == "pinned_only" and len(self.pinned) >= self.options["warmup"]
        unlearned = closed and self.threshold is None and len(self.order) > 1
        every = self.options["revise"]["every"]
        if self.arrivals > self.options["warmup"]:
            every = min(every, max(1, self.arrivals // 4))
        return self.since_revision >= every or unlearned or self.stale

    def leaving(self, quarantined=False):
        """Who goes when one more comes in: the oldest of its kind, or nobody where there is room."""
        if quarantined:
            held = [image for image in self.order if image in self.quarantined]
            return held[0] if len(held) >= self.room else None
        held = [image for image in self.order if image not in self.quarantined]
        if len(held) < self.capacity:
            return None
        free = [image for image in held if image not in self.pinned]
        if not free:
            raise RefusedError
        return free[0]

    def full_of_pins(self):
        return len(self.pinned) >= self.capacity

    # Scores.

    def scored(self, image, references):
        """Patch scores and map."""
        patches = self.patches(image, references)
        return patches, self.frame.map(patches)

    def patches(self, image, references, *, finest=False):
        """Patch scores, those of tiles stitched, 0 where the frame is ignored; of the least degree alone."""
        interval, tables = self.options["method"]["interval"], self.tables
        if finest:
            least = min(degree for _, degree in tables[0])
            tables = [{key: table[key] for key in table if key[1] == least} for table in tables]
        scored = [naive.patch_scores(table, image, references, *interval) for table in tables]
        return self.frame.patches(scored)

    def judged(self, image, references, scored, cut_short=False):
        """All but RsCIN."""
        state = "degraded" if cut_short else "ready"
        if len(references) < self.options["warmup"]:
            state = "warmup"
        said = Said(image, threshold=self.threshold, state=state, n_references=len(references))
        if not references:
            return said
        said.patches, said.map = scored
        said.raw = self.frame.raw(*scored)
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
        if self.admit == "all" and self.full_of_pins():
            raise RefusedError
        leaving = None if self.full_of_pins() else self.leaving()
        references, cut_short = self.matched(image, leaving)
        scored = self.scored(image, references) if references else None
        said = self.judged(image, references, scored, cut_short)
        if said.raw is not None:
            known = [other for other in self.window() if self.last[other].raw is not None]
            raw_scores = [*(self.last[other].raw for other in known), said.raw]
            said.spread = max(raw_scores) - min(raw_scores)
            said.rscin = float(self.rescored(raw_scores, [*known, image])[-1])
        if decided:
            said.label = decided(said)
        measured = [*references, *([] if self.late else self.quarantined)]
        if self.count:  # and the one before, whatever it looks like
            measured = [*references, self.before]
        copy = self.is_copy(image, measured)
        place = "out" if copy and self.admit == "quarantine" else self.place(said)
        if place != "out" or not copy:
            self.before = image
        if place == "out":
            said = replace(said, is_final=True)
        else:
            self.keep(image, measured, said, quarantined=place == "quarantine")
        self.note(image, said)
        return said

    def is_copy(self, image, measured):
        """Of the arrival before it, and so nothing new."""
        if self.before not in measured or self.before not in self.order:
            return False
        return bool(max(self.patches(image, [self.before])) < 0.02)

    def place(self, said):
        flagged = said.label and said.state != "warmup"
        if flagged and self.admit == "quarantine":
            return "quarantine"
        if self.full_of_pins() or (flagged and self.admit == "below_threshold"):
            return "out"
        closed = self.admit == "pinned_only" and len(self.pinned) >= self.options["warmup"]
        return "out" if closed else "reference"

    def matched(self, image, leaving):
        """References of an arrival, and whether the deadline left some out; the next begins with those."""
        if self.count:
            self.late = False
            there = [one for one in self.order if one != leaving and one not in self.quarantined]
            return self.most_alike(image, there), False
        against = self.options["ring"]["score_against"]
        against = self.n_subsets if against == "all" else against
        references, begun, visited, self.late = [], 0, 0, False
        for step in range(against):
            subset = (self.next_subset + step) % self.n_subsets
            others = [
                other
                for slot, other in enumerate(self.slots)
                if slot % self.n_subsets == subset and other not in {None, leaving, *self.quarantined}
            ]
            if others and visited == self.in_time:
                self.next_subset, self.late = subset, True
                return references, True
            begun += 1
            visited += bool(others)
            references += others
        self.next_subset = (self.next_subset + begun) % self.n_subsets
        self.late = visited == self.in_time  # no time is left for what is in quarantine
        return references, False

    def keep(self, image, measured, said, quarantined):
        leaving = self.leaving(quarantined)
        if leaving is not None:
            last = self.last[leaving]
            if last.revision == 0 and not last.is_final and self.references(leaving):
                scored = self.scored(leaving, self.references(leaving))
                self.last[leaving] = self.revised(leaving, scored, rscin=last.rscin, spread=last.spread)
            self.leave(leaving)
        for other in measured:
            if other in self.order:
                self.pairs |= {(image, other), (other, image)}
        self.slots[self.slots.index(None)] = image
        self.order.append(image)
        if quarantined:
            self.quarantined.add(image)
        self.last[image] = without_arrays(said)
        self.arrivals += 1
        self.since_revision += 1

    def move(self, image, quarantined):
        """Into quarantine or out of it, where there is one; a pinned image stays a reference."""
        if not self.room or image in self.pinned or quarantined == (image in self.quarantined):
            return
        try:
            leaving = self.leaving(quarantined)
        except RefusedError:
            return
        if leaving is not None:
            self.leave(leaving)
        (self.quarantined.add if quarantined else self.quarantined.discard)(image)

    def leave(self, image):
        """Its last score is final, if that was not said before; what an operator called good is good."""
        last = self.last.pop(image)
        if not last.is_final:
            self.finals.append(replace(last, is_final=True, label=self.label(image, last.label)))
        self.slots[self.slots.index(image)] = None
        self.order.remove(image)
        self.pairs = {pair for pair in self.pairs if image not in pair}
        self.pinned.discard(image)
        self.quarantined.discard(image)
        self.truth.pop(image, None)

    def label(self, image, label):
        return self.truth.get(image, label)

    def revised(self, image, scored, *, rscin, spread, final=False):
        said = self.judged(image, self.references(image), scored)
        said.rscin, said.spread, said.is_final = rscin, spread, final
        said.revision = self.last[image].revision + 1
        said.label = self.label(image, said.label)
        return said

    def revise(self, *, final=False, told=None, known=None, decided=None):
        """Revised scores of the window, or of all at a flush, those excepted that were final before.

        Args:
            final: a flush.
            told: raw scores of the window that the threshold is to be learned of, once they were found near
                enough: a rule that jumps is asked of the very same numbers.
            known: the same of confirmed images, by image.
            decided: of a `Said`, the label that was given: within rounding of the threshold either is right.
        """
        self.since_revision, self.stale = 0, False
        images = list(self.order if final else self.window())
        self.learn(images, told, known)
        images = [image for image in images if image in self.order]
        known = [image for image in images if self.references(image)]
        scored = {image: self.scored(image, self.references(image)) for image in known}
        raw_scores = [self.frame.raw(*scored[image]) for image in known]
        spread = max(raw_scores, default=0.0) - min(raw_scores, default=0.0)
        rescored = dict(zip(known, self.rescored(raw_scores, known), strict=True)) if known else {}
        said = []
        for image in images:
            last = self.last[image]
            if last.is_final or (image not in rescored and not final):
                continue
            if image in rescored:
                last = self.revised(
                    image, scored[image], rscin=float(rescored[image]), spread=spread, final=final
                )
                if decided:
                    last.label = decided(last)
            else:  # nothing to score it against
                last = replace(last, is_final=True, label=self.label(image, last.label))
            self.last[image] = without_arrays(last)
            said.append(last)
        self.sort([image for image in images if image in rescored], scored, {one.image: one for one in said})
        return said

    def learn(self, images, told, told_known):
        """Threshold and range; then what is normal by its support leaves quarantine."""
        support = {image: self.support(image) for image in images}
        raw = {
            image: self.frame.raw(*self.scored(image, others)) for image, others in support.items() if others
        }
        for image, score in raw.items():
            if image in self.known and image in self.truth:
                self.known[image] = (self.known[image][0], score)
        self.told_known(told_known)
        newest = [image for image in raw if image in self.window()]
        few = len(newest) < 30
        newest = [image for image in newest if not self.is_repeat(image, few)]
        if newest:
            found = [raw[image] for image in newest]
            assert told is None or np.allclose(found, told, rtol=0, atol=1e-4)
            self.raw_scores = found if told is None else [float(raw) for raw in told]
            raw |= dict(zip(newest, self.raw_scores, strict=True))
            self.parting = self.division([image for image in newest if not self.truth.get(image)], raw)
            self.decide()
            self.lowest, self.highest = min(self.raw_scores), max(self.raw_scores)
        for image in images:
            normal = image in raw and self.threshold is not None and raw[image] < self.threshold
            if image in self.quarantined and normal and not self.truth.get(image):
                self.move(image, quarantined=False)

    def told_known(self, raw_scores):
        for image, raw in (raw_scores or {}).items():
            truth, found = self.known[image]
            assert (raw is None and found is None) or abs(raw - found) <= 1e-4
            self.known[image] = (truth, raw)

    def is_repeat(self, image, few):
        """One defect counts once: that of the oldest of its twins; among few images it does not count."""
        if few:
            return bool(self.twins_of(image))
        held = self.order[: self.order.index(image)]
        return any(other in self.twins_of(image) for other in held)

    def division(self, images, raw):
        """Where good and defective frames part, each compared with those that look most like it."""
        partners = []
        for image in images:
            among = [other for other in self.order if other != image]
            if self.count:
                among = naive.most_alike(self.class_tokens, image, among, self.count)
            else:
                among = [other for other in among if (image, other) in self.pairs]
            among = [other for other in among if other in images]
            partners.append([images.index(other) for other in self.alike(image, among)[:28]])

        def level(frame, others):
            return math.log(self.worst(images[frame], [images[other] for other in others]))

        good = [frame for frame, image in enumerate(images) if self.truth.get(image) is False]
        return naive_threshold.division([raw[image] for image in images], good, partners, level)

    def alike(self, image, among):
        return naive.most_alike(self.class_tokens, image, among, len(among))

    def decide(self):
        rule = self.options["threshold"]
        self.threshold = threshold_of(self.raw_scores, rule)
        if rule["rule"] == "auto" and self.threshold is not None:
            self.threshold = min(self.threshold, self.parting)
            good = [raw for truth, raw in self.known.values() if truth == "good" and raw is not None]
            bad = [raw for truth, raw in self.known.values() if truth == "defect" and raw is not None]
            self.threshold = naive_threshold.calibrated(
                self.threshold, self.raw_scores, good, bad, rule["false_alarms"]
            )

    def sort(self, images, scored, said):
        """What is condemned goes into quarantine, what is cleared comes out of it, be it final long ago."""
        labels = {}
        for image in images:
            now = said.get(image) or self.judged(image, self.references(image), scored[image])
            labels[image] = self.label(image, now.label)
        for image, label in labels.items():
            if label and image not in self.marks and self.threshold is not None:
                self.flag(image, scored[image][0], self.threshold)
        for image, label in labels.items():
            n_references = len(self.order) - len(self.quarantined)
            if label and len(self.quarantined) < self.room and n_references > self.options["warmup"] + 1:
                self.move(image, quarantined=True)
        for image, label in labels.items():
            if label is False and image in self.order:
                self.move(image, quarantined=False)

    # What operators do.

    def pin(self, image):
        if image in self.quarantined:
            self.leaving()
        self.good(image)
        self.pinned.add(image)
        if self.admit == "pinned_only" and len(self.pinned) >= self.options["warmup"]:
            for other in [other for other in self.order if other not in self.pinned]:
                self.leave(other)

    def unpin(self, image):
        self.pinned.discard(image)

    def forget(self, image):
        self.leave(image)
        if image in self.marks:
            self.unmark(image)

    def false_alarm(self, image):
        self.good(image)

    def good(self, image):
        self.truth[image] = False
        if self.known.get(image, ("good",))[0] == "defect":
            self.known[image] = ("good", self.known[image][1])
            self.decide()
        self.move(image, quarantined=False)
        if image in self.marks:
            self.unmark(image)

    def confirm(self, image, verdict, told_known=None):
        self.known.pop(image, None)
        self.known[image] = (verdict, self.last[image].raw)
        if verdict == "good":
            self.good(image)
        else:
            self.truth[image] = True
            self.pinned.discard(image)
            self.move(image, quarantined=True)
        self.told_known(told_known)
        self.decide()

    def take_finals(self):
        taken, self.finals = self.finals, []
        return taken


def without_arrays(said):
    return replace(said, patches=None, map=None)


def largest_error(rule, of_a_score):
    """How far a threshold can be off where each raw score is off by `of_a_score`; `auto` is asked of the
    same raw scores, and then only sums are rounded.
    """
    if rule["rule"] == "mad":
        return of_a_score * (1 + 2 * rule["k"] * 1.4826)
    return 0.0 if rule["rule"] == "fixed" else of_a_score

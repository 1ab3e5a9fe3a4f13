"""Whose twin an image of a stream is, and who is a variant, in plain loops. Imports nothing of ours."""

import itertools

import naive
import numpy as np
from naive_threshold import quantile


class Twins:
    """The part of `naive_stream.Stream` that compares anomalous images: they show the same where flagged."""

    def note(self, image, said):
        """After an arrival: its mark, and whose twin it is."""
        for known in [known for known in self.marks if known not in self.order or known == image]:
            self.unmark(known)
        if said.label is None or said.patches is None:
            return
        if said.label or self.foreign(said.patches):
            self.flag(image, said.patches, said.threshold)
        else:
            self.typical = [*self.typical, self.middle(said.patches)][-100:]

    def flag(self, image, patches, threshold):
        foreign = self.foreign(patches)
        seen = self.frame.seen(patches)
        most = max(patches[i] for i in seen)
        flagged = [i for i in seen if foreign or patches[i] >= min(threshold, most)]
        mark = flagged, sum(patches[i] for i in flagged) / len(flagged), foreign, 0.0
        for other, (where, level, other_foreign, _) in self.marks.items():
            if other == image or foreign or other_foreign or not self.compared(image, other):
                continue
            there = self.between(image, other, flagged) <= 0.78 * mark[1]
            if there and self.between(other, image, where) <= 0.78 * level:
                self.twins |= {(image, other), (other, image)}
        self.marks[image] = mark
        alike = self.kin(image)
        for one in alike if len(alike) >= 3 else []:
            known = self.marks[one]
            if not known[3]:
                self.marks[one] = (*known[:3], self.strangeness(one))

    def kin(self, image):
        """An image, its twins and theirs, as they arrived."""
        twins = {one for left, one in self.twins if left == image}
        alike = {image, *twins, *(one for left, one in self.twins if left in twins)}
        return [one for one in self.order if one in alike]

    def twins_of(self, image):
        """None where they are good parts of a rare kind, strange to the good and scattered among them."""
        twins = [one for one in self.order if (image, one) in self.twins]
        if image not in self.marks:
            return twins
        alike = self.kin(image)
        if len(alike) < 3 or any(self.truth.get(one) for one in alike):
            return twins
        in_a_row = sum(one in alike and other in alike for one, other in itertools.pairwise(self.order))
        strange = quantile([self.marks[one][3] for one in alike], 0.5)
        return [] if strange >= 1.19 and in_a_row <= 0.5 * (len(alike) - 1) else twins

    def strangeness(self, image):
        """How much farther good images' worst patches, and median ones, are from it than from one another."""
        asked = self.references(image)
        if len(asked) > 28:
            asked = sorted(asked, key=lambda other: self.mean_distance(image, other))[:28]
        found = []
        for measure in (self.worst, self.usual):
            said = []
            for good in asked:
                others = [measure(good, [one]) for one in self.references(good) if one != image]
                if others:
                    said.append(measure(good, [image]) / quantile(others, 0.5))
            found.append(quantile(said, 0.5) if said else 0.0)
        return min(found)

    def mean_distance(self, image, other):
        return float(
            np.mean([distances[image, :, other] for table in self.tables for distances in table.values()])
        )

    def worst(self, image, others):
        """Mean of the worst hundredth of the patches, by the least degree."""
        scores = self.patches(image, others, finest=True)
        kept = set(self.frame.seen(scores))
        return max(0.02, naive.image_score(scores, None, 0.01, [i in kept for i in range(len(scores))]))

    def usual(self, image, others):
        """Median of the patches, by the least degree."""
        scores = self.patches(image, others, finest=True)
        return max(0.02, quantile([scores[i] for i in self.frame.seen(scores)], 0.5))

    def compared(self, image, other):
        """Whether their distances are known; with `nearest` they are matched when asked for."""
        if self.count:
            return image in self.order and other in self.order
        return (image, other) in self.pairs

    def foreign(self, patches):
        """Of another product, by its patches as a whole."""
        if not self.typical:
            return False
        usual = max(0.02, np.median(self.typical))
        return self.middle(patches) >= max(1.4 * usual, min(0.55, 2.4 * usual))

    def middle(self, patches):
        return float(np.median([patches[i] for i in self.frame.seen(patches)]))

    def unmark(self, image):
        del self.marks[image]
        self.twins = {pair for pair in self.twins if image not in pair}

    def between(self, image, other, patches):
        """Mean distance of some patches to another image."""
        distances = self.patches(image, [other])
        return float(np.mean([distances[patch] for patch in patches]))

"""The threshold's rules in plain loops: their oracle. Imports nothing of ours, and is slow on purpose."""

import itertools
import math
from statistics import NormalDist


def quantile(values, fraction):
    """Linear between the two nearest of the sorted values."""
    ordered = sorted(values)
    at = fraction * (len(ordered) - 1)
    below = min(int(at), len(ordered) - 1)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (at - below) * (ordered[above] - ordered[below])


def auto(raw_scores, false_alarms):
    """The highest score that is where those below it end, and below the gap where there is one."""
    scores = [max(raw, 0.02) for raw in raw_scores]
    n = len(scores)
    steps = NormalDist().inv_cdf(1 - false_alarms) - NormalDist().inv_cdf(0.85)
    limit = math.inf
    while True:
        below = [score for score in scores if score < limit]
        low, high = quantile(below, 0.25), quantile(below, 0.85)
        seen = math.log(high / low) / (NormalDist().inv_cdf(0.85) - NormalDist().inv_cdf(0.25))
        spread = min(0.113, max(0.08, 1.2 * seen)) if n >= 30 else 0.113
        end = high * math.exp(spread * steps * (1 + 8 / n))
        if end >= limit or sum(score < end for score in scores) < 0.4 * n:
            break
        limit = end
    return min(limit, gap(scores))


def gap(scores):
    """The middle of the best division into a low and a high group, if it is far enough apart."""
    logs = sorted(math.log(score) for score in scores)
    n = len(logs)
    if n < 30:
        return math.inf
    size, low, high, within = divided(logs)
    if high <= low or high - low < 4.25 * within or size / n < 0.55:
        return math.inf
    return math.exp((low + high) / 2)


def divided(values):
    """Try every division of sorted values; size of the lower group, both means, deviation within them."""
    n, best, found = len(values), -1.0, (len(values), 0.0, 0.0, 0.0)
    for size in range(1, n):
        low, high = sum(values[:size]) / size, sum(values[size:]) / (n - size)
        between = size * (n - size) * (high - low) ** 2
        if between > best:
            squares = [(x - low) ** 2 for x in values[:size]] + [(x - high) ** 2 for x in values[size:]]
            best, found = between, (size, low, high, math.sqrt(sum(squares) / n))
    return found


def division(raw_scores, good, partners, level):  # noqa: PLR0911 - each is a reason
    """Where good and defective frames part.

    Args:
        raw_scores: of the frames.
        good: which of them an operator called good.
        partners: for each frame others, most alike first, at most 28.
        level: `(frame, others) -> ` logarithm of the frame's image score against these.
    """
    n = len(raw_scores)
    if n < 45 or min(len(others) for others in partners) < 4:
        return math.inf
    half = sorted(raw_scores)[(n - 1) // 2]
    levels = []
    for frame, others in enumerate(partners):
        core = [other for other in others if raw_scores[other] <= half]
        if len(core) < 4:
            core = sorted(others, key=lambda other: raw_scores[other])[:4]
        levels.append(level(frame, core))
    ordered = sorted(levels)
    size, low, high, within = divided(ordered)
    if high <= low or high - low < 4.0 * within:
        return math.inf
    if size / n < 0.55:
        return math.inf
    lower = [frame for frame in range(n) if levels[frame] <= ordered[size - 1]]
    upper = [frame for frame in range(n) if levels[frame] > ordered[size - 1]]
    if len([frame for frame in upper if frame in good]) >= len(upper) / 2:
        return math.inf
    limit, agreement = parting(raw_scores, upper)
    if agreement < 0.85:
        return math.inf
    worse = []
    for frame in lower:
        own = [other for other in partners[frame] if other in lower]
        others = [other for other in partners[frame] if other in upper]
        count = min(len(own), len(others))
        if count >= 3:
            worse.append(level(frame, others[:count]) - level(frame, own[:count]))
    if len(worse) < 8 or len(worse) < len(lower) / 2:
        return math.inf
    return max(0.02, limit) if quantile(worse, 0.5) <= 0.08 else math.inf


def parting(raw_scores, upper):
    """The limit above which are most of these and few others, the highest of equals; its F1."""
    best, limit = 0.0, math.inf
    for low, high in itertools.pairwise(sorted(set(raw_scores))):
        middle = (low + high) / 2
        above = [frame for frame, raw in enumerate(raw_scores) if raw >= middle]
        f1 = 2 * len(set(above) & set(upper)) / (len(above) + len(upper))
        if f1 >= best:
            best, limit = f1, middle
    return limit, best


def calibrated(limit, raw_scores, good, defects, false_alarms):
    """By frames of which the truth is known."""
    if not good:
        return limit
    if defects:
        return best_f1(raw_scores, good, defects)
    # Of n exchangeable frames and one more it lies above the k-th lowest n + 1 - k times in n + 1.
    for lies_below, score in enumerate(sorted(good), start=1):
        if (len(good) + 1 - lies_below) / (len(good) + 1) <= false_alarms + 1e-12:
            return math.nextafter(max(score, 0.02), math.inf)
    return max(limit, math.nextafter(max(*good, 0.02), math.inf))


def best_f1(raw_scores, good, defects):
    """Where F1 is highest, by the known frames and by how many of the window lie above."""
    window, known_good, known_bad = (
        [math.log(max(raw, 0.02)) for raw in scores] for scores in (raw_scores, good, defects)
    )
    every = sorted({*window, *known_good, *known_bad})
    limits = [(low + high) / 2 for low, high in itertools.pairwise(every)] or every
    rows = [
        (above(known_good, limit), above(known_bad, limit), sum(x > limit for x in window) / len(window))
        for limit in limits
    ]
    weight = sum((recall - alarms) ** 2 for alarms, recall, _ in rows)
    share = 0.5
    if weight > 1e-9:
        share = sum((recall - alarms) * (flagged - alarms) for alarms, recall, flagged in rows) / weight
    share = min(max(share, 0.02), 0.9)
    expected = [
        share * recall / (share * recall + (1 - share) * alarms + share) + share * recall / (flagged + share)
        for alarms, recall, flagged in rows
    ]
    return math.exp(limits[max(range(len(limits)), key=lambda index: round(expected[index], 9))])


def above(known, limit):
    """Share of the known scores above a limit, each one blurred."""
    width = 0.04 * math.sqrt(3) / math.pi
    return sum(1 / (1 + math.exp(min(max((limit - score) / width, -60), 60))) for score in known) / len(known)

"""The metrics in plain loops: what the fast ones are tested against. Imports nothing of ours.

PRO's formula is the authors'; the words are ours. Everything here takes maps of any range and 0/1 masks.
"""

from itertools import pairwise

import numpy as np


def regions(mask):
    """The sets of anomalous pixels connected by sides or corners, each a list of (row, column)."""
    left = {(int(r), int(c)) for r, c in zip(*np.nonzero(mask), strict=True)}
    found = []
    while left:
        region, frontier = [], [left.pop()]
        while frontier:
            row, column = frontier.pop()
            region.append((row, column))
            for down in (-1, 0, 1):
                for right in (-1, 0, 1):
                    neighbour = (row + down, column + right)
                    if neighbour in left:
                        left.remove(neighbour)
                        frontier.append(neighbour)
        found.append(region)
    return found


def overlap_and_rate(masks, maps, found, threshold):
    """Mean over regions of the share above the threshold, and the share of normal pixels above it."""
    shares = []
    for anomaly_map, image_regions in zip(maps, found, strict=True):
        for region in image_regions:
            shares.append(sum(anomaly_map[pixel] > threshold for pixel in region) / len(region))
    normal = masks == 0
    return float(np.mean(shares)), float((maps[normal] > threshold).sum() / normal.sum())


def published_pro(masks, maps, limit=0.3, n_thresholds=200):
    low, high = float(maps.min()), float(maps.max())
    found = [regions(mask) for mask in masks]
    points = []
    for threshold in np.arange(low, high, (high - low) / n_thresholds):
        overlap, rate = overlap_and_rate(masks, maps, found, threshold)
        if rate < limit:
            points.append((rate, overlap))
    rates = [rate for rate, _ in points]
    if len(set(rates)) < 2:
        return float("nan")  # the published code stops with an error or divides by zero
    lowest, highest = min(rates), max(rates)
    return area(sorted(((rate - lowest) / (highest - lowest), overlap) for rate, overlap in points))


def exact_pro(masks, maps, limit):
    found = [regions(mask) for mask in masks]
    curve = [(0.0, 0.0)]
    for threshold in sorted(set(maps.ravel().tolist()), reverse=True):
        overlap, rate = overlap_and_rate(masks, maps, found, np.nextafter(threshold, -np.inf))
        curve.append((rate, overlap))
    inside = [point for point in curve if point[0] <= limit]
    if len(inside) < len(curve):
        (x0, y0), (x1, y1) = inside[-1], curve[len(inside)]
        inside.append((limit, y0 + (y1 - y0) * (limit - x0) / (x1 - x0)))
    return area(inside) / limit


def area(points):
    """The trapezoid rule along points of ascending x."""
    total = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        total += (x1 - x0) * (y0 + y1) / 2
    return total


def roc_area(labels, scores):
    """The chance that an anomalous value is above a normal one; ties count half."""
    wins, pairs = 0.0, 0
    for score, label in zip(scores, labels, strict=True):
        for other, other_label in zip(scores, labels, strict=True):
            if label and not other_label:
                pairs += 1
                wins += (score > other) + 0.5 * (score == other)
    return wins / pairs


def precision_and_recall(labels, scores):
    """One point a distinct score, from the largest down."""
    points = []
    for threshold in sorted(set(scores.tolist()), reverse=True):
        chosen = scores >= threshold
        hits = int((labels & chosen).sum())
        points.append((hits / int(chosen.sum()), hits / int(labels.sum())))
    return points


def average_precision(labels, scores):
    total, last = 0.0, 0.0
    for precision, recall in precision_and_recall(labels, scores):
        total += precision * (recall - last)
        last = recall
    return total


def f1_max(labels, scores):
    best = 0.0
    for precision, recall in precision_and_recall(labels, scores):
        if precision + recall > 0:
            best = max(best, 2 * precision * recall / (precision + recall))
    return best

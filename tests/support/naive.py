"""The method in plain loops over NumPy: the oracle. Imports nothing of ours, and is slow on purpose."""

import math

import numpy as np


def standardise(tokens):
    """One image, one stage: [P, C], one mean and one variance over everything; a constant image is zero."""
    if (tokens == tokens.flat[0]).all():
        return np.zeros_like(tokens)  # whatever the mean of equal numbers is rounded to
    mean = tokens.mean()
    variance = ((tokens - mean) ** 2).mean()
    return (tokens - mean) / math.sqrt(variance + 1e-5)


def aggregate_image(tokens, degree):
    """LNAMD of one image at one stage: [P, C] -> [P, C] unit vectors."""
    tokens = standardise(np.asarray(tokens, np.float64))
    n_patches, n_channels = tokens.shape
    side = math.isqrt(n_patches)
    reach = degree // 2
    out = np.zeros((n_patches, n_channels))
    for row in range(side):
        for column in range(side):
            total = np.zeros(n_channels)
            for y in range(row - reach, row + reach + 1):
                for x in range(column - reach, column + reach + 1):
                    if 0 <= y < side and 0 <= x < side:
                        total += tokens[y * side + x]
            mean = total / (degree * degree)
            out[row * side + column] = mean / max(math.sqrt((mean**2).sum()), 1e-12)
    return out


def aggregate(tokens, degree):
    """[N, P, C] -> [N, P, C]."""
    return np.stack([aggregate_image(image, degree) for image in tokens])


def nearest(image, other):
    """Unit vectors [P, C] and [Q, C] -> [P] distance of each patch to its nearest in the other image."""
    distances = np.empty(len(image))
    for patch in range(len(image)):
        distances[patch] = math.sqrt(((image[patch] - other) ** 2).sum(axis=1).min())
    return distances


def nearest_table(patch_tokens, degrees):
    """[S, N, P, C] -> {(stage, degree): [N, P, N]}; NaN on the diagonal."""
    n_images = patch_tokens.shape[1]
    table = {}
    for stage, tokens in enumerate(patch_tokens):
        for degree in degrees:
            vectors = aggregate(tokens, degree)
            distances = np.full((n_images, patch_tokens.shape[2], n_images), np.nan)
            for i in range(n_images):
                for j in range(n_images):
                    if i != j:
                        distances[i, :, j] = nearest(vectors[i], vectors[j])
            table[stage, degree] = distances
    return table


def interval_average(distances, low=0.0, high=0.3):
    """[R] -> one number."""
    ordered = sorted(float(value) for value in distances)
    first = min(int(len(ordered) * low), len(ordered) - 1)
    last = max(int(len(ordered) * high), first + 1)
    kept = ordered[first:last]
    return sum(kept) / len(kept)


def patch_scores(table, image, references, low=0.0, high=0.3):
    """Scores of one image's patches against the images named: mean over stages, then over degrees."""
    degrees = sorted({degree for _, degree in table})
    stages = sorted({stage for stage, _ in table})
    n_patches = next(iter(table.values())).shape[1]
    scores = np.zeros(n_patches)
    for patch in range(n_patches):
        by_degree = []
        for degree in degrees:
            averages = []
            for stage in stages:
                averages.append(interval_average(table[stage, degree][image, patch, references], low, high))
            by_degree.append(sum(averages) / len(averages))
        scores[patch] = sum(by_degree) / len(by_degree)
    return scores


def most_alike(class_tokens, image, among, count):
    """Those `among` whose class tokens point most where the image's does; of equal ones the first."""

    def unit(token):
        token = [float(value) for value in token]
        length = math.sqrt(math.fsum(value * value for value in token))
        return [value / length if length else 0.0 for value in token]

    mine = unit(class_tokens[image])

    def cosine(other):
        return math.fsum(a * b for a, b in zip(mine, unit(class_tokens[other]), strict=True))

    return sorted(among, key=lambda other: -round(cosine(other), 7))[:count]


def mutual_scores(patch_tokens, degrees, low=0.0, high=0.3, nearest=None, class_tokens=None):
    """[S, N, P, C] -> [N, P]; with `nearest`, against so many others each, by class token."""
    table = nearest_table(np.asarray(patch_tokens, np.float64), degrees)
    scores = []
    for image in range(patch_tokens.shape[1]):
        others = [other for other in range(patch_tokens.shape[1]) if other != image]
        if nearest is not None:
            others = most_alike(class_tokens, image, others, nearest)
        scores.append(patch_scores(table, image, others, low, high))
    return np.stack(scores)


def upsample(scores, size):
    """[P] -> [size, size], bilinear, corners aligned."""
    side = math.isqrt(len(scores))
    grid = np.asarray(scores, np.float64).reshape(side, side)
    out = np.empty((size, size))
    step = (side - 1) / (size - 1) if size > 1 else 0.0
    for y in range(size):
        for x in range(size):
            top, left = min(int(y * step), max(side - 2, 0)), min(int(x * step), max(side - 2, 0))
            bottom, right = min(top + 1, side - 1), min(left + 1, side - 1)
            down, across = y * step - top, x * step - left
            upper = grid[top, left] * (1 - across) + grid[top, right] * across
            lower = grid[bottom, left] * (1 - across) + grid[bottom, right] * across
            out[y, x] = upper * (1 - down) + lower * down
    return out


def rescore(image_scores, class_tokens, neighbour_counts=(1, 2, 3), normalise=True):
    """[N], [N, D] -> [N]."""
    scores = np.asarray(image_scores, np.float64)
    if scores.max() == scores.min():
        return scores.copy()
    scaled = (scores - scores.min()) / (scores.max() - scores.min())
    tokens = np.asarray(class_tokens, np.float64)
    if normalise and any(abs(np.linalg.norm(token) - 1) >= 1e-3 for token in tokens):
        tokens = np.stack([token / max(np.linalg.norm(token), 1e-12) for token in tokens])
    out = np.zeros(len(scores))
    for row in range(len(scores)):
        similarity = [float(tokens[row] @ other) for other in tokens]
        ranked = sorted(range(len(scores)), key=lambda other: -similarity[other])
        values = []
        for count in neighbour_counts:
            kept = ranked[:count]
            total = sum(similarity[other] for other in kept)
            weighted = sum(similarity[other] * scaled[other] for other in kept)
            values.append(weighted / total if abs(total) > 1e-12 else scaled[row])
        out[row] = sum(values) / len(values)
    return out

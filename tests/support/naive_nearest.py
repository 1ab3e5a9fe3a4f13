"""Nearest-patch distances in plain loops over NumPy float64; imports nothing of ours."""

import math

import numpy as np


def standardise(tokens):
    """[P, C] -> [P, C], one mean and one biased variance over everything."""
    values = np.asarray(tokens, dtype=np.float64)
    if (values == values.flat[0]).all():
        return np.zeros_like(values)
    return (values - values.mean()) / math.sqrt(values.var() + 1e-5)


def aggregate(tokens, degree):
    """[P, C] -> [P, C] unit vectors of zero-padded degree x degree means."""
    standard = standardise(tokens)
    side = math.isqrt(len(standard))
    half = degree // 2
    out = np.zeros_like(standard)
    for row in range(side):
        for column in range(side):
            total = np.zeros(standard.shape[1])
            for r in range(row - half, row + half + 1):
                for c in range(column - half, column + half + 1):
                    if 0 <= r < side and 0 <= c < side:
                        total += standard[r * side + c]
            mean = total / degree**2
            out[row * side + column] = mean / max(np.linalg.norm(mean), 1e-12)
    return out


def nearest(one, other):
    """[P, C], [Q, C] unit vectors -> [P] distance of each of `one` to its nearest of `other`."""
    distances = []
    for vector in one:
        distances.append(min(np.linalg.norm(vector - candidate) for candidate in other))
    return np.array(distances)


def match(tokens, others, degrees):
    """[S, P, C], [R, S, P, C] -> forward [R, S, D, P], backward [R, S, D, P]."""
    n_stages, n_patches, _ = tokens.shape
    shape = (len(others), n_stages, len(degrees), n_patches)
    forward, backward = np.zeros(shape), np.zeros(shape)
    for stage in range(n_stages):
        for d, degree in enumerate(degrees):
            arrival = aggregate(tokens[stage], degree)
            for j, other in enumerate(others):
                kept = aggregate(other[stage], degree)
                forward[j, stage, d] = nearest(arrival, kept)
                backward[j, stage, d] = nearest(kept, arrival)
    return forward, backward

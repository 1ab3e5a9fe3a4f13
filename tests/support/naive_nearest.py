"""Nearest-patch distances in plain loops over NumPy float64; imports nothing of ours."""

import numpy as np
from naive import aggregate_image, nearest


def match(tokens, others, degrees):
    """[S, P, C], [R, S, P, C] -> forward [R, S, D, P], backward [R, S, D, P]."""
    n_stages, n_patches, _ = tokens.shape
    shape = (len(others), n_stages, len(degrees), n_patches)
    forward, backward = np.zeros(shape), np.zeros(shape)
    for stage in range(n_stages):
        for d, degree in enumerate(degrees):
            arrival = aggregate_image(tokens[stage], degree)
            for j, other in enumerate(others):
                kept = aggregate_image(other[stage], degree)
                forward[j, stage, d] = nearest(arrival, kept)
                backward[j, stage, d] = nearest(kept, arrival)
    return forward, backward

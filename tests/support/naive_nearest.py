"""Nearest-patch distances in plain loops over NumPy float64; imports nothing of ours."""

import numpy as np
from naive import aggregate_image, all_candidates, nearest


def match(tokens, others, degrees, grid=None, position=None, ignored=None):
    """[S, P, C], [R, S, P, C] -> forward [R, S, D, P], backward [R, S, D, P]; `ignored [S, P]`."""
    n_stages, n_patches, _ = tokens.shape
    shape = (len(others), n_stages, len(degrees), n_patches)
    forward, backward = np.zeros(shape), np.zeros(shape)
    for stage in range(n_stages):
        hidden = None if ignored is None else ignored[stage]
        within = all_candidates(n_patches, grid, position, hidden)
        for d, degree in enumerate(degrees):
            arrival = aggregate_image(tokens[stage], degree, grid)
            for j, other in enumerate(others):
                kept = aggregate_image(other[stage], degree, grid)
                forward[j, stage, d], backward[j, stage, d] = nearest(arrival, kept, within, hidden)
    return forward, backward

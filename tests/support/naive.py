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


def sides(n_patches, grid=None):
    """(height, width) of the patches: a square unless said otherwise."""
    return grid or (math.isqrt(n_patches), math.isqrt(n_patches))


def aggregate_image(tokens, degree, grid=None):
    """LNAMD of one image at one stage: [P, C] -> [P, C] unit vectors."""
    tokens = standardise(np.asarray(tokens, np.float64))
    n_patches, n_channels = tokens.shape
    height, width = sides(n_patches, grid)
    reach = degree // 2
    out = np.zeros((n_patches, n_channels))
    for row in range(height):
        for column in range(width):
            total = np.zeros(n_channels)
            for y in range(row - reach, row + reach + 1):
                for x in range(column - reach, column + reach + 1):
                    if 0 <= y < height and 0 <= x < width:
                        total += tokens[y * width + x]
            mean = total / (degree * degree)
            out[row * width + column] = mean / max(math.sqrt((mean**2).sum()), 1e-12)
    return out


def aggregate(tokens, degree, grid=None):
    """[N, P, C] -> [N, P, C]."""
    return np.stack([aggregate_image(image, degree, grid) for image in tokens])


def candidates(patch, n_patches, grid=None, position=None, ignored=None):
    """Which patches of another image one patch is compared with.

    Those within `position` grid steps down and across, and none that is `ignored [P]`.
    """
    _, width = sides(n_patches, grid)
    found = []
    for other in range(n_patches):
        down, across = patch // width - other // width, patch % width - other % width
        near = position is None or (abs(down) <= position and abs(across) <= position)
        if near and not (ignored is not None and ignored[other]):
            found.append(other)
    return found


def all_candidates(n_patches, grid=None, position=None, ignored=None):
    """The `candidates` of each patch; None where it is compared with all."""
    if position is None and ignored is None:
        return None
    return [candidates(patch, n_patches, grid, position, ignored) for patch in range(n_patches)]


def nearest(image, other, within=None, ignored=None):
    """Unit vectors [P, C] of two images -> [P] distances of the one's patches, and [P] of the other's.

    Each is to the patch's nearest in the other of the two. `within`: see `all_candidates`. A patch that is
    `ignored [P]` itself, or has nothing to be compared with, is at distance 0.
    """
    squares = np.full((len(image), len(other)), np.inf)  # the same both ways
    for patch in range(len(image)):
        if ignored is None or not ignored[patch]:
            allowed = slice(None) if within is None else within[patch]
            squares[patch, allowed] = ((image[patch] - other[allowed]) ** 2).sum(axis=1)
    return tuple(
        [0.0 if least == math.inf else math.sqrt(least) for least in ways.min(axis=1)]
        for ways in (squares, squares.T)
    )


def nearest_table(patch_tokens, degrees, grid=None, position=None, ignored=None):
    """[S, N, P, C] -> {(stage, degree): [N, P, N]}; NaN on the diagonal. `ignored [S, P]`."""
    n_images = patch_tokens.shape[1]
    table = {}
    for stage, tokens in enumerate(patch_tokens):
        hidden = None if ignored is None else ignored[stage]
        within = all_candidates(patch_tokens.shape[2], grid, position, hidden)  # the same of every two images
        for degree in degrees:
            vectors = aggregate(tokens, degree, grid)
            distances = np.full((n_images, patch_tokens.shape[2], n_images), np.nan)
            for i in range(n_images):
                for j in range(i):
                    distances[i, :, j], distances[j, :, i] = nearest(vectors[i], vectors[j], within, hidden)
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


def mutual_scores(
    patch_tokens,
    degrees,
    low=0.0,
    high=0.3,
    nearest=None,
    class_tokens=None,
    position=None,
    grid=None,
    ignored=None,
):
    """[S, N, P, C] -> [N, P]; `nearest`: against so many others each, by class token; `ignored [S, P]`."""
    table = nearest_table(np.asarray(patch_tokens, np.float64), degrees, grid, position, ignored)
    scores = []
    for image in range(patch_tokens.shape[1]):
        others = [other for other in range(patch_tokens.shape[1]) if other != image]
        if nearest is not None:
            others = most_alike(class_tokens, image, others, nearest)
        scores.append(patch_scores(table, image, others, low, high))
    return np.stack(scores)


def upsample(scores, size, grid=None, view=(0.0, 0.0, 1.0, 1.0)):
    """[P] -> [height, width], bilinear, corners aligned.

    `grid` is (height, width) in patches, `view` where the frame's top, left, bottom and right edge lie on it,
    0 and 1 being its own. The map shows the whole frame, 0 where that lies outside of the grid.
    """
    rows, columns = (math.isqrt(len(scores)),) * 2 if grid is None else grid
    height, width = (size, size) if isinstance(size, int) else size
    grid = np.asarray(scores, np.float64).reshape(rows, columns)

    def place(at, count, start, stop, side):
        share = start + (stop - start) * at / (count - 1) if count > 1 else max(start, 0.0)
        position = share * (side - 1)
        if not -1e-9 <= position <= side - 1 + 1e-9:
            return None
        before = min(max(int(position), 0), max(side - 2, 0))
        return before, min(before + 1, side - 1), min(max(position - before, 0.0), 1.0)

    out = np.zeros((height, width))
    places = [place(x, width, view[1], view[3], columns) for x in range(width)]
    for y in range(height):
        down = place(y, height, view[0], view[2], rows)
        for x, across in enumerate(places):
            if down is None or across is None:
                continue
            top, bottom, low = down
            left, right, far = across
            upper = grid[top, left] * (1 - far) + grid[top, right] * far
            lower = grid[bottom, left] * (1 - far) + grid[bottom, right] * far
            out[y, x] = upper * (1 - low) + lower * low
    return out


def image_score(scores, map_, worst=None, scored=None):
    """[P] and [height, width] -> one number: the map's maximum, or the mean of the worst share of patches."""
    if worst is None:
        return max(float(value) for value in map_.ravel())
    kept = [float(score) for i, score in enumerate(scores) if scored is None or scored[i]]
    kept.sort(reverse=True)
    count = max(1, int(worst * len(kept)))
    return sum(kept[:count]) / count


def shown(grid, view):
    """Which patches of a grid (height, width) lie at least half inside of the frame; if none, the most so."""
    shares = []
    for row in range(grid[0]):
        for column in range(grid[1]):
            down = max(0.0, min(view[2] * grid[0], row + 1) - max(view[0] * grid[0], row))
            across = max(0.0, min(view[3] * grid[1], column + 1) - max(view[1] * grid[1], column))
            shares.append(down * across)
    return [share >= min(0.5, max(shares)) - 1e-9 for share in shares]


def covered(mask, grid):
    """[h, w] bool over the frame -> which cells of a grid (height, width) it covers for more than half."""
    height, width = len(mask), len(mask[0])
    cells = []
    for row in range(grid[0]):
        for column in range(grid[1]):
            area = 0
            for y in range(height):
                for x in range(width):
                    # In units in which a pixel and a cell both have whole edges.
                    down = min((row + 1) * height, (y + 1) * grid[0]) - max(row * height, y * grid[0])
                    across = min((column + 1) * width, (x + 1) * grid[1]) - max(column * width, x * grid[1])
                    area += max(0, down) * max(0, across) * bool(mask[y][x])
            cells.append(2 * area > height * width)
    return cells


def stitched(tiles, rows, cols, overlap):
    """[T][P] of square tiles -> the frame's patches, each from the tile in which it lies deepest."""
    side = math.isqrt(len(tiles[0]))
    step = side - overlap

    def deepest(place, count):
        best = None
        for tile in range(count):
            within = place - tile * step
            depth = min(within, side - 1 - within)
            if 0 <= within < side and (best is None or depth > best[0]):
                best = depth, tile, within
        return best[1:]

    out = []
    for y in range(rows * step + overlap):
        for x in range(cols * step + overlap):
            (down, row), (across, column) = deepest(y, rows), deepest(x, cols)
            out.append(tiles[down * cols + across][row * side + column])
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

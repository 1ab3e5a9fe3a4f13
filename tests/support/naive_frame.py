"""What becomes of a frame's patch scores, in plain loops. Imports nothing of ours."""

import naive
import numpy as np


class Frame:
    """What becomes of patch scores: tiles stitched, a rectangle ignored, a map and a raw score.

    Args:
        options: of the stream; what is missing is as published. `ignore` is one polygon, a rectangle.
    """

    def __init__(self, options):
        tiles = options.get("tiles", {})
        self.rows, self.columns = tiles.get("rows", 1), tiles.get("cols", 1)
        self.overlap = tiles.get("overlap", 0)
        self.stitched = (
            options["method"].get("position") is not None
        )  # tokens were, before they were compared
        self.image_score = options["method"].get("image_score", "max")
        self.rectangle = options.get("ignore")
        self.size = options["output"]["map_size"]

    def grid(self, n_patches):
        for side in range(1, n_patches + 1):
            step = side - self.overlap
            height, width = self.rows * step + self.overlap, self.columns * step + self.overlap
            if height * width == n_patches:
                return height, width
        raise ValueError

    def hidden(self, grid):
        """Cells of a grid that the rectangle covers for more than half."""
        if self.rectangle is None:
            return [False] * (grid[0] * grid[1])
        (left, top), _, (right, bottom), _ = self.rectangle[0]

        def share(cell, n_cells, start, stop):
            return max(0.0, min(cell + 1, stop * n_cells) - max(cell, start * n_cells))

        down = [share(row, grid[0], top, bottom) for row in range(grid[0])]
        across = [share(column, grid[1], left, right) for column in range(grid[1])]
        return [high * wide > 0.5 + 1e-9 for high in down for wide in across]

    def patches(self, scored):
        scores = list(scored[0])
        if len(scored) > 1:
            scores = naive.stitched(scored, self.rows, self.columns, self.overlap)
        hidden = self.hidden(self.grid(len(scores)))
        return np.array([0.0 if out else score for score, out in zip(scores, hidden, strict=True)])

    def seen(self, patches):
        return [i for i, out in enumerate(self.hidden(self.grid(len(patches)))) if not out]

    def map(self, patches):
        grid = self.grid(len(patches))
        shape = [max(1, int(self.size * side / max(grid) + 0.5)) for side in grid]
        found = naive.upsample(patches, tuple(shape), grid)
        found[np.array(self.hidden(shape)).reshape(shape)] = 0.0
        return found

    def raw(self, patches, found):
        worst = None if self.image_score == "max" else self.image_score["worst"]
        kept = set(self.seen(patches))
        seen = [i in kept for i in range(len(patches))]
        return naive.image_score(patches, found, worst, seen)


def tables(tokens, degrees, tiles, position, rectangle):
    """Distances of all images: one table, or one a tile.

    Args:
        tokens: [T, S, N, P, C].
        degrees: LNAMD's.
        tiles: rows, cols and overlap.
        position: grid steps; None for all.
        rectangle: as `ignore` says it; None for nothing.
    """
    n_tiles, n_stages, n_images, n_patches, n_channels = tokens.shape
    side, shape = round(n_patches**0.5), (tiles["rows"], tiles["cols"], tiles["overlap"])
    frame = Frame({"tiles": tiles, "method": {}, "output": {"map_size": 1}, "ignore": rectangle})
    where = naive.stitched(np.arange(n_tiles * n_patches).reshape(n_tiles, n_patches), *shape)
    grid = frame.grid(len(where))
    hidden = np.array(frame.hidden(grid))
    if position is not None or n_tiles == 1:
        joined = tokens.transpose(1, 2, 0, 3, 4).reshape(n_stages, n_images, -1, n_channels)[:, :, where]
        return [naive.nearest_table(joined, degrees, grid, position, [hidden] * n_stages)]
    found, step = [], side - tiles["overlap"]
    for tile in range(n_tiles):
        top, left = step * (tile // tiles["cols"]), step * (tile % tiles["cols"])
        mine = hidden.reshape(grid)[top : top + side, left : left + side].ravel()
        found.append(naive.nearest_table(tokens[tile], degrees, None, None, [mine] * n_stages))
    return found

"""grid_sample as a loop over places and pixels, in float64."""

import itertools

import numpy as np

CUBIC = -0.75


def kernel(mode: str, d: float) -> float:
    """The weight of a cell at distance d of the place."""
    if mode == "nearest":
        return float(d == 0)
    d = abs(d)
    if mode == "bilinear":
        return max(0.0, 1 - d)
    if d <= 1:
        return (CUBIC + 2) * d**3 - (CUBIC + 3) * d**2 + 1
    return CUBIC * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0


def stand_in(cell: int, size: int, padding_mode: str, align: bool) -> int | None:
    """The cell of the image that is read for one anywhere on the axis."""
    if padding_mode == "border":
        return min(max(cell, 0), size - 1)
    if padding_mode == "reflection":
        if size == 1:
            return 0
        while not 0 <= cell < size:
            ends = (0, 2 * (size - 1)) if align else (-1, 2 * size - 1)
            cell = (ends[0] if cell < 0 else ends[1]) - cell
        return cell
    return cell if 0 <= cell < size else None


def loop_sample(x, grid, mode, padding_mode, align):
    """The sum over all cells around every place, one number after the other."""
    rank = grid.shape[-1]
    y = np.zeros((*grid.shape[:-1], x.shape[-1]))
    for o in np.ndindex(*grid.shape[:-1]):
        axes = []
        for axis, n in enumerate(x.shape[:rank]):
            g = grid[o][rank - 1 - axis]
            place = (g + 1) * (n - 1) / 2 if align else ((g + 1) * n - 1) / 2
            if mode == "nearest":
                place = float(np.round(place))  # halves to the even pixel
            near = range(int(np.floor(place)) - 1, int(np.floor(place)) + 3)
            axes.append(
                [
                    (stand_in(q, n, padding_mode, align), kernel(mode, place - q))
                    for q in near
                ]
            )
        for taps in itertools.product(*axes):
            cells, weights = zip(*taps, strict=True)
            if None not in cells:
                y[o] += np.prod(weights) * x[cells]
    return y

"""Pools as NumPy loops over single windows, in float64: slow, plain and independent."""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np


@dataclass
class Case:
    """One pool: an input's spatial sizes and the options, padding as pairs."""

    sizes: tuple[int, ...]
    window: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    ceil_mode: bool = False

    def options(self) -> dict:
        return {
            "strides": self.strides,
            "padding": self.padding,
            "dilation": self.dilation,
            "ceil_mode": self.ceil_mode,
        }

    def starts(self) -> list[list[int]]:
        """First cell of every window, an axis, found by trying one after the other."""
        axes = (self.sizes, self.window, self.strides, self.padding, self.dilation)
        return [self._starts(*axis) for axis in zip(*axes, strict=True)]

    def _starts(self, size, taps, stride, pads, dilation) -> list[int]:
        lo, hi = pads
        end = size + hi
        starts, start = [], -lo
        while start + dilation * (taps - 1) < end:
            starts.append(start)
            start += stride
        # One more that ends less than a stride behind, and leaves cells to see.
        beyond = start + dilation * (taps - 1) - (end - 1)
        if self.ceil_mode and 0 < beyond < stride and start < size:
            starts.append(start)
        return starts

    def output_sizes(self) -> tuple[int, ...]:
        return tuple(len(starts) for starts in self.starts())

    def windows(self) -> Iterator[tuple[tuple[int, ...], list[tuple[int, ...]]]]:
        """(output place, cells that the window looks at, in row-major order)."""
        for place in itertools.product(*(range(n) for n in self.output_sizes())):
            at = [s[o] for s, o in zip(self.starts(), place, strict=True)]
            taps = itertools.product(*(range(k) for k in self.window))
            steps = [np.multiply(self.dilation, tap) for tap in taps]
            yield place, [tuple(np.add(at, step).tolist()) for step in steps]

    def inside(self, cell: tuple[int, ...]) -> bool:
        return all(0 <= c < n for c, n in zip(cell, self.sizes, strict=True))

    def padded(self, cell: tuple[int, ...]) -> bool:
        """Whether the cell lies in the padded input, not beyond it."""
        return all(
            -lo <= c < n + hi
            for c, n, (lo, hi) in zip(cell, self.sizes, self.padding, strict=True)
        )

    def valid(self) -> bool:
        """Whether every window exists and sees a cell of the input."""
        return 0 not in self.output_sizes() and all(
            any(map(self.inside, cells)) for _, cells in self.windows()
        )


def lanes(x: np.ndarray, case: Case) -> Iterator[tuple[tuple, tuple]]:
    """Index tuples (before, behind) of every single plane of a channels-last x."""
    batch = x.shape[: x.ndim - 1 - len(case.sizes)]
    for before in np.ndindex(*batch):
        for channel in range(x.shape[-1]):
            yield before, (channel,)


def statistic_pool(x: np.ndarray, case: Case, statistic: Callable) -> np.ndarray:
    """`statistic(values, cells)` of every window's cells of the input."""
    batch = x.shape[: x.ndim - 1 - len(case.sizes)]
    y = np.empty((*batch, *case.output_sizes(), x.shape[-1]))
    for place, cells in case.windows():
        seen = [cell for cell in cells if case.inside(cell)]
        for before, behind in lanes(x, case):
            values = [float(x[(*before, *cell, *behind)]) for cell in seen]
            y[(*before, *place, *behind)] = statistic(values, cells)
    return y


def selected(values: list[float], sign: int) -> int:
    """Which value a maximum (minimum: sign −1) takes: first of equals, last NaN."""
    best = 0
    for i, value in enumerate(values):
        if math.isnan(value) or sign * value > sign * values[best]:
            best = i
    return best


def extreme_pool(
    x: np.ndarray, case: Case, sign: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Values, and flat places of the selected cells in their planes."""
    batch = x.shape[: x.ndim - 1 - len(case.sizes)]
    shape = (*batch, *case.output_sizes(), x.shape[-1])
    y, indices = np.empty(shape), np.empty(shape, np.int32)
    for place, cells in case.windows():
        seen = [cell for cell in cells if case.inside(cell)]
        for before, behind in lanes(x, case):
            values = [float(x[(*before, *cell, *behind)]) for cell in seen]
            i = selected(values, sign)
            y[(*before, *place, *behind)] = values[i]
            flat = np.ravel_multi_index(seen[i], case.sizes)
            indices[(*before, *place, *behind)] = flat
    return y, indices


def scatter(g: np.ndarray, indices: np.ndarray, case: Case) -> np.ndarray:
    """The gradient of `extreme_pool`: every entry of g added where its cell stood."""
    rank = len(case.sizes)
    batch, channels = g.shape[: g.ndim - 1 - rank], g.shape[-1]
    dx = np.zeros((*batch, *case.sizes, channels))
    for place in np.ndindex(*g.shape):
        cell = np.unravel_index(indices[place], case.sizes)
        dx[(*place[: len(batch)], *cell, place[-1])] += g[place]
    return dx


def avg_pool(
    x: np.ndarray, case: Case, count_include_pad: bool, divisor: int | None = None
) -> np.ndarray:
    def mean(values, cells):
        count = sum(map(case.padded, cells)) if count_include_pad else len(values)
        return sum(values) / (divisor or count)

    return statistic_pool(x, case, mean)


def adaptive_pool(x: np.ndarray, output_size, statistic: Callable) -> np.ndarray:
    """PyTorch's rule, window by window; `output_size` without None."""
    rank = len(output_size)
    sizes = x.shape[-1 - rank : -1]
    y = np.empty((*x.shape[: -1 - rank], *output_size, x.shape[-1]))
    for place in np.ndindex(*output_size):
        window = tuple(
            slice(math.floor(o * n / m), math.ceil((o + 1) * n / m))
            for o, n, m in zip(place, sizes, output_size, strict=True)
        )
        cells = x[(..., *window, slice(None))]
        axes = tuple(range(-1 - rank, -1))
        y[(..., *place, slice(None))] = statistic(cells, axis=axes)
    return y

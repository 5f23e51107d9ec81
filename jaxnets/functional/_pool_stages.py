"""The passes in which a maximum over windows is taken.

Neighbouring axes share a pass while their windows have few taps together; otherwise the
last axis comes first: the first of equal cells in each row, then the first of equal
rows, is the first in row-major order.
"""

import itertools
from collections.abc import Iterator
from math import prod
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnets.functional._pool_geometry import AxisWindow, Geometry
from jaxnets.functional._shapes import dilated_size

Kind = Literal["max", "min"]

# One pass looks at no more taps than this, one slice each. Axes of more are passed one
# by one, and an axis of more alone is halved (see `_halvings`).
MOST_TAPS = 9


class Stage(NamedTuple):
    """One pass over some neighbouring axes.

    Attributes:
        axis: the first of the axes, counted from the end: it holds under batch axes.
        windows: the windows along each of them.
        first: the first tap of each window that sees data, an axis.
        whole: windows stand side by side and are reduced, not sliced.
    """

    axis: int
    windows: tuple[AxisWindow, ...]
    first: tuple[tuple[int, ...], ...]
    whole: bool

    @property
    def taps(self) -> int:
        """Taps of one window."""
        return prod(a.taps for a in self.windows)

    @property
    def padded(self) -> bool:
        """Whether some window sees padding."""
        return not all(a.real().all() for a in self.windows)

    @property
    def dtype(self) -> np.dtype:
        """The smallest signed integers that count the taps."""
        return np.min_scalar_type(-self.taps - 1)

    def first_taps(self, rank: int) -> jax.Array:
        """Number of the first tap that sees data, shaped to broadcast over outputs."""
        number = np.zeros((), self.dtype)
        for a, first in zip(self.windows, self.first, strict=True):
            column = np.asarray(first, self.dtype)
            number = np.add.outer(number * self.dtype.type(a.taps), column)
        before = rank + self.axis
        behind = rank - before - len(self.windows)
        number = number.reshape((1,) * before + number.shape + (1,) * behind)
        return jnp.asarray(number)

    def inner_axes(self, rank: int) -> tuple[int, ...]:
        """The axes of the cells within a block, in an array of blocks."""
        first = rank + self.axis
        return tuple(first + 1 + 2 * i for i in range(len(self.windows)))

    def shifts(self) -> Iterator[tuple[int, ...]]:
        """How many blocks away a window's taps lie, all combinations over the axes."""
        for shift in itertools.product(*(range(a.overlaps()) for a in self.windows)):
            axes = zip(self.windows, shift, strict=True)
            if all((a.taps_in_block(i) >= 0).any() for a, i in axes):
                yield shift

    def beside(self, windows: jax.Array, fill: jax.Array) -> jax.Array:
        """Windows with `overlaps − 1` rows of `fill` on each side of every axis."""
        margins = [(a.overlaps() - 1, a.overlaps() - 1, 0) for a in self.windows]
        return lax.pad(windows, fill, self._config(windows.ndim, margins))

    def within(self, windows: jax.Array) -> jax.Array:
        """Windows without those rows; the transpose of `beside`."""
        for axis, a in enumerate(self.windows, start=windows.ndim + self.axis):
            margin = a.overlaps() - 1
            end = margin + a.outputs
            windows = lax.slice_in_dim(windows, margin, end, 1, axis)
        return windows

    def windows_before(self, windows: jax.Array, shift: tuple[int, ...]) -> jax.Array:
        """For every block the window that begins `shift` blocks before it."""
        axis = windows.ndim + self.axis
        for a, back in zip(self.windows, shift, strict=True):
            start = a.overlaps() - 1 - back
            windows = lax.slice_in_dim(windows, start, start + a.blocks(), 1, axis)
            axis += 1
        return windows

    def to_windows(self, blocks: jax.Array, shift: tuple[int, ...]) -> jax.Array:
        """Give each block's entry to its window; the transpose of `windows_before`."""
        margins = [
            (a.overlaps() - 1 - back, back, 0)
            for a, back in zip(self.windows, shift, strict=True)
        ]
        zero = jnp.zeros((), blocks.dtype)
        return lax.pad(blocks, zero, self._config(blocks.ndim, margins))

    def _config(self, rank: int, margins: list) -> list[tuple[int, int, int]]:
        before = rank + self.axis
        behind = rank - before - len(margins)
        return [(0, 0, 0)] * before + margins + [(0, 0, 0)] * behind

    def tap_numbers(self, rank: int, shift: tuple[int, ...]) -> jax.Array:
        """Number of the tap that sees each cell of a block, −1 where none does."""
        number, seen = np.zeros((), np.int64), np.ones((), bool)
        for a, start in zip(self.windows, shift, strict=True):
            along = a.taps_in_block(start)
            number = np.add.outer(number * a.taps, along)
            seen = np.logical_and.outer(seen, along >= 0)
        number = np.where(seen, number, -1).astype(self.dtype)
        return jnp.asarray(self._inner(number, rank))

    def real_blocks(self, rank: int) -> np.ndarray:
        """Which cells of windows that stand side by side hold data."""
        real = np.ones((), bool)
        for a in self.windows:
            real = np.logical_and.outer(real, a.real())
        before = rank + self.axis
        behind = rank - before - len(self.windows)
        return real.reshape((1,) * before + real.shape + (1,) * behind)

    def tap_slices(self, x: jax.Array) -> list[jax.Array]:
        """What each tap sees in a fitted x, in row-major order of the window."""
        seen = [x]
        for axis, a in enumerate(self.windows, start=x.ndim + self.axis):
            seen = [piece for one in seen for piece in a.tap_slices(one, axis)]
        return seen

    def _inner(self, number: np.ndarray, rank: int) -> np.ndarray:
        shape = [1] * (rank + len(self.windows))
        for axis, size in zip(self.inner_axes(rank), number.shape, strict=True):
            shape[axis] = size
        return number.reshape(shape)


def stages_of(geometry: Geometry) -> list[Stage]:
    """The passes of a pool, the last axis first, without axes that stay as they are."""
    stages = []
    for stage in groups_of(geometry):
        wide = stage.taps > MOST_TAPS and not stage.whole
        stages += _halvings(stage.axis, *stage.windows) if wide else [stage]
    return stages


def groups_of(geometry: Geometry) -> list[Stage]:
    """The same, with an axis of many taps as one pass."""
    if _side_by_side(geometry) and prod(a.taps for a in geometry) > MOST_TAPS:
        return [_stage(-1 - len(geometry), geometry, whole=True)]
    stages: list[Stage] = []
    group: list[AxisWindow] = []
    for axis, a in zip(range(-2, -2 - len(geometry), -1), geometry[::-1], strict=True):
        if group and prod(b.taps for b in group) * a.taps > MOST_TAPS:
            stages.append(_stage(axis + 1, group, whole=False))
            group = []
        if group or not a.idle():
            group.insert(0, a)
    if group:
        stages.append(_stage(-1 - len(geometry), group, whole=False))
    return stages


def _side_by_side(geometry: Geometry) -> bool:
    return all(a.stride == a.taps and a.dilation == 1 for a in geometry)


def _stage(axis: int, windows, *, whole: bool, real=None) -> Stage:
    """A pass; `real` says which cells of its only axis hold data, None means all."""
    first = []
    for a in windows:
        seen = a.real() if real is None else _seen(a, real)
        first.append(tuple(seen.argmax(axis=1).tolist()))
    return Stage(axis, tuple(windows), tuple(first), whole)


def _seen(a: AxisWindow, real: np.ndarray) -> np.ndarray:
    return a.real() & real[np.clip(a.cells(), 0, a.size - 1)]


def _halvings(axis: int, a: AxisWindow) -> list[Stage]:
    """Passes of two taps each along one axis.

    A window of k taps is two windows of m taps, k/2 ≤ m < k, that may overlap, since
    seeing a cell twice does a maximum no harm: log2(k) passes in place of k slices.
    """
    stages = []
    real = np.ones(a.size, bool)
    size, lo, taps = a.size, a.lo, 1
    cells = (a.outputs - 1) * a.stride + dilated_size(a.taps, a.dilation)
    while taps < a.taps:
        step, stride, outputs = taps * a.dilation, 1, cells - taps * a.dilation
        if taps * 2 >= a.taps:
            step, stride, outputs = (a.taps - taps) * a.dilation, a.stride, a.outputs
        half = AxisWindow(size, 2, stride, step, lo, 0, outputs)
        stages.append(_stage(axis, [half], whole=False, real=real))
        real = _seen(half, real).max(axis=1)
        size, lo, cells, taps = outputs, 0, outputs, taps * 2
    return stages


def lowest(x: jax.Array, kind: Kind) -> jax.Array:
    """What never beats a cell: −inf (+inf for a minimum), or the integers' bound."""
    if x.dtype == jnp.bool_:
        return jnp.asarray(kind == "min")
    if jnp.issubdtype(x.dtype, jnp.integer):
        bounds = jnp.iinfo(x.dtype)
        return jnp.asarray(bounds.min if kind == "max" else bounds.max, x.dtype)
    return jnp.asarray(-jnp.inf if kind == "max" else jnp.inf, x.dtype)

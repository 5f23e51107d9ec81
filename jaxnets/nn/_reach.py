"""Which cells of an input axis the cells of an array depend on, as a law of indices."""

import math
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import NamedTuple

Shape = tuple[int, ...]
Bound = int | float  # inf where there is nothing
NOTHING = (math.inf, -math.inf)


class Reach(NamedTuple):
    """The cells of one axis of the input that each cell of an array depends on.

    Cell (k₀, k₁, ...) sees the cells from low(j) through high(j), j = Σ aᵢ kᵢ, with
    low(j + p) = low(j) + advance and high likewise; p = len(low) is more than 1 behind
    a transposed convolution alone, whose cells see windows of unequal size. Borders do
    not enter: it is what holds in the middle of a large array.

    Attributes:
        steps: the aᵢ that are not 0, as (axis, a) in the order of the axes; empty where
            all cells see the same.
        low: the first cell for j = 0 ... p - 1, possibly negative; inf for none.
        high: the last one; -inf for none.
        advance: how far both move on while j goes through a period.
    """

    steps: tuple[tuple[int, int], ...]
    low: tuple[Bound, ...]
    high: tuple[Bound, ...]
    advance: int

    def at(self, j: int) -> tuple[Bound, Bound]:
        """The first and the last cell for one j, which may be negative."""
        turns, place = divmod(j, len(self.low))
        further = turns * self.advance
        return self.low[place] + further, self.high[place] + further

    def renumbered(self, axes: dict[int, int]) -> "Reach":
        """The same for an array whose axes stand elsewhere: old axis to new one."""
        steps = tuple(sorted((axes[axis], step) for axis, step in self.steps))
        return self._replace(steps=steps)

    def windowed(self, axis: int, stride: int, taps: Iterable[int]) -> "Reach":
        """Of an array whose cell k along `axis` sees the cells stride · k + tap."""
        step = dict(self.steps).get(axis, 0)
        if not step:
            return self
        moves = [step * tap for tap in taps]
        pairs = [hull(self.at(j + m) for m in moves) for j in range(len(self.low))]
        steps = {**dict(self.steps), axis: step * stride}
        return _reach(steps, pairs, self.advance)

    def reduced(self, axis: int, size: int) -> "Reach":
        """Of an array that has taken all `size` cells of an axis together."""
        kept = self.windowed(axis, 1, range(size))
        return kept._replace(steps=tuple(s for s in kept.steps if s[0] != axis))

    def all_reduced(self, shape: Shape) -> "Reach":
        """Of an array of which every cell sees what any one did."""
        reach = self
        for axis, _ in self.steps:
            reach = reach.reduced(axis, shape[axis])
        return reach

    def spread(self, axis: int, factor: int, shape: Shape) -> "Reach":
        """Of an array with `factor` - 1 cells that see nothing between any two."""
        if factor == 1 or axis not in dict(self.steps):
            return self
        if len(self.steps) > 1:
            return self.all_reduced(shape)
        alone = self.straightened()
        period = factor * len(alone.low)
        pairs = [alone.at(m // factor) if not m % factor else NOTHING
                 for m in range(period)]  # fmt: skip
        return _reach({axis: 1}, pairs, alone.advance)

    def straightened(self) -> "Reach":
        """The same with a step of 1, if one axis matters."""
        if len(self.steps) != 1 or self.steps[0][1] == 1:
            return self
        ((axis, step),) = self.steps
        old = len(self.low)
        period = old // math.gcd(old, step)
        pairs = [self.at(step * k) for k in range(period)]
        return _reach({axis: 1}, pairs, self.advance * step * period // old)

    def in_cells(self) -> "Reach":
        """The same with j counted in cells of the input, if the period is 1."""
        if len(self.low) > 1:
            return self
        steps = tuple((axis, step * self.advance) for axis, step in self.steps)
        return self._replace(steps=steps, advance=1) if self.advance else self

    def joined(self, other: "Reach", shape: Shape) -> "Reach":
        """Of an array whose cells see what those of either see."""
        a, b = self.straightened(), other.straightened()
        p, q = len(a.low), len(b.low)
        if a.steps != b.steps or a.advance * q != b.advance * p:
            # They move at different paces: no window follows both.
            a, b = a.all_reduced(shape), b.all_reduced(shape)
            p, q = len(a.low), len(b.low)
        period = math.lcm(p, q)
        pairs = [hull((a.at(j), b.at(j))) for j in range(period)]
        return _reach(dict(a.steps), pairs, a.advance * (period // p))

    def reshaped(self, old: Shape, new: Shape) -> "Reach":
        """Of an array whose cells have been counted through in another shape."""
        reach, steps = self, {}
        for first, size, step, axes in _runs(self.steps, old):
            found = _places(first, size, new)
            if found is None:
                for axis in axes:
                    reach = reach.reduced(axis, old[axis])
            else:
                steps |= {axis: step * times for axis, times in found}
        return reach._replace(steps=tuple(sorted(steps.items())))


def whole_axis(axis: int) -> Reach:
    """Of the input itself, whose cells see themselves."""
    return Reach(((axis, 1),), (0,), (0,), 1)


def union(reaches: Iterable[Reach | None], shape: Shape) -> Reach | None:
    """What sees all that any of them does; None if none sees anything."""
    found = [reach for reach in reaches if reach is not None]
    return reduce(lambda a, b: a.joined(b, shape), found) if found else None


def stacked(reaches: Sequence[Reach | None], axis: int, shape: Shape) -> Reach | None:
    """What each element of a stack sees, of which part i is at i along a new axis.

    Args:
        reaches: of the parts, None for one that sees nothing.
        axis: the new axis.
        shape: of the stack.
    """
    parts = [
        reach and reach.renumbered({a: a + (a >= axis) for a, _ in reach.steps})
        for reach in reaches
    ]
    known = [part.in_cells() for part in parts if part is not None]
    first, period = known[0], len(known[0].low)
    if len(known) == len(parts) > 1 and first.steps and first.advance:
        apart = known[1].low[0] - first.low[0]
        step, rest = divmod(apart * period, first.advance)
        alike = all(
            part.steps == first.steps
            and part.advance == first.advance
            and len(part.low) == period
            for part in known
        )
        if (
            alike
            and rest == 0
            and all(
                part.at(j) == first.at(j + i * int(step))
                for i, part in enumerate(known)
                for j in range(period)
            )
        ):
            steps = {**dict(first.steps), axis: int(step)} if step else first.steps
            return first._replace(steps=tuple(sorted(dict(steps).items())))
    return union(parts, shape)


def hull(pairs: Iterable[tuple[Bound, Bound]]) -> tuple[Bound, Bound]:
    """The smallest interval around several."""
    low, high = zip(*pairs, strict=True)
    return min(low), max(high)


def _reach(
    steps: dict[int, int], pairs: list[tuple[Bound, Bound]], advance: int
) -> Reach:
    low, high = zip(*pairs, strict=True)
    return Reach(tuple(sorted(steps.items())), low, high, advance)


def _runs(
    steps: tuple[tuple[int, int], ...], shape: Shape
) -> list[tuple[int, int, int, list[int]]]:
    """The axes that matter as (stride in memory, size, step, axes).

    Neighbours through which j counts on evenly are one run.
    """
    runs: list[tuple[int, int, int, list[int]]] = []
    for axis, step in reversed(steps):
        stride, size = math.prod(shape[axis + 1 :]), shape[axis]
        if size == 1:
            continue
        if runs:
            first, inner, inner_step, axes = runs[-1]
            if stride == first * inner and step == inner_step * inner:
                runs[-1] = (first, inner * size, inner_step, [axis, *axes])
                continue
        runs.append((stride, size, step, [axis]))
    return runs


def _places(first: int, size: int, new: Shape) -> list[tuple[int, int]] | None:
    """The new axes that count through a run, and by how many of its cells; or None."""
    found = []
    for axis, length in enumerate(new):
        stride = math.prod(new[axis + 1 :])
        end = stride * length
        if length == 1 or end <= first or stride >= first * size:
            continue
        if stride % first or end > first * size or first * size % end:
            return None
        found.append((axis, stride // first))
    return found

"""How axes are cut into tiles that are transformed one after the other.

A tile of an input holds `step + taps - 1` cells, of which the last `taps - 1` are also
the first of the next; what wraps round falls outside the `step` results that are kept
(overlap-save).
"""

from collections.abc import Callable
from math import prod
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.functional.conv_algorithms._fft_sizes import Axis
from jaxnets.functional.conv_algorithms._varying import zeros_varying

MOST_CUT = 32
"""Tiles that are a slice each."""


class Tile(NamedTuple):
    """How one axis is cut.

    Attributes:
        length: cells that are transformed.
        step: cells from one tile to the next; 0 where one tile is the whole axis.
        at_once: tiles transformed together.
    """

    length: int
    step: int = 0
    at_once: int = 1

    def count(self, cells: int) -> int:
        """Steps of `at_once` tiles that cover so many cells."""
        return -(-cells // (self.step * self.at_once)) if self.step else 1


class Plan(NamedTuple):
    """The axes of a problem, how they are cut, and how many images go together."""

    axes: tuple[Axis, ...]
    tiles: tuple[Tile, ...]
    images: int

    @property
    def lengths(self) -> tuple[int, ...]:
        """Lengths of the transform."""
        return tuple(tile.length for tile in self.tiles)

    @property
    def taps(self) -> tuple[int, ...]:
        """Taps of the kernel, an axis."""
        return tuple(axis.taps for axis in self.axes)

    @property
    def cells(self) -> tuple[int, ...]:
        """Cells of the input, an axis."""
        return tuple(axis.cells for axis in self.axes)

    @property
    def outputs(self) -> tuple[int, ...]:
        """Positions of the output, an axis."""
        return tuple(axis.outputs for axis in self.axes)

    def planes(self, channels: int, fan_out: int) -> tuple[int, int]:
        """Transforms of one image of the input, and of the kernel."""
        channels *= prod(axis.channels for axis in self.axes)
        return channels, channels * fan_out

    def counts(self, part: str, batch: int) -> tuple[int, int, int]:
        """Tiles in all images, steps they are done in, and tiles of one step."""
        steps = prod(
            count_steps(self, self.cells if part == "input_grad" else self.outputs)
        )
        phases = prod(axis.images for axis in self.axes)
        at_once = phases * prod(tile.at_once for tile in self.tiles)
        calls = -(-batch // self.images) * steps
        return batch * steps * at_once, calls, self.images * at_once


def kept(plan: Plan, sizes: tuple[int, ...]) -> list[int]:
    """Cells of a transformed tile that are results."""
    return [t.step or size for t, size in zip(plan.tiles, sizes, strict=True)]


def count_steps(plan: Plan, sizes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(t.count(size) for t, size in zip(plan.tiles, sizes, strict=True))


def tiled(
    tile: Callable[[jax.Array], jax.Array],
    a: jax.Array,
    plan: Plan,
    sizes: tuple[int, ...],
    *,
    ahead: bool,
) -> jax.Array:
    """`tile` of every tile, joined to `sizes` cells; `ahead` reads cells before."""
    steps = count_steps(plan, sizes)
    a = pad(a, plan, steps, ahead=ahead, overlap=True)

    def one(index: jax.Array | int) -> jax.Array:
        y = tile(take(a, plan, steps, index, overlap=True))
        for axis in reversed(range(len(steps))):
            if (several := plan.tiles[axis].at_once) > 1:
                y = y.reshape(several, -1, *y.shape[1:])
                y = jnp.moveaxis(y, 0, 3 + axis)
                y = lax.collapse(y, 3 + axis, 5 + axis)
        return y

    if prod(steps) == 1:
        y = one(0)
    else:
        y = lax.map(one, jnp.arange(prod(steps)))
        rank = len(steps)
        y = y.reshape(*steps, *y.shape[1:])
        pairs = zip(range(rank), range(rank + 3, 2 * rank + 3), strict=True)
        y = y.transpose(*range(rank, rank + 3), *(i for pair in pairs for i in pair))
        cells = [y.shape[i] * y.shape[i + 1] for i in range(3, 3 + 2 * rank, 2)]
        y = y.reshape(*y.shape[:3], *cells)
    return lax.slice(y, [0] * y.ndim, [*y.shape[:3], *sizes])


def pad(
    a: jax.Array, plan: Plan, steps: tuple[int, ...], *, ahead: bool, overlap: bool
) -> jax.Array:
    """Zeros before and behind, so that every tile is full."""
    widths = []
    for size, count, tile, taps in zip(
        a.shape[3:], steps, plan.tiles, plan.taps, strict=True
    ):
        reach = taps - 1 if overlap else 0
        before = reach if ahead else 0
        total = count * tile.at_once * tile.step + reach
        widths.append((before, total - before - size, 0) if tile.step else (0, 0, 0))
    return lax.pad(a, jnp.zeros((), a.dtype), [(0, 0, 0)] * 3 + widths)


def take(
    a: jax.Array,
    plan: Plan,
    steps: tuple[int, ...],
    index: jax.Array | int,
    *,
    overlap: bool,
) -> jax.Array:
    """The tiles of one step, stacked as images: `(at_once * images, ...)`."""
    for axis in reversed(range(len(steps))):
        tile = plan.tiles[axis]
        place = index % steps[axis]
        index = index // steps[axis]
        if not tile.step:
            continue
        reach = plan.taps[axis] - 1 if overlap else 0
        stride = tile.at_once * tile.step
        a = lax.dynamic_slice_in_dim(a, place * stride, stride + reach, 3 + axis)
        if tile.at_once > MOST_CUT:
            a = _side_by_side(a, 3 + axis, tile, reach)
        elif tile.at_once > 1:
            firsts = range(0, stride, tile.step)
            cut = [
                lax.slice_in_dim(a, first, first + tile.step + reach, axis=3 + axis)
                for first in firsts
            ]
            a = jnp.concatenate(cut)
    return a


def _side_by_side(a: jax.Array, axis: int, tile: Tile, reach: int) -> jax.Array:
    """The tiles along an axis of `at_once` steps and `reach` cells, as images.

    A tile is a step and what it sees of the next ones, so the slices are as many as
    those, however many tiles there are.
    """
    pieces, number = [], tile.at_once
    for first in range(0, tile.step + reach, tile.step):
        length = min(tile.step, tile.step + reach - first)
        end = first + (number - 1) * tile.step + length
        piece = lax.slice_in_dim(a, first, end, axis=axis)
        widths = [(0, 0, 0)] * a.ndim
        widths[axis] = (0, tile.step - length, 0)
        piece = lax.pad(piece, jnp.zeros((), a.dtype), widths)
        piece = piece.reshape(*a.shape[:axis], number, tile.step, *a.shape[axis + 1 :])
        pieces.append(lax.slice_in_dim(piece, 0, length, axis=axis + 1))
    tiles = jnp.moveaxis(jnp.concatenate(pieces, axis + 1), axis, 0)
    return tiles.reshape(-1, *tiles.shape[2:])


def by_images(
    some: Callable[[jax.Array], jax.Array], x: jax.Array, images: int
) -> jax.Array:
    """`some(x)`, computed for so many images after the other and then the rest.

    Slices of x and y where they are: `lax.map` has XLA copy all of x first.
    """
    if images >= len(x):
        return some(x)
    count, rest = divmod(len(x), images)
    one = jax.eval_shape(some, jax.ShapeDtypeStruct((images, *x.shape[1:]), x.dtype))

    def step(index: jax.Array, y: jax.Array) -> jax.Array:
        part = some(lax.dynamic_slice_in_dim(x, index * images, images))
        return lax.dynamic_update_slice_in_dim(y, part, index * images, 0)

    y = zeros_varying((len(x), *one.shape[1:]), one.dtype, x)
    y = lax.fori_loop(0, count, step, y)
    if rest:
        y = lax.dynamic_update_slice_in_dim(y, some(x[-rest:]), len(x) - rest, 0)
    return y


def sum_up(term: Callable[[jax.Array | int], jax.Array], count: int) -> jax.Array:
    """The sum of `term(index)`, one after the other."""
    total = term(0)
    if count == 1:
        return total
    total, _ = lax.scan(
        lambda total, index: (total + term(index), None), total, jnp.arange(1, count)
    )
    return total

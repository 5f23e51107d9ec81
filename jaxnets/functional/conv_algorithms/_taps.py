"""What each tap of the window sees of a padded input."""

from collections.abc import Iterator
from itertools import product

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.functional._shapes import dilated_size
from jaxnets.functional.conv_algorithms._spec import ConvSpec
from jaxnets.functional.conv_algorithms._varying import zeros_varying

MOST_SLICES = 64
"""Taps of an axis that are a slice each; more go in a loop."""

LONG_RUN = 64
"""Channels that XLA on CPU copies as fast as whole rows."""


def tap_views(
    padded: jax.Array,
    spec: ConvSpec,
    window: tuple[int, ...],
    positions: tuple[int, ...],
) -> Iterator[jax.Array]:
    """For every tap in row-major order what it meets: `(batch, *positions, in)`."""
    strides = (1, *spec.strides, 1)
    sizes = [dilated_size(n, s) for n, s in zip(positions, spec.strides, strict=True)]
    for tap in product(*map(range, window)):
        first = [t * d for t, d in zip(tap, spec.dilation, strict=True)]
        last = [at + size for at, size in zip(first, sizes, strict=True)]
        whole = padded.shape
        yield lax.slice(padded, (0, *first, 0), (whole[0], *last, whole[-1]), strides)


def patches(
    padded: jax.Array,
    spec: ConvSpec,
    window: tuple[int, ...],
    positions: tuple[int, ...],
) -> jax.Array:
    """Every window as one row: `(batch, *positions, taps · in)`.

    One axis after the other, from the last: window sizes are added, not multiplied, in
    the number of slices (14 instead of 49 for 7x7), which is what takes long to
    compile, and all but the first copy long runs.
    """
    for axis in reversed(range(len(window))):
        if window[axis] > MOST_SLICES:
            padded = _tap_by_tap(padded, axis, spec, window[axis], positions[axis])
            continue
        views = [
            _view(padded, 1 + axis, tap, axis, spec, positions)
            for tap in range(window[axis])
        ]
        padded = jnp.concatenate(views, axis=-1) if len(views) > 1 else views[0]
    return padded


def _tap_by_tap(
    x: jax.Array, axis: int, spec: ConvSpec, taps: int, positions: int
) -> jax.Array:
    """`patches` along one axis, whose window is too long to be written out."""
    where, stride = 1 + axis, spec.strides[axis]
    shape = (*x.shape[:where], positions, *x.shape[where + 1 : -1])
    begin = [0] * len(shape)

    def put(tap: jax.Array, found: jax.Array) -> jax.Array:
        view = lax.dynamic_slice_in_dim(
            x, tap * spec.dilation[axis], dilated_size(positions, stride), where
        )
        view = lax.slice_in_dim(view, 0, view.shape[where], stride, where)
        return lax.dynamic_update_slice(
            found, view[..., None, :], (*map(jnp.int32, begin), tap, jnp.int32(0))
        )

    found = zeros_varying((*shape, taps, x.shape[-1]), x.dtype, x)
    found = lax.fori_loop(jnp.int32(0), jnp.int32(taps), put, found)
    return found.reshape(*shape, taps * x.shape[-1])


def tile_views(
    cells: jax.Array, m: int, reach: int, tiles: tuple[int, ...]
) -> jax.Array:
    """What tiles at distances of m cells see: `(*reach, batch, *tiles, channels)`.

    Two pieces an axis: the tiles' own cells and the first of the next ones. A slice a
    cell, six for m = 4, takes up to twice as long to run and to compile, but a third
    less where the channels are few, as those of a group are.

    Args:
        cells: `(batch, *spatial, channels)`; behind the last tile stand m more cells an
            axis if `reach` is larger than m.
        m: cells of a tile along every axis.
        reach: how many it sees along every axis, at most 2 m.
        tiles: how many there are.
    """
    for done, axis in enumerate(reversed(range(len(tiles)))):
        where, number = done + 1 + axis, tiles[axis]
        if cells.shape[-1] < LONG_RUN:
            ends = [(j, j + m * (number - 1) + 1) for j in range(reach)]
            views = [lax.slice_in_dim(cells, *end, m, where) for end in ends]
            cells = jnp.stack(views)
            continue
        shape = cells.shape
        split = cells.reshape(*shape[:where], -1, m, *shape[where + 1 :])
        split = jnp.moveaxis(split, where + 1, 0)
        own = lax.slice_in_dim(split, 0, number, axis=where + 1)
        if reach > m:
            later = split[: reach - m]
            later = lax.slice_in_dim(later, 1, number + 1, axis=where + 1)
            own = jnp.concatenate([own, later])
        cells = own
    return cells


def _view(
    x: jax.Array,
    where: int,
    tap: int,
    axis: int,
    spec: ConvSpec,
    positions: tuple[int, ...],
) -> jax.Array:
    """What one tap of one spatial axis meets, which is axis `where` of x."""
    first = tap * spec.dilation[axis]
    last = first + dilated_size(positions[axis], spec.strides[axis])
    return lax.slice_in_dim(x, first, last, spec.strides[axis], where)

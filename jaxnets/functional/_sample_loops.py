"""Weighted windows of an image at given places, and the two transposes of that.

Every function here takes and gives the same arrays, in one canonical form:

    x        (batch, *spatial, channels)      the image
    weights  (batch, *window, places)         of the cells of each window
    start    (batch, rank, places), int32     the first cell; windows lie in the image
    y        (batch, places, channels)        y[p] = Σ_j weights[j, p] x[start[p] + j]

On CPU the gradients are loops over the places. XLA turns a gather–reduce or a
scatter into a chain of small calls for every row; the body of these loops is one fused
kernel. 32x64x64x16, 2 cores, bilinear / bicubic: gradient to the image 4 / 27 ms (a
scatter 32 / 255), gradient to the weights 3.5 / 15 ms (gathers 30 / 164). Other ways
that were tried for the image, bilinear: scatters of pairs of rows 32, of windows 28 to
40, one for each half of the batch 28; interpolation matrices, where axes can be
separated, 12 for the forward pass alone. The order of the sums is that of the places:
results are the same on every run. Elsewhere a sequential loop would be slow, and XLA's
scatter is not.
"""

import itertools
import math
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnets.functional.conv_algorithms._varying import zeros_varying


def sample(x: jax.Array, weights: jax.Array, start: jax.Array) -> jax.Array:
    """y: the weighted sum of the cells of every window, one gather a cell.

    XLA fuses them into one pass, on every platform: 2 ms where a loop takes 3, and 2.9
    for bicubic windows where a loop takes 16.
    """
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    y = jnp.zeros((), x.dtype)
    for cell, weight in _cells(weights, _first_row(start, x.shape[1:-1]), x.shape):
        y = y + rows.at[cell].get(mode="promise_in_bounds") * weight[..., None]
    return y


def image_grad(
    g: jax.Array,
    weights: jax.Array,
    start: jax.Array,
    spatial: tuple[int, ...],
    *,
    on_cpu: bool,
) -> jax.Array:
    """The transpose of `sample` in x, for g of the shape of y."""
    shape = (g.shape[0], *spatial, g.shape[-1])
    if on_cpu:
        return _image_grad_by_loop(g, weights, start, shape)
    cells, parts = [], []
    for cell, weight in _cells(weights, _first_row(start, spatial), shape):
        cells.append(cell.reshape(-1))
        parts.append((g * weight[..., None]).reshape(cell.size, g.shape[-1]))
    rows = zeros_varying((math.prod(shape[:-1]), shape[-1]), g.dtype, g)
    added = rows.at[jnp.concatenate(cells)].add(
        jnp.concatenate(parts), mode="promise_in_bounds"
    )
    return added.reshape(shape)


def weights_grad(
    x: jax.Array,
    g: jax.Array,
    start: jax.Array,
    window: tuple[int, ...],
    *,
    on_cpu: bool,
) -> jax.Array:
    """The transpose of `sample` in the weights."""
    # The sum over one channel is none, and the gathers become one pass again.
    if on_cpu and x.shape[-1] > 1:
        return _weights_grad_by_loop(x, g, start, window)
    shape = (len(g), *window, g.shape[1])
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    first = _first_row(start, x.shape[1:-1])
    products = [
        jnp.sum(rows.at[first + offset].get(mode="promise_in_bounds") * g, axis=-1)
        for offset in _offsets(window, x.shape[1:-1])
    ]
    return jnp.stack(products, axis=1).reshape(shape)


def _image_grad_by_loop(
    g: jax.Array, weights: jax.Array, start: jax.Array, shape: tuple[int, ...]
) -> jax.Array:
    batch, *window, places = weights.shape
    rows = _in_rows(weights)

    def step(b, p, x):
        first = _first(start, b, p)
        g_here = _row(g, b, p).reshape((1,) * len(window) + g.shape[2:])
        more = _row(rows, b, p).reshape(*window, 1) * g_here
        # Not a squeezed window: XLA adds that one 5 times as slowly.
        sums = _window(x, b, first, window) + more[None]
        return lax.dynamic_update_slice(x, sums, (b, *first, _ZERO))

    x = zeros_varying(shape, g.dtype, g)
    return _each_place(batch, places, step, x)


def _weights_grad_by_loop(
    x: jax.Array, g: jax.Array, start: jax.Array, window: tuple[int, ...]
) -> jax.Array:
    batch, places = g.shape[:2]
    # One axis of the cells of a window: the loop's store stays one short row.
    cells = math.prod(window)

    def step(b, p, weights):
        read = _window(x, b, _first(start, b, p), window)
        g_here = _row(g, b, p).reshape((1,) * len(window) + g.shape[2:])
        products = jnp.sum(read[0] * g_here, axis=-1)
        row = products.reshape(1, 1, cells)
        return lax.dynamic_update_slice(weights, row, (b, p, _ZERO))

    weights = zeros_varying((batch, places, cells), g.dtype, g)
    weights = _each_place(batch, places, step, weights)
    return jnp.swapaxes(weights, 1, 2).reshape(batch, *window, places)


# Indices are int32 also where x64 is on: those of one slice must be alike.
_ZERO = np.int32(0)


def _each_place(
    batch: int, places: int, step: Callable[..., jax.Array], init: jax.Array
) -> jax.Array:
    """Carry an array through `step(b, p, array)` for every place of every image."""

    def numbered(i, carry):
        i = lax.convert_element_type(i, np.int32)
        return step(i // places, i % places, carry)

    return lax.fori_loop(0, batch * places, numbered, init)


def _in_rows(weights: jax.Array) -> jax.Array:
    """`(batch, places, cells)`: what a step of a loop reads lies together.

    The barrier keeps XLA from computing the weights in this order, which takes 8 times
    as long for bicubic windows.
    """
    batch, *window, places = weights.shape
    planes = weights.reshape(batch, math.prod(window), places)
    planes = lax.optimization_barrier(planes)
    return jnp.swapaxes(planes, 1, 2)


def _row(array: jax.Array, b: jax.Array, p: jax.Array) -> jax.Array:
    """array[b, p], without the care for negative indices."""
    return lax.dynamic_slice(array, (b, p, _ZERO), (1, 1, array.shape[-1]))[0, 0]


def _first(start: jax.Array, b: jax.Array, p: jax.Array) -> list[jax.Array]:
    """The entries of start[b, :, p]."""
    rank = start.shape[1]
    return [
        lax.dynamic_slice(start, (b, np.int32(axis), p), (1, 1, 1))[0, 0, 0]
        for axis in range(rank)
    ]


def _window(
    x: jax.Array,
    b: jax.Array,
    first: list[jax.Array],
    window: list[int] | tuple[int, ...],
) -> jax.Array:
    """The cells of one window of image b: `(1, *window, channels)`."""
    return lax.dynamic_slice(x, (b, *first, _ZERO), (1, *window, x.shape[-1]))


def _first_row(start: jax.Array, spatial: tuple[int, ...]) -> jax.Array:
    """The first cell of every window, as a row of all cells of the batch in one."""
    row = lax.broadcasted_iota(jnp.int32, start[:, 0].shape, 0)
    for axis, size in enumerate(spatial):
        row = row * size + start[:, axis]
    return row


def _offsets(window: tuple[int, ...], spatial: tuple[int, ...]) -> Iterator[int]:
    """How many rows behind the first each cell of a window stands, in its order."""
    strides = [math.prod(spatial[axis + 1 :]) for axis in range(len(spatial))]
    for taps in itertools.product(*map(range, window)):
        yield sum(tap * stride for tap, stride in zip(taps, strides, strict=True))


def _cells(
    weights: jax.Array, first: jax.Array, shape: tuple[int, ...]
) -> Iterator[tuple[jax.Array, jax.Array]]:
    """Row and weight of every cell of the windows: pairs of `(batch, places)`."""
    window = weights.shape[1:-1]
    flat = weights.reshape(len(weights), math.prod(window), weights.shape[-1])
    for i, offset in enumerate(_offsets(window, shape[1:-1])):
        yield first + offset, flat[:, i]

"""Between arrays in canonical form and phases with the channels leading.

XLA transforms trailing axes only, so that channels have to come to the front; padding,
phases and the change of layout are one pass over the array. The ways back are the
transposes of the ways there, and are taken from JAX as such.
"""

from collections.abc import Callable
from math import prod

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.functional.conv_algorithms._fft_sizes import Axis
from jaxnets.functional.conv_algorithms._varying import example_varying

Axes = tuple[Axis, ...]


def split_input(
    x: jax.Array, axes: Axes, groups: int, extents: tuple[int, ...]
) -> jax.Array:
    """The input as `(images, groups, channels, *extents)`, padding before it."""
    rank = len(axes)
    zero = jnp.zeros((), x.dtype)
    widths = [
        (a.before, a.phases * extent - a.before - size, 0)
        for a, extent, size in zip(axes, extents, x.shape[1:-1], strict=True)
    ]
    x = lax.pad(x, zero, [(0, 0, 0), *widths, (0, 0, 0)])
    dealt = [n for a, e in zip(axes, extents, strict=True) for n in (e, a.phases)]
    x = x.reshape(len(x), *dealt, x.shape[-1])
    for i, a in enumerate(axes):
        if a.to_channels:
            x = lax.slice_in_dim(x, 0, a.used, axis=2 + 2 * i)
    dealt = [
        n for a, e in zip(axes, extents, strict=True) for n in (e, a.images, a.channels)
    ]
    x = x.reshape(len(x), *dealt, groups, -1)
    cells, images, channels = (range(1 + i, 1 + 3 * rank, 3) for i in range(3))
    x = x.transpose(0, *images, x.ndim - 2, x.ndim - 1, *channels, *cells)
    return x.reshape(x.shape[0] * prod(x.shape[1 : 1 + rank]), groups, -1, *extents)


def split_kernel(kernel: jax.Array, axes: Axes, groups: int) -> jax.Array:
    """The kernel as `(groups, channels, out // groups, *taps)`."""
    *_, fan_in, out = kernel.shape
    rank = len(axes)
    kernel = lax.slice(
        kernel,
        (*(a.first for a in axes), 0, 0),
        (*(a.first + a.kept for a in axes), fan_in, out),
    )
    spread = [
        (0, a.channels * a.taps - (a.kept - 1) * a.spread - 1, a.spread - 1)
        for a in axes
    ]
    zero = jnp.zeros((), kernel.dtype)
    kernel = lax.pad(kernel, zero, [*spread, (0, 0, 0), (0, 0, 0)])
    dealt = [n for a in axes for n in (a.taps, a.channels)]
    kernel = kernel.reshape(*dealt, fan_in, groups, out // groups)
    taps, channels = range(0, 2 * rank, 2), range(1, 2 * rank, 2)
    i, g, o = range(2 * rank, 2 * rank + 3)
    kernel = kernel.transpose(g, i, *channels, o, *taps)
    return kernel.reshape(groups, -1, out // groups, *(a.taps for a in axes))


def join_output(y: jax.Array, axes: Axes, batch: int) -> jax.Array:
    """`(images, groups, out // groups, *outputs)` as `(batch, *positions, out)`."""
    rank = len(axes)
    groups, fan_out = y.shape[1:3]
    y = y.reshape(batch, *(a.images for a in axes), *y.shape[1:])
    outputs, images = range(3 + rank, 3 + 2 * rank), range(1, 1 + rank)
    dealt = [axis for pair in zip(outputs, images, strict=True) for axis in pair]
    y = y.transpose(0, *dealt, 1 + rank, 2 + rank)
    y = y.reshape(batch, *(a.outputs * a.images for a in axes), groups * fan_out)
    positions = [a.positions for a in axes]
    return lax.slice(y, (0,) * y.ndim, (batch, *positions, groups * fan_out))


def transpose(
    function: Callable[[jax.Array], jax.Array], shape: tuple[int, ...], y: jax.Array
) -> jax.Array:
    """The transpose of a linear function of arrays of `shape`, applied to y."""
    (x,) = jax.linear_transpose(function, example_varying(shape, y.dtype, y))(y)
    return x

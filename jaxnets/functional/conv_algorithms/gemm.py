"""Convolution as matrix products over patches (im2col), a few images at a time.

Cost: the flops of `direct`, as products that run at the speed of the platform's GEMM.
Memory: a patch buffer of about `BUFFER_BYTES`, window times larger than what it covers.
    Patches of the whole batch would go through main memory; those of a few images stay
    in cache, which made it 2 to 4 times faster on CPU.
Accuracy: that of `direct`; the sums are formed in another order.
Does not support: nothing; every spec is honoured. A single image is never cut, so a
    very large one overflows the buffer.
Choose it: on CPU, where XLA's own convolution is slow, above all its kernel gradient.
"""

from collections.abc import Callable
from itertools import product
from math import prod

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.functional._dtypes import wide_dtype
from jaxnets.functional._shapes import dilated_size
from jaxnets.functional.conv_algorithms._spec import ConvSpec

BUFFER_BYTES = 2 << 20


def forward(x: jax.Array, kernel: jax.Array, spec: ConvSpec) -> jax.Array:
    """y[n, p, g, o] = Σ_{t,c} patches[n, p, g, t, c] kernel[t, c, g, o]."""
    *window, fan_in, out = kernel.shape
    positions = spec.positions(x.shape[1:-1], tuple(window))
    taps = prod(window)
    weights = kernel.reshape(taps, fan_in, spec.groups, out // spec.groups)
    weights = weights.transpose(2, 0, 1, 3).reshape(spec.groups, taps * fan_in, -1)

    def some(x: jax.Array) -> jax.Array:
        rows = _patches(x, spec, tuple(window), positions)
        y = _dot(rows, weights, (((2,), (1,)), ((0,), (0,))), spec)
        return jnp.moveaxis(y, 0, 1).reshape(len(x), *positions, out).astype(x.dtype)

    padded = _pad(x, spec)
    return _by_chunks(some, padded, chunk_size(x, taps, positions))


def input_grad(
    g: jax.Array, kernel: jax.Array, spec: ConvSpec, spatial: tuple[int, ...]
) -> jax.Array:
    """The convolution of g, spread to every stride-th cell, with the flipped kernel."""
    *window, fan_in, out = kernel.shape
    rank = len(window)
    flipped = jnp.flip(kernel, tuple(range(rank)))
    split = flipped.reshape(*window, fan_in, spec.groups, out // spec.groups)
    swapped = jnp.swapaxes(split, -3, -1).reshape(*window, out // spec.groups, -1)
    zero = jnp.zeros((), g.dtype)
    between = [(0, 0, 0), *((0, 0, s - 1) for s in spec.strides), (0, 0, 0)]
    spread = lax.pad(g, zero, between)
    padding = []
    for axis, (size, taps) in enumerate(zip(spatial, window, strict=True)):
        reach = dilated_size(taps, spec.dilation[axis]) - 1
        lo = reach - spec.padding[axis][0]
        padding.append((lo, size + reach - spread.shape[1 + axis] - lo))
    backward = spec._replace(strides=(1,) * rank, padding=tuple(padding))
    return forward(spread, swapped, backward)


def kernel_grad(
    x: jax.Array, g: jax.Array, spec: ConvSpec, window: tuple[int, ...]
) -> jax.Array:
    """dk[t, c, g, o] = Σ_{n,p} patches[n, p, g, t, c] g[n, p, g, o]."""
    positions = g.shape[1:-1]
    taps, out = prod(window), g.shape[-1]
    fan_in = x.shape[-1] // spec.groups
    wide = wide_dtype(x.dtype)

    def some(total: jax.Array, x: jax.Array, g: jax.Array) -> jax.Array:
        rows = _patches(x, spec, window, positions)
        columns = g.reshape(-1, spec.groups, out // spec.groups)
        return total + _dot(rows, columns, (((1,), (0,)), ((0,), (1,))), spec)

    padded = _pad(x, spec)
    chunk = chunk_size(x, taps, positions)
    whole = len(x) // chunk * chunk
    total = jnp.zeros((spec.groups, taps * fan_in, out // spec.groups), wide)
    if whole:
        split = [a[:whole].reshape(-1, chunk, *a.shape[1:]) for a in (padded, g)]
        total, _ = lax.scan(lambda t, xg: (some(t, *xg), None), total, tuple(split))
    if whole < len(x):
        total = some(total, padded[whole:], g[whole:])
    dk = jnp.moveaxis(total.reshape(spec.groups, taps, fan_in, -1), 0, 2)
    return dk.reshape(*window, fan_in, out).astype(x.dtype)


def chunk_size(x: jax.Array, taps: int, positions: tuple[int, ...]) -> int:
    """How many images make patches of about `BUFFER_BYTES`, at least one."""
    image = taps * prod(positions) * x.shape[-1] * x.dtype.itemsize
    return max(1, min(len(x), BUFFER_BYTES // max(image, 1)))


def _by_chunks(some: Callable, x: jax.Array, chunk: int) -> jax.Array:
    """`some(x)`, computed for `chunk` images after the other and then the rest."""
    if chunk >= len(x):
        return some(x)
    whole = len(x) // chunk * chunk
    y = lax.map(some, x[:whole].reshape(-1, chunk, *x.shape[1:]))
    y = y.reshape(whole, *y.shape[2:])
    return y if whole == len(x) else jnp.concatenate([y, some(x[whole:])])


def _pad(x: jax.Array, spec: ConvSpec) -> jax.Array:
    widths = [(0, 0, 0), *((lo, hi, 0) for lo, hi in spec.padding), (0, 0, 0)]
    return lax.pad(x, jnp.zeros((), x.dtype), widths)


def _patches(
    padded: jax.Array,
    spec: ConvSpec,
    window: tuple[int, ...],
    positions: tuple[int, ...],
) -> jax.Array:
    """Every window as a row: `(groups, batch · positions, taps · fan_in)`."""
    slices = []
    for tap in product(*map(range, window)):
        start = [t * d for t, d in zip(tap, spec.dilation, strict=True)]
        limit = [
            first + dilated_size(count, stride)
            for first, count, stride in zip(start, positions, spec.strides, strict=True)
        ]
        slices.append(
            lax.slice(
                padded,
                (0, *start, 0),
                (len(padded), *limit, padded.shape[-1]),
                (1, *spec.strides, 1),
            ).reshape(-1, spec.groups, padded.shape[-1] // spec.groups)
        )
    return jnp.moveaxis(jnp.concatenate(slices, axis=-1), 1, 0)


def _dot(a: jax.Array, b: jax.Array, dimensions: tuple, spec: ConvSpec) -> jax.Array:
    return lax.dot_general(
        a,
        b,
        dimensions,
        precision=spec.precision,
        preferred_element_type=wide_dtype(a.dtype),
    )

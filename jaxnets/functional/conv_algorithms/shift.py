"""Convolution as one shifted product a tap: no patches at all.

Cost: the flops of `direct`. With one input channel a group (depthwise) every tap is a
    multiply-add of whole images, which run at the speed of the cache; else a matrix
    product of `fan_in` terms, and a 1x1 window is one product.
Memory: x with its padding, once.
Accuracy: that of `direct`; the sums are formed in another order.
Does not support: nothing; every spec is honoured. Windows of more than `MOST_UNROLLED`
    taps run in a loop, which is slow.
Choose it: depthwise convolutions with small windows, and 1x1 windows.
"""

from functools import partial
from math import prod

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.functional._dtypes import wide_dtype
from jaxnets.functional._shapes import dilated_size
from jaxnets.functional.conv_algorithms import _stride_channels
from jaxnets.functional.conv_algorithms._blocks import (
    Blocks,
    cut,
    map_blocks,
    output_rows,
    sum_blocks,
)
from jaxnets.functional.conv_algorithms._fft_core import input_grad_facts
from jaxnets.functional.conv_algorithms._groups import join_groups, split_groups
from jaxnets.functional.conv_algorithms._phases import input_grad_by
from jaxnets.functional.conv_algorithms._scratch import arrays, padded
from jaxnets.functional.conv_algorithms._spec import ConvFacts, ConvSpec, Work
from jaxnets.functional.conv_algorithms._stride_channels import MOST_PHASES
from jaxnets.functional.conv_algorithms._sums import (
    are_few,
    repeated,
    sums_of_taps,
)
from jaxnets.functional.conv_algorithms._taps import tap_views
from jaxnets.functional.conv_algorithms._varying import zeros_varying

BLOCK_BYTES = 8 << 20
"""Of x and y, where a tap is a product and there are several; all else goes whole."""

SUM_BYTES, CHANNEL_SUM_BYTES = 3 << 19, 4 << 20
"""Of x and g, which the kernel gradient reads once a tap: what the cache holds.

With one channel a group, more than that: smaller blocks cost more than they save.
"""

MOST_UNROLLED, MOST_LOOPS = 81, 4
"""Taps that are written out, and phases of those windows that are not."""


def forward(x: jax.Array, kernel: jax.Array, spec: ConvSpec) -> jax.Array:
    """y[n, p] = Σ_t x[n, s·p + d·t − lo] kernel[t], tap by tap."""
    return _forward(x, kernel, spec, MOST_UNROLLED)


def _forward(x: jax.Array, kernel: jax.Array, spec: ConvSpec, most: int) -> jax.Array:
    """`forward`, with up to `most` taps written out."""
    *window, _, out = kernel.shape
    window, positions = tuple(window), spec.positions(x.shape[1:-1], tuple(window))
    weights = _widen(kernel).reshape(prod(window), *kernel.shape[-2:])

    def some(padded: jax.Array) -> jax.Array:
        shape = (len(padded), output_rows(padded, spec, window), *positions[1:])
        if len(weights) > most:
            zero = zeros_varying((*shape, out), weights.dtype, padded)
            y = lax.fori_loop(
                0,
                len(weights),
                lambda t, y: (
                    y
                    + _one(_view(padded, t, spec, window, shape[1:]), weights[t], spec)
                ),
                zero,
            )
        else:
            # Fused into the sum, the padding would be tested again at every tap.
            padded = lax.optimization_barrier(padded)
            views = tap_views(padded, spec, window, shape[1:])
            terms = (_one(v, w, spec) for v, w in zip(views, weights, strict=True))
            y = sum(terms, start=next(terms))
        return y.astype(x.dtype)

    if kernel.shape[-2] == 1 or len(weights) == 1:
        blocks = _whole(x, positions)
    else:
        blocks = _cut(x, positions, out, BLOCK_BYTES)
    return map_blocks(some, x, spec, window, positions, blocks)


def input_grad(
    g: jax.Array, kernel: jax.Array, spec: ConvSpec, spatial: tuple[int, ...]
) -> jax.Array:
    """Phase by phase, each a convolution of stride 1 with its taps turned over."""
    window = kernel.shape[:-2]
    phases = _most_phases(window)
    if prod(spec.strides) > phases and _stride_channels.suits(spec, window, phases):
        facts = input_grad_facts(g, kernel, spec, spatial)
        return _stride_channels.input_grad(input_grad, g, kernel, facts)
    # What is written out in every phase is written out as often as there are phases.
    most = MOST_UNROLLED if prod(window) <= MOST_UNROLLED else 1
    by_taps = partial(_forward, most=most)
    return input_grad_by(by_taps, g, kernel, spec, spatial, phases)


def kernel_grad(
    x: jax.Array, g: jax.Array, spec: ConvSpec, window: tuple[int, ...]
) -> jax.Array:
    """dk[t, c, o] = Σ_{n,p} x[n, s·p + d·t − lo, c] g[n, p, o], tap by tap."""
    fan_in, out, taps = x.shape[-1] // spec.groups, g.shape[-1], prod(window)

    def some(padded: jax.Array, g: jax.Array) -> jax.Array:
        positions = g.shape[1:-1]
        if fan_in == 1 and are_few(window, positions[0]):
            return sums_of_taps(padded, g, spec, window)
        if taps > MOST_UNROLLED:
            return lax.map(
                lambda t: _meet(_view(padded, t, spec, window, positions), g, spec),
                jnp.arange(taps),
            )
        views = tap_views(padded, spec, window, positions)
        return jnp.stack([_meet(view, g, spec) for view in views])

    positions = g.shape[1:-1]
    limit = CHANNEL_SUM_BYTES if fan_in == 1 else SUM_BYTES
    blocks = _cut(x, positions, out, limit) if taps > 1 else _whole(x, positions)
    total = sum_blocks(some, x, g, spec, window, blocks)
    return total.reshape(*window, fan_in, out).astype(x.dtype)


def unsupported(facts: ConvFacts) -> str | None:
    """Nothing."""
    return None


def work(part: str, facts: ConvFacts) -> Work:
    """Every tap reads a block and adds to a result that stay in the cache."""
    taps, groups = prod(facts.window), facts.spec.groups
    inner, outer = facts.channels, facts.out
    read, written = facts.spatial, facts.positions
    products = float(facts.products)
    if part == "input_grad":
        phases, most = prod(facts.spec.strides), _most_phases(facts.window)
        if phases > most and _stride_channels.suits(facts.spec, facts.window, most):
            return work(part, _stride_channels.reduced(facts))
        inner, outer, read, written = outer, inner, written, read
        products = facts.every_cell_products
        if phases > most:
            products *= phases
        else:
            taps = -(-taps // phases)
    size = jnp.dtype(facts.dtype).itemsize
    images, fan_in = facts.batch, inner // groups
    results = images * prod(written) * outer
    blocks = 1
    if taps > 1 and (part == "kernel_grad" or fan_in > 1):
        limit = SUM_BYTES if fan_in > 1 else CHANNEL_SUM_BYTES
        limit = limit if part == "kernel_grad" else BLOCK_BYTES
        parts = cut(images, written, (inner + outer) * size, limit)
        blocks = parts.number(images, written)
    kind = "dense" if fan_in > 1 else "depthwise"
    if fan_in > 1:
        cached = taps * (images * prod(written) * inner + results)
    else:
        cached = taps * results
    loops = taps if taps > MOST_UNROLLED or fan_in > 1 else 1
    arrays = images * prod(read) * inner + results + facts.kernel_cells
    touched = size * (arrays + cached / 8)
    return Work(2 * products, touched, blocks * loops, kind)


def scratch(part: str, facts: ConvFacts) -> float:
    """What is read with its padding, results in the wide dtype, and products of taps.

    XLA keeps the products of all taps that are written out, for one block.
    """
    spec, taps, wide = facts.spec, prod(facts.window), wide_dtype(facts.dtype).itemsize
    size, phases = jnp.dtype(facts.dtype).itemsize, prod(facts.spec.strides)
    inner, outer, results = facts.channels, facts.out, facts.positions
    if part == "input_grad":
        most = _most_phases(facts.window)
        if phases > most and _stride_channels.suits(spec, facts.window, most):
            return 2 * arrays(facts) + scratch(part, _stride_channels.reduced(facts))
        inner, outer, results = outer, inner, facts.spatial
        taps = -(-taps // phases) if phases <= most else taps
    if taps == 1 and not any(map(any, spec.padding)):
        return arrays(facts)
    products = 0.0
    if part != "kernel_grad" and inner > spec.groups and taps <= MOST_UNROLLED:
        blocks = cut(facts.batch, results, (inner + outer) * size, BLOCK_BYTES)
        block = blocks.images * blocks.rows * prod(results[1:]) * outer
        products = float(taps * wide * block)
    read = facts.batch * padded(part, facts, _most_phases(facts.window))
    return read + products + 2 * wide / size * arrays(facts)


def _most_phases(window: tuple[int, ...]) -> int:
    """Phases of an input gradient that are written out, each with its own taps."""
    return MOST_PHASES if prod(window) <= MOST_UNROLLED else MOST_LOOPS


def _widen(x: jax.Array) -> jax.Array:
    return x.astype(wide_dtype(x.dtype))


def _one(view: jax.Array, weights: jax.Array, spec: ConvSpec) -> jax.Array:
    """What one tap adds to the output, in the wide dtype."""
    fan_in, out = weights.shape
    groups = spec.groups
    if fan_in == 1:
        view = repeated(view, out // groups)
        return _widen(view) * weights[0].reshape((1,) * (view.ndim - 1) + (out,))
    split = split_groups(view, groups)
    y = lax.dot_general(
        split.reshape(groups, -1, fan_in),
        weights.astype(view.dtype).reshape(fan_in, groups, out // groups),
        (((2,), (0,)), ((0,), (1,))),
        precision=spec.precision,
        preferred_element_type=wide_dtype(view.dtype),
    )
    return join_groups(y.reshape(*split.shape[:-1], out // groups), groups)


def _meet(view: jax.Array, g: jax.Array, spec: ConvSpec) -> jax.Array:
    """What one block adds to the kernel gradient of one tap: `(fan_in, out)`."""
    groups, out = spec.groups, g.shape[-1]
    fan_in = view.shape[-1] // groups
    if fan_in == 1:
        view = repeated(view, out // groups)
        return jnp.sum(_widen(view) * _widen(g), range(g.ndim - 1))[None]
    y = lax.dot_general(
        split_groups(view, groups).reshape(groups, -1, fan_in),
        split_groups(g, groups).reshape(groups, -1, out // groups),
        (((1,), (1,)), ((0,), (0,))),
        precision=spec.precision,
        preferred_element_type=wide_dtype(g.dtype),
    )
    return jnp.moveaxis(y, 0, 1).reshape(fan_in, out)


def _view(padded, tap, spec, window, positions) -> jax.Array:
    """The cells that tap number `tap`, a traced integer, meets."""
    index = jnp.unravel_index(tap, window)
    start = [i * d for i, d in zip(index, spec.dilation, strict=True)]
    sizes = [dilated_size(n, s) for n, s in zip(positions, spec.strides, strict=True)]
    zero = jnp.zeros((), start[0].dtype)
    cells = lax.dynamic_slice(
        padded, (zero, *start, zero), (len(padded), *sizes, padded.shape[-1])
    )
    strides = (1, *spec.strides, 1)
    return lax.slice(cells, (0,) * cells.ndim, cells.shape, strides)


def _whole(x: jax.Array, positions: tuple[int, ...]) -> Blocks:
    return Blocks(max(1, len(x)), positions[0])


def _cut(x: jax.Array, positions: tuple[int, ...], out: int, limit: int) -> Blocks:
    cell = (x.shape[-1] + out) * x.dtype.itemsize
    return cut(len(x), positions, cell, limit)

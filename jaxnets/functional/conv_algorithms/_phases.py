"""The input gradient of a strided convolution as convolutions of stride 1.

With stride s, input cell i only meets taps t with dilation · t ≡ i + lo (mod s). So the
cells of one phase (i + lo) mod s are a convolution, of stride 1, of g with every
s-th-or-so tap turned over, and the phases interleave. Spreading g with zeros instead,
as `lhs_dilation` does, multiplies by s zeros for every number, an axis. That is done
for more than `most_phases`, lest the program grow with them.
"""

from collections.abc import Callable
from itertools import product
from math import gcd, prod
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.functional._shapes import dilated_size
from jaxnets.functional.conv_algorithms._spec import ConvSpec
from jaxnets.functional.conv_algorithms._stride_channels import MOST_PHASES


class _Phase(NamedTuple):
    """One axis of one phase: which taps it meets, and how they are convolved."""

    taps: slice
    dilation: int
    padding: tuple[int, int]


def input_grad_by(
    forward: Callable[[jax.Array, jax.Array, ConvSpec], jax.Array],
    g: jax.Array,
    kernel: jax.Array,
    spec: ConvSpec,
    spatial: tuple[int, ...],
    most_phases: int = MOST_PHASES,
) -> jax.Array:
    """The input gradient from an algorithm's `forward`, which sees stride 1 alone."""
    channels = kernel.shape[-2] * spec.groups
    turned = turn_over(kernel, spec.groups)
    if prod(spec.strides) > most_phases:
        return forward(*_spread(g, turned, spec, spatial))
    counts = [-(-size // s) for size, s in zip(spatial, spec.strides, strict=True)]
    phases = []
    for offsets in product(*map(range, spec.strides)):
        axes = [
            _phase(offset, count, g.shape[1 + axis], kernel.shape[axis], axis, spec)
            for axis, (offset, count) in enumerate(zip(offsets, counts, strict=True))
        ]
        phases.append(_one(forward, g, turned, axes, counts, channels, spec))
    return interleave(phases, spec.strides, spatial)


def interleave(
    phases: list[jax.Array], strides: tuple[int, ...], spatial: tuple[int, ...]
) -> jax.Array:
    """The phases, `(batch, *counts, channels)` in row-major order, cell by cell."""
    if len(phases) == 1:
        return phases[0]
    rank, (batch, *counts, channels) = len(spatial), phases[0].shape
    split = jnp.stack(phases).reshape(*strides, batch, *counts, channels)
    order = [rank]
    for axis in range(rank):
        order += [rank + 1 + axis, axis]
    whole = split.transpose(*order, 2 * rank + 1).reshape(
        batch, *(n * s for n, s in zip(counts, strides, strict=True)), channels
    )
    return lax.slice(whole, (0,) * whole.ndim, (batch, *spatial, channels))


def turn_over(kernel: jax.Array, groups: int) -> jax.Array:
    """The kernel from outputs to inputs, its window flipped along every axis."""
    *window, fan_in, out = kernel.shape
    flipped = jnp.flip(kernel, tuple(range(len(window))))
    split = flipped.reshape(*window, fan_in, groups, out // groups)
    swapped = jnp.swapaxes(split, -3, -1)
    return swapped.reshape(*window, out // groups, groups * fan_in)


def _spread(
    g: jax.Array, turned: jax.Array, spec: ConvSpec, spatial: tuple[int, ...]
) -> tuple[jax.Array, jax.Array, ConvSpec]:
    """Spread g with zeros, so that one convolution gives the input gradient."""
    widths = [(0, 0, s - 1) for s in spec.strides]
    zero = jnp.zeros((), g.dtype)
    spread = lax.pad(g, zero, [(0, 0, 0), *widths, (0, 0, 0)])
    padding = []
    for size, cells, taps, dilation, (lo, _) in zip(
        spatial,
        spread.shape[1:-1],
        turned.shape,
        spec.dilation,
        spec.padding,
        strict=False,
    ):
        reach = dilated_size(taps, dilation) - 1
        padding.append((reach - lo, size - cells + lo))
    ones = (1,) * len(spatial)
    return spread, turned, spec._replace(strides=ones, padding=tuple(padding))


def _phase(
    offset: int, count: int, positions: int, taps: int, axis: int, spec: ConvSpec
) -> _Phase | None:
    """Cells offset, offset + s, ... of one axis; None if they meet no tap."""
    stride, dilation = spec.strides[axis], spec.dilation[axis]
    quotient, residue = divmod(offset + spec.padding[axis][0], stride)
    common = gcd(stride, dilation)
    step = stride // common
    first = next((t for t in range(step) if dilation * t % stride == residue), taps)
    met = len(range(first, taps, step))
    if not met:
        return None
    reach = dilation // common * (met - 1)
    lo = reach + (dilation * first - residue) // stride - quotient
    padding = (lo, count + reach - positions - lo)
    last = taps - 1 - (first + step * (met - 1))
    return _Phase(slice(last, taps - first, step), dilation // common, padding)


def _one(forward, g, turned, axes, counts, channels, spec) -> jax.Array:
    """The cells of one phase: `(batch, *counts, in)`."""
    zeros = jnp.zeros((len(g), *counts, channels), g.dtype)
    if None in axes:
        return zeros
    crop = [
        (max(0, -axis.padding[0]), size - max(0, -axis.padding[1]))
        for axis, size in zip(axes, g.shape[1:-1], strict=True)
    ]
    if any(first >= last for first, last in crop):
        return zeros
    met = g[(slice(None), *(slice(*axis) for axis in crop))]
    kernel = turned[tuple(axis.taps for axis in axes)]
    backward = spec._replace(
        strides=(1,) * len(axes),
        padding=tuple((max(0, lo), max(0, hi)) for _, _, (lo, hi) in axes),
        dilation=tuple(axis.dilation for axis in axes),
    )
    return forward(met, kernel, backward)

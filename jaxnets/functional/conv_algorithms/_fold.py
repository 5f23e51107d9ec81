"""The input gradient as one product, whose results are shifted and added.

    dx[i, c] = Σ_{t: s·p + d·t − lo = i} (Σ_o g[p, o] kernel[t, c, o])

The inner sum is one matrix product for all taps. Its result holds window · in numbers
a position, where the patches of g would hold window · out: less wherever a layer has
fewer inputs than outputs, as the first of every network. Channels stand before space
there, so that whole rows are added, however few the channels.
"""

from itertools import product
from math import prod

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.functional._dtypes import wide_dtype
from jaxnets.functional.conv_algorithms._groups import split_groups
from jaxnets.functional.conv_algorithms._phases import interleave
from jaxnets.functional.conv_algorithms._spec import ConvSpec


def fold_input_grad(
    g: jax.Array, kernel: jax.Array, spec: ConvSpec, spatial: tuple[int, ...]
) -> jax.Array:
    """The gradient in x `(batch, *spatial, in)` of all images at once."""
    *window, fan_in, out = kernel.shape
    taps, groups, positions = prod(window), spec.groups, g.shape[1:-1]
    rows = split_groups(g, groups).reshape(groups, len(g) * prod(positions), -1)
    weights = kernel.reshape(taps * fan_in, out)
    cells = lax.dot_general(
        split_groups(weights[None], groups),
        rows,
        (((2,), (2,)), ((0,), (0,))),
        precision=spec.precision,
        preferred_element_type=wide_dtype(g.dtype),
    ).reshape(groups, taps, fan_in, len(g), *positions)
    counts = tuple(-(-n // s) for n, s in zip(spatial, spec.strides, strict=True))
    phases = []
    for offsets in product(*map(range, spec.strides)):
        terms = []
        for number, tap in enumerate(product(*map(range, window))):
            shifts = _shifts(tap, offsets, spec)
            if shifts is not None:
                terms.append(_shifted(cells[:, number], shifts, counts))
        if terms:
            phase = sum(terms[1:], start=terms[0])
        else:
            phase = jnp.zeros((groups, fan_in, len(g), *counts), cells.dtype)
        last = jnp.moveaxis(phase.astype(g.dtype), (0, 1), (-2, -1))
        phases.append(last.reshape(len(g), *counts, groups * fan_in))
    return interleave(phases, spec.strides, spatial)


def _shifts(
    tap: tuple[int, ...], offsets: tuple[int, ...], spec: ConvSpec
) -> tuple[int, ...] | None:
    """How many positions after cell q stands what the tap brings it.

    None if the tap meets no cell s · q + offset.
    """
    shifts = []
    for t, offset, stride, dilation, (lo, _) in zip(
        tap, offsets, spec.strides, spec.dilation, spec.padding, strict=True
    ):
        quotient, residue = divmod(offset + lo - dilation * t, stride)
        if residue:
            return None
        shifts.append(quotient)
    return tuple(shifts)


def _shifted(
    cells: jax.Array, shifts: tuple[int, ...], counts: tuple[int, ...]
) -> jax.Array:
    """Cells q + shift for q below the counts, zeros where there are none."""
    first = cells.ndim - len(counts)
    widths = [(0, 0, 0)] * first + [
        (-shift, count + shift - size, 0)
        for shift, count, size in zip(shifts, counts, cells.shape[first:], strict=True)
    ]
    return lax.pad(cells, jnp.zeros((), cells.dtype), widths)

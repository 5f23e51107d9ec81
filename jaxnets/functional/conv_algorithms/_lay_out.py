"""The input gradient of windows side by side, which see every pixel once at most."""

from math import prod

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.functional._dtypes import wide_dtype
from jaxnets.functional.conv_algorithms._spec import ConvSpec


def lay_out(
    g: jax.Array, kernel: jax.Array, spec: ConvSpec, spatial: tuple[int, ...]
) -> jax.Array:
    """The input gradient of windows side by side: a product, put down cell by cell."""
    *window, fan_in, out = kernel.shape
    rank, positions, groups = len(window), g.shape[1:-1], spec.groups
    weights = kernel.reshape(prod(window), fan_in, groups, out // groups)
    rows = g.reshape(len(g) * prod(positions), groups, out // groups)
    cells = grouped_dot(rows, weights, (((2,), (3,)), ((1,), (2,))), spec)
    cells = cells.reshape(groups, len(g), *positions, *window, fan_in)
    order = [1]
    for axis in range(rank):
        order += [2 + axis, 2 + rank + axis]
    covered = [n * s for n, s in zip(positions, window, strict=True)]
    dx = cells.transpose(*order, 0, 2 + 2 * rank).reshape(
        len(g), *covered, groups * fan_in
    )
    edges = [
        (-lo, size + lo - n, 0)
        for size, n, (lo, _) in zip(spatial, covered, spec.padding, strict=True)
    ]
    return lax.pad(
        dx.astype(g.dtype), jnp.zeros((), g.dtype), [(0, 0, 0), *edges, (0, 0, 0)]
    )


def grouped_dot(
    a: jax.Array, b: jax.Array, dimensions: tuple, spec: ConvSpec
) -> jax.Array:
    """A product for every group, summed in the wide dtype."""
    return lax.dot_general(
        a,
        b,
        dimensions,
        precision=spec.precision,
        preferred_element_type=wide_dtype(a.dtype),
    )

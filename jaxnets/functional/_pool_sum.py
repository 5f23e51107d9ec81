"""Sums over windows, axis by axis, and how many cells each window counts."""

from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnets.functional._pool_blocks import blocks_of, summed
from jaxnets.functional._pool_geometry import (
    AxisWindow,
    Geometry,
    empty_result,
    fit,
    no_windows,
)
from jaxnets.functional._pool_stages import MOST_TAPS, Stage, groups_of


def window_sum(x: jax.Array, geometry: Geometry) -> jax.Array:
    """Sum of every window of a channels-last x; padded cells are 0."""
    if no_windows(geometry):
        return empty_result(x, geometry, x.ndim - len(geometry) - 1)
    for stage in groups_of(geometry):
        if stage.whole:
            blocks = blocks_of(x, stage, jnp.zeros((), x.dtype))
            x = jnp.sum(blocks, stage.inner_axes(x.ndim), dtype=x.dtype)
        elif stage.taps > MOST_TAPS:
            (a,), axis = stage.windows, x.ndim + stage.axis
            x = _wide_sum(fit(x, axis, a, jnp.zeros((), x.dtype)), axis, a)
        else:
            x = _narrow_sum(x, stage)
    return x


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _narrow_sum(x: jax.Array, stage: Stage) -> jax.Array:
    """Sum of strided slices; its derivative is the same sum in another form."""
    for axis, a in enumerate(stage.windows, start=x.ndim + stage.axis):
        x = fit(x, axis, a, jnp.zeros((), x.dtype))
    return reduce(lax.add, stage.tap_slices(x))


@_narrow_sum.defjvp
def _narrow_sum_jvp(stage, primals, tangents):
    return _narrow_sum(primals[0], stage), summed(tangents[0], stage)


def _wide_sum(x: jax.Array, axis: int, a: AxisWindow) -> jax.Array:
    """Sums of 1, 2, 4, ... taps, of which those in the binary form of `taps` are added.

    Pairwise sums also round less than a chain of `taps` additions does.
    """
    total, seen, width = None, 0, 1
    while True:
        cells = x.shape[axis]
        if a.taps & width:
            # Only this slice has a stride, and each bit of `taps` makes one of them.
            reach = (a.outputs - 1) * a.stride + 1
            start = seen * a.dilation
            part = lax.slice_in_dim(x, start, start + reach, a.stride, axis)
            total = part if total is None else total + part
            seen += width
        if seen == a.taps:
            assert total is not None  # noqa: S101 - taps ≥ 1 has a bit
            return total
        step = width * a.dilation
        x = lax.slice_in_dim(x, 0, cells - step, 1, axis) + lax.slice_in_dim(
            x, step, cells, 1, axis
        )
        width *= 2


def window_counts(geometry: Geometry, *, include_pad: bool) -> np.ndarray:
    """Cells that each window counts: `(*outputs, 1)`, float64.

    Cells beyond the padded input, where `ceil_mode` lets a last window reach, never
    count.
    """
    counts = np.ones((), np.float64)
    for a in geometry:
        cells = a.cells()
        lo, hi = (-a.lo, a.size + a.hi) if include_pad else (0, a.size)
        along = ((cells >= lo) & (cells < hi)).sum(axis=1)
        counts = np.multiply.outer(counts, along)
    return counts[..., None]


def whole_axis(size: int) -> AxisWindow:
    """One window over all cells of an axis."""
    return AxisWindow(size, size, size, 1, 0, 0, 1)

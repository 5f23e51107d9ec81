"""unfold and fold: the patches that windows see, and their sum in place."""

import itertools
from collections.abc import Sequence
from functools import reduce

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxnets.functional._checks import check_integers, check_min_rank
from jaxnets.functional._dtypes import wide_dtype
from jaxnets.functional._pool_geometry import (
    Geometry,
    empty_result,
    fit,
    no_windows,
    pool_geometry,
)
from jaxnets.functional._shapes import IntOrInts, Padding
from jaxnets.functional._unfold_blocks import add_blocks, block_patches, in_blocks


def unfold(
    x: ArrayLike,
    window: Sequence[int],
    *,
    strides: IntOrInts = 1,
    padding: Padding = "VALID",
    dilation: IntOrInts = 1,
) -> jax.Array:
    """The patch that every window sees (im2col).

        patches[n, p, t, c] = x[n, s · p + d · t − lo, c]

    with s the strides, d the dilation, lo the padding before the data, and 0 beyond it.

    Args:
        x: `(*batch, *spatial, channels)`, any number of batch axes, none included.
        window: cells that a window looks at, one entry a spatial axis.
        strides: cells from one window to the next, for all axes or one an axis.
        padding: as in `conv`.
        dilation: cells from one tap of a window to the next.

    Returns:
        `(*batch, *positions, *window, channels)` in the dtype of x.

    Raises:
        TypeError: if a size is not an integer.
        ValueError: if sizes do not fit together; the message says which.

    Example:
        >>> import jax.numpy as jnp
        >>> signal = jnp.array([1, 2, 3, 4])[:, None]
        >>> unfold(signal, (2,))[..., 0].tolist()
        [[1, 2], [2, 3], [3, 4]]

    Source:
        Chellapilla, Puri and Simard, High Performance Convolutional Neural Networks
        for Document Processing (2006).
    """
    x = jnp.asarray(x)
    geometry = _geometry("unfold", x.shape, window, strides, padding, dilation)
    rank = len(geometry)
    first = x.ndim - rank - 1
    sizes = tuple(a.taps for a in geometry)
    if no_windows(geometry):
        x = jnp.expand_dims(empty_result(x, geometry, first), range(-rank - 1, -1))
        return jnp.broadcast_to(x, (*x.shape[: first + rank], *sizes, x.shape[-1]))
    if in_blocks(geometry):
        return block_patches(x, geometry, first)
    patches = taps(x, geometry, first)
    return patches.reshape(*patches.shape[:-1], *sizes, x.shape[-1])


def fold(
    patches: ArrayLike,
    output_size: Sequence[int],
    *,
    strides: IntOrInts = 1,
    padding: Padding = "VALID",
    dilation: IntOrInts = 1,
) -> jax.Array:
    """Add patches up in the places that `unfold` took them from (col2im).

        y[n, q, c] = Σ_{p, t: s · p + d · t − lo = q} patches[n, p, t, c]

    The transpose of `unfold` with the same options, and not its inverse: cells that
    several windows see hold the sum of all. Divide by the fold of ones for the mean.

    Args:
        patches: `(*batch, *positions, *window, channels)`.
        output_size: spatial sizes of the result, that is of the x of `unfold`.
        strides: cells from one window to the next, for all axes or one an axis.
        padding: as in `conv`; what lies in it is dropped.
        dilation: cells from one tap of a window to the next.

    Returns:
        `(*batch, *output_size, channels)` in the dtype of the patches; halves are
        summed in float32.

    Raises:
        TypeError: if a size is not an integer.
        ValueError: if sizes do not fit together; the message says which.

    Example:
        >>> import jax.numpy as jnp
        >>> patches = jnp.array([[1, 2], [2, 3], [3, 4]])[..., None]
        >>> fold(patches, (4,))[:, 0].tolist()
        [1, 4, 6, 4]

    Source:
        Chellapilla, Puri and Simard, High Performance Convolutional Neural Networks
        for Document Processing (2006).
    """
    patches = jnp.asarray(patches)
    sizes = check_integers("fold", "output_size", output_size, length=None, minimum=0)
    rank = len(sizes)
    layout = (
        f"(*batch, *positions, *window, channels) with {rank} positions and {rank} "
        f"window axes for output_size={sizes}"
    )
    check_min_rank("fold", "patches", patches.shape, 2 * rank + 1, layout)
    first = patches.ndim - 2 * rank - 1
    positions = patches.shape[first : first + rank]
    window = patches.shape[first + rank : -1]
    geometry = _geometry("fold", (*sizes, 1), window, strides, padding, dilation)
    expected = tuple(a.outputs for a in geometry)
    if positions != expected:
        raise ValueError(
            f"fold: patches must have positions {expected}, as many as windows of "
            f"{window} fit into output_size={sizes}; got {positions} "
            f"(patches.shape={patches.shape}, strides={strides}, padding={padding!r}, "
            f"dilation={dilation})"
        )
    wide = patches.astype(wide_dtype(patches.dtype))
    if no_windows(geometry):
        wide = wide.sum(range(first + rank, wide.ndim - 1))
        return _cut(wide, geometry, first).astype(patches.dtype)
    add = add_blocks if in_blocks(geometry) else _add_taps
    return _cut(add(wide, geometry, first), geometry, first).astype(patches.dtype)


def taps(x: jax.Array, geometry: Geometry, first: int) -> jax.Array:
    """What every tap sees, behind one another in the last axis: `(..., taps * last)`.

    Args:
        x: an array whose spatial axes begin at `first`.
        geometry: the windows.
        first: number of axes before them.
    """
    for axis, a in enumerate(geometry, start=first):
        x = fit(x, axis, a, jnp.zeros((), x.dtype))
    parts = []
    for tap in itertools.product(*(range(a.taps) for a in geometry)):
        start, stop, step = [0] * x.ndim, list(x.shape), [1] * x.ndim
        for axis, (a, t) in enumerate(zip(geometry, tap, strict=True), start=first):
            start[axis], step[axis] = t * a.dilation, a.stride
            stop[axis] = start[axis] + (a.outputs - 1) * a.stride + 1
        parts.append(lax.slice(x, start, stop, step))
    return jnp.concatenate(parts, -1)


def _geometry(
    function: str,
    shape: Sequence[int],
    window: Sequence[int],
    strides: IntOrInts,
    padding: Padding,
    dilation: IntOrInts,
) -> Geometry:
    if strides is None:
        raise TypeError(f"{function}: strides must be an integer or several; got None")
    return pool_geometry(
        function,
        shape,
        window,
        strides=strides,
        padding=padding,
        dilation=dilation,
        ceil_mode=False,
        data_format="channels_last",
    )


def _add_taps(patches: jax.Array, geometry: Geometry, first: int) -> jax.Array:
    """The transpose of `taps`, up to padding: the parts of all taps in their places."""
    rank, zero = len(geometry), jnp.zeros((), patches.dtype)
    channels = patches.shape[-1]
    every = list(itertools.product(*(range(a.taps) for a in geometry)))
    flat = patches.reshape(*patches.shape[: first + rank], len(every) * channels)
    parts = []
    for part, tap in zip(
        lax.split(flat, [channels] * len(every), axis=-1), every, strict=True
    ):
        around = [(0, 0, 0)] * part.ndim
        for axis, (a, t) in enumerate(zip(geometry, tap, strict=True), start=first):
            behind = (a.taps - 1 - t) * a.dilation
            around[axis] = (t * a.dilation, behind, a.stride - 1)
        parts.append(lax.pad(part, zero, around))
    return reduce(lax.add, parts)


def _cut(y: jax.Array, geometry: Geometry, first: int) -> jax.Array:
    """The transpose of `fit`: drop the padding, and add cells that no window sees."""
    around = [(0, 0, 0)] * y.ndim
    for axis, a in enumerate(geometry, start=first):
        around[axis] = (-a.lo, a.size + a.lo - y.shape[axis], 0)
    return lax.pad(y, jnp.zeros((), y.dtype), around)

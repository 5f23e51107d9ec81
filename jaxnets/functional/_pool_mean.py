"""Pools that divide or take roots: average and power mean of windows."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxnets.functional._absolute import absolute
from jaxnets.functional._checks import check_integer
from jaxnets.functional._dtypes import wide_dtype
from jaxnets.functional._pool import check_ordered
from jaxnets.functional._pool_geometry import (
    check_no_empty_window,
    from_channels_last,
    pool_geometry,
    to_channels_last,
)
from jaxnets.functional._pool_select import extreme
from jaxnets.functional._pool_sum import window_counts, window_sum
from jaxnets.functional._shapes import DataFormat, IntOrInts, Padding


def avg_pool(
    x: ArrayLike,
    window: Sequence[int],
    *,
    strides: IntOrInts | None = None,
    padding: Padding = "VALID",
    dilation: IntOrInts = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    data_format: DataFormat = "channels_last",
) -> jax.Array:
    """The mean of every window.

    y[o] = Σ over taps j of x[o · strides − lo + j · dilation] / n[o]

    n is the number of cells that the window counts. Cells beyond the padded input,
    where `ceil_mode` lets a last window reach, never count.

    Args:
        x: `(*batch, *spatial, channels)`, numbers.
        window: cells that a window looks at, one entry a spatial axis.
        strides: cells from one window to the next; None means the window.
        padding: as in `max_pool`.
        dilation: cells from one tap of a window to the next.
        ceil_mode: as in `max_pool`.
        count_include_pad: count padded cells, as zeros (PyTorch's default). False
            averages over the cells of x alone, as Keras does.
        divisor_override: the divisor of every window, in place of n.
        data_format: `"channels_last"` or `"channels_first"`.

    Returns:
        `(*batch, *outputs, channels)`, outputs as in `max_pool`; the dtype of x, or for
        integers the floating dtype that `jnp.mean` gives.

    Raises:
        TypeError: if a size is not an integer.
        ValueError: if x has too few axes, an option breaks its rule, the window does
            not fit, or with `count_include_pad=False` a window sees padding only.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.array([[1.0], [2.0], [3.0]])
        >>> avg_pool(x, (2,), padding="SAME", strides=1)[:, 0]
        Array([1.5, 2.5, 1.5], dtype=float32)
        >>> avg_pool(x, (2,), padding="SAME", strides=1, count_include_pad=False)[:, 0]
        Array([1.5, 2.5, 3. ], dtype=float32)

    Source: PyTorch's `AvgPool2d`.
    """
    geometry = pool_geometry(
        "avg_pool",
        jnp.shape(x),
        window,
        strides=strides,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        data_format=data_format,
    )
    if divisor_override is not None:
        divisor = check_integer(
            "avg_pool", "divisor_override", divisor_override, minimum=1
        )
    else:
        if not count_include_pad:
            check_no_empty_window("avg_pool", geometry)
        divisor = window_counts(geometry, include_pad=count_include_pad)
        if len(np.unique(divisor)) == 1:
            divisor = divisor.flat[0]
    x = jnp.asarray(x)
    dtype = jax.eval_shape(jnp.mean, x).dtype
    rank = len(geometry)
    wide = to_channels_last(x, rank, data_format).astype(wide_dtype(dtype))
    total = window_sum(wide, geometry)
    share = jnp.asarray(1 / divisor, wide.dtype)
    if share.ndim:
        share = share.reshape((1,) * (total.ndim - share.ndim) + share.shape)
    return from_channels_last((total * share).astype(dtype), rank, data_format)


def lp_pool(
    x: ArrayLike,
    window: Sequence[int],
    *,
    p: int | float,
    strides: IntOrInts | None = None,
    padding: Padding = "VALID",
    dilation: IntOrInts = 1,
    ceil_mode: bool = False,
    data_format: DataFormat = "channels_last",
) -> jax.Array:
    """The p-norm of every window.

    y[o] = (Σ over taps j of |x[o · strides − lo + j · dilation]|ᵖ)^(1/p)

    p = 1 sums magnitudes, p = 2 is the Euclidean norm, p = ∞ the largest magnitude. The
    gradient of a window of zeros is 0. Padded cells are 0.

    Args:
        x: `(*batch, *spatial, channels)`, real.
        window: cells that a window looks at, one entry a spatial axis.
        p: the power, at least 1; `math.inf` is allowed.
        strides: cells from one window to the next; None means the window.
        padding: as in `max_pool`.
        dilation: cells from one tap of a window to the next.
        ceil_mode: as in `max_pool`.
        data_format: `"channels_last"` or `"channels_first"`.

    Returns:
        `(*batch, *outputs, channels)`, outputs as in `max_pool`; the dtype of x, or for
        integers the floating dtype that `jnp.mean` gives.

    Raises:
        TypeError: if x is complex, or a size is not an integer.
        ValueError: if p is below 1, x has too few axes, an option breaks its rule, or
            the window does not fit into the padded input.

    Example:
        >>> import jax.numpy as jnp
        >>> lp_pool(jnp.array([[3.0], [-4.0], [1.0], [0.0]]), (2,), p=2)[:, 0]
        Array([5., 1.], dtype=float32)

    Source: Sermanet, Chintala, LeCun (2012), arXiv:1204.3968, section 2.2.
    """
    geometry = pool_geometry(
        "lp_pool",
        jnp.shape(x),
        window,
        strides=strides,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        data_format=data_format,
    )
    check_power("lp_pool", p)
    x = jnp.asarray(x)
    check_ordered("lp_pool", x)
    dtype = jax.eval_shape(jnp.mean, x).dtype
    rank = len(geometry)
    wide = to_channels_last(x, rank, data_format).astype(wide_dtype(dtype))
    if math.isinf(p):
        check_no_empty_window("lp_pool", geometry)
        y = extreme(absolute(wide), geometry, "max")
    else:
        y = root(window_sum(power(wide, p), geometry), p)
    return from_channels_last(y.astype(dtype), rank, data_format)


def check_power(function: str, p: int | float) -> None:
    """Raise ValueError unless p makes a norm."""
    if not p >= 1:
        raise ValueError(f"{function}: p must be at least 1; got {p!r}")


def power(x: jax.Array, p: int | float) -> jax.Array:
    """|x|ᵖ, without logarithms where p is 1 or 2."""
    if p == 2:
        return x * x
    return absolute(x) if p == 1 else absolute(x) ** float(p)


def root(total: jax.Array, p: int | float) -> jax.Array:
    """total^(1/p), with slope 0 where total is 0 in place of an infinite one."""
    if p == 1:
        return total
    positive = total > 0
    safe = jnp.where(positive, total, jnp.ones((), total.dtype))
    rooted = jnp.sqrt(safe) if p == 2 else safe ** (1 / p)
    # NaN is not positive, and has to come out as NaN: total itself is 0 or NaN here.
    return jnp.where(positive, rooted, jnp.where(total == 0, 0, total))

"""Pools over windows of any rank: maximum, minimum, average, sum and power mean."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnets.functional._dtypes import wide_dtype
from jaxnets.functional._pool_geometry import (
    Geometry,
    check_no_empty_window,
    from_channels_last,
    pool_geometry,
    to_channels_last,
)
from jaxnets.functional._pool_select import Kind, extreme
from jaxnets.functional._pool_sum import window_sum
from jaxnets.functional._shapes import DataFormat, IntOrInts, Padding


def max_pool(
    x: ArrayLike,
    window: Sequence[int],
    *,
    strides: IntOrInts | None = None,
    padding: Padding = "VALID",
    dilation: IntOrInts = 1,
    ceil_mode: bool = False,
    data_format: DataFormat = "channels_last",
) -> jax.Array:
    """The largest cell of every window.

    y[o] = max over taps j of x[o · strides − lo + j · dilation]

    Padded cells are −inf (the smallest integer for integers), never 0. The gradient
    goes to the first of equal cells, in row-major order of the window; a NaN beats
    every number, and of several the last has the gradient. These are PyTorch's rules.
    Forward mode, reverse mode and higher orders all work.

    Args:
        x: `(*batch, *spatial, channels)`, real; any number of batch axes, even none.
        window: cells that a window looks at, one entry a spatial axis.
        strides: cells from one window to the next; None means the window.
        padding: `"VALID"`, `"SAME"`, `"SAME_LOWER"`, `"FULL"`, `"CAUSAL"`, cells on
            both sides, or one number or (lo, hi) pair a spatial axis.
        dilation: cells from one tap of a window to the next.
        ceil_mode: keep a last window that reaches beyond the padded input, if it begins
            in the input or the padding before it (PyTorch's rule).
        data_format: `"channels_last"`, or `"channels_first"` for
            `(*batch, channels, *spatial)`.

    Returns:
        `(*batch, *outputs, channels)` in the dtype and format of x, with
        outputs = floor((size + lo + hi − dilation · (window − 1) − 1) / strides) + 1.

    Raises:
        TypeError: if x is complex, or a size is not an integer.
        ValueError: if x has too few axes, an option breaks its rule, the window does
            not fit into the padded input, or a window sees padding only.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.arange(16.0).reshape(4, 4, 1)
        >>> max_pool(x, (2, 2))[..., 0]
        Array([[ 5.,  7.],
               [13., 15.]], dtype=float32)

    Source: Goodfellow, Bengio, Courville, *Deep Learning* (2016), section 9.3.
    """
    geometry = pool_geometry(
        "max_pool",
        jnp.shape(x),
        window,
        strides=strides,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        data_format=data_format,
    )
    return _extreme_pool("max_pool", x, geometry, "max", data_format)


def min_pool(
    x: ArrayLike,
    window: Sequence[int],
    *,
    strides: IntOrInts | None = None,
    padding: Padding = "VALID",
    dilation: IntOrInts = 1,
    ceil_mode: bool = False,
    data_format: DataFormat = "channels_last",
) -> jax.Array:
    """The smallest cell of every window.

    y[o] = min over taps j of x[o · strides − lo + j · dilation]

    Padded cells are +inf (the largest integer for integers). Ties and NaN are treated
    as in `max_pool`.

    Args:
        x: `(*batch, *spatial, channels)`, real.
        window: cells that a window looks at, one entry a spatial axis.
        strides: cells from one window to the next; None means the window.
        padding: as in `max_pool`.
        dilation: cells from one tap of a window to the next.
        ceil_mode: as in `max_pool`.
        data_format: `"channels_last"` or `"channels_first"`.

    Returns:
        `(*batch, *outputs, channels)`, outputs as in `max_pool`.

    Raises:
        TypeError: if x is complex, or a size is not an integer.
        ValueError: as `max_pool`.

    Example:
        >>> import jax.numpy as jnp
        >>> min_pool(jnp.array([[3.0], [1.0], [2.0], [5.0]]), (2,))[:, 0]
        Array([1., 2.], dtype=float32)

    Source: `max_pool` of −x, negated.
    """
    geometry = pool_geometry(
        "min_pool",
        jnp.shape(x),
        window,
        strides=strides,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        data_format=data_format,
    )
    return _extreme_pool("min_pool", x, geometry, "min", data_format)


def sum_pool(
    x: ArrayLike,
    window: Sequence[int],
    *,
    strides: IntOrInts | None = None,
    padding: Padding = "VALID",
    dilation: IntOrInts = 1,
    ceil_mode: bool = False,
    data_format: DataFormat = "channels_last",
) -> jax.Array:
    """The sum of every window.

    y[o] = Σ over taps j of x[o · strides − lo + j · dilation]

    Padded cells are 0. Sums of bfloat16 and float16 are formed in float32; sums of
    integers keep their dtype and wrap around.

    Args:
        x: `(*batch, *spatial, channels)`, numbers.
        window: cells that a window looks at, one entry a spatial axis.
        strides: cells from one window to the next; None means the window.
        padding: as in `max_pool`.
        dilation: cells from one tap of a window to the next.
        ceil_mode: as in `max_pool`.
        data_format: `"channels_last"` or `"channels_first"`.

    Returns:
        `(*batch, *outputs, channels)`, outputs as in `max_pool`.

    Raises:
        TypeError: if x is boolean, or a size is not an integer.
        ValueError: if x has too few axes, an option breaks its rule, or the window does
            not fit into the padded input.

    Example:
        >>> import jax.numpy as jnp
        >>> sum_pool(jnp.array([[3.0], [1.0], [2.0], [5.0]]), (2,), strides=1)[:, 0]
        Array([4., 3., 7.], dtype=float32)

    Source: a convolution with a kernel of ones, channel by channel.
    """
    geometry = pool_geometry(
        "sum_pool",
        jnp.shape(x),
        window,
        strides=strides,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        data_format=data_format,
    )
    x = jnp.asarray(x)
    if x.dtype == jnp.bool_:
        raise TypeError("sum_pool: x must hold numbers; got dtype bool (convert it)")
    rank = len(geometry)
    wide = to_channels_last(x, rank, data_format).astype(wide_dtype(x.dtype))
    y = window_sum(wide, geometry).astype(x.dtype)
    return from_channels_last(y, rank, data_format)


def pool_output_shape(
    x_shape: Sequence[int],
    window: Sequence[int],
    *,
    strides: IntOrInts | None = None,
    padding: Padding = "VALID",
    dilation: IntOrInts = 1,
    ceil_mode: bool = False,
    data_format: DataFormat = "channels_last",
) -> tuple[int, ...]:
    """The shape of a pool's result, from integers alone.

    Args:
        x_shape: `(*batch, *spatial, channels)`, or channels first.
        window: cells that a window looks at, one entry a spatial axis.
        strides: cells from one window to the next; None means the window.
        padding: as in `max_pool`.
        dilation: cells from one tap of a window to the next.
        ceil_mode: as in `max_pool`.
        data_format: `"channels_last"` or `"channels_first"`.

    Returns:
        `(*batch, *outputs, channels)`, or channels first; outputs as in `max_pool`.

    Raises:
        TypeError: if a size is not an integer.
        ValueError: if there are too few axes, an option breaks its rule, or the window
            does not fit into the padded input.

    Example:
        >>> pool_output_shape((8, 5, 5, 3), (2, 2), ceil_mode=True)
        (8, 3, 3, 3)

    Source: PyTorch's `MaxPool2d`, section Shape.
    """
    geometry = pool_geometry(
        "pool_output_shape",
        x_shape,
        window,
        strides=strides,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        data_format=data_format,
    )
    rank, shape = len(geometry), tuple(x_shape)
    outputs = tuple(a.outputs for a in geometry)
    if data_format == "channels_last":
        return (*shape[: -rank - 1], *outputs, shape[-1])
    return (*shape[:-rank], *outputs)


def _extreme_pool(
    function: str,
    x: ArrayLike,
    geometry: Geometry,
    kind: Kind,
    data_format: DataFormat,
) -> jax.Array:
    x = jnp.asarray(x)
    check_ordered(function, x)
    check_no_empty_window(function, geometry)
    rank = len(geometry)
    y = extreme(to_channels_last(x, rank, data_format), geometry, kind)
    return from_channels_last(y, rank, data_format)


def check_ordered(function: str, x: jax.Array) -> None:
    """Raise TypeError for complex numbers: they have no largest one."""
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise TypeError(f"{function}: x must be real; got dtype {x.dtype}")

"""Pools over whole planes: one value a channel."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnets.functional._absolute import absolute
from jaxnets.functional._checks import check_choice, check_integer, check_min_rank
from jaxnets.functional._dtypes import wide_dtype
from jaxnets.functional._pool import check_ordered
from jaxnets.functional._pool_mean import check_power, power, root
from jaxnets.functional._pool_select import Kind, extreme
from jaxnets.functional._pool_sum import whole_axis
from jaxnets.functional._shapes import DATA_FORMATS, DataFormat


def global_avg_pool(
    x: ArrayLike,
    *,
    spatial_ndim: int | None = None,
    keepdims: bool = False,
    data_format: DataFormat = "channels_last",
) -> jax.Array:
    """The mean of every channel over its spatial axes.

    y = mean over all spatial cells of x

    Args:
        x: `(*batch, *spatial, channels)`, numbers.
        spatial_ndim: how many spatial axes there are; None takes all but the first axis
            and the channels.
        keepdims: keep the spatial axes, with size 1.
        data_format: `"channels_last"`, or `"channels_first"` for
            `(*batch, channels, *spatial)`.

    Returns:
        `(*batch, channels)`, or with the spatial axes as ones; the dtype of x, or for
        integers the floating dtype that `jnp.mean` gives.

    Raises:
        TypeError: if `spatial_ndim` is not an integer.
        ValueError: if x has too few axes or a spatial axis is empty.

    Example:
        >>> import jax.numpy as jnp
        >>> global_avg_pool(jnp.arange(8.0).reshape(1, 2, 2, 2))
        Array([[3., 4.]], dtype=float32)

    Source: Lin, Chen, Yan (2013), arXiv:1312.4400, section 3.2.
    """
    x, axes = _planes("global_avg_pool", x, spatial_ndim, data_format)
    return jnp.mean(x, axes, keepdims=keepdims)


def global_sum_pool(
    x: ArrayLike,
    *,
    spatial_ndim: int | None = None,
    keepdims: bool = False,
    data_format: DataFormat = "channels_last",
) -> jax.Array:
    """The sum of every channel over its spatial axes.

    y = Σ over all spatial cells of x

    Args:
        x: `(*batch, *spatial, channels)`, numbers.
        spatial_ndim: how many spatial axes there are; None takes all but the first axis
            and the channels.
        keepdims: keep the spatial axes, with size 1.
        data_format: `"channels_last"` or `"channels_first"`.

    Returns:
        `(*batch, channels)`, or with the spatial axes as ones, in the dtype of x.

    Raises:
        TypeError: if x is boolean or `spatial_ndim` is not an integer.
        ValueError: if x has too few axes or a spatial axis is empty.

    Example:
        >>> import jax.numpy as jnp
        >>> global_sum_pool(jnp.arange(8.0).reshape(1, 2, 2, 2))
        Array([[12., 16.]], dtype=float32)

    Source: `sum_pool` with a window of the input's size.
    """
    x, axes = _planes("global_sum_pool", x, spatial_ndim, data_format)
    if x.dtype == jnp.bool_:
        raise TypeError("global_sum_pool: x must hold numbers; got dtype bool")
    return jnp.sum(x, axes, keepdims=keepdims, dtype=x.dtype)


def global_max_pool(
    x: ArrayLike,
    *,
    spatial_ndim: int | None = None,
    keepdims: bool = False,
    data_format: DataFormat = "channels_last",
) -> jax.Array:
    """The largest cell of every channel.

    y = max over all spatial cells of x

    Ties and NaN are treated as in `max_pool`: the gradient goes to the first of equal
    cells.

    Args:
        x: `(*batch, *spatial, channels)`, real.
        spatial_ndim: how many spatial axes there are; None takes all but the first axis
            and the channels.
        keepdims: keep the spatial axes, with size 1.
        data_format: `"channels_last"` or `"channels_first"`.

    Returns:
        `(*batch, channels)`, or with the spatial axes as ones, in the dtype of x.

    Raises:
        TypeError: if x is complex or `spatial_ndim` is not an integer.
        ValueError: if x has too few axes or a spatial axis is empty.

    Example:
        >>> import jax.numpy as jnp
        >>> global_max_pool(jnp.arange(8.0).reshape(1, 2, 2, 2))
        Array([[6., 7.]], dtype=float32)

    Source: `max_pool` with a window of the input's size.
    """
    return _global_extreme(
        "global_max_pool", x, "max", spatial_ndim, keepdims, data_format
    )


def global_min_pool(
    x: ArrayLike,
    *,
    spatial_ndim: int | None = None,
    keepdims: bool = False,
    data_format: DataFormat = "channels_last",
) -> jax.Array:
    """The smallest cell of every channel.

    y = min over all spatial cells of x

    Args:
        x: `(*batch, *spatial, channels)`, real.
        spatial_ndim: how many spatial axes there are; None takes all but the first axis
            and the channels.
        keepdims: keep the spatial axes, with size 1.
        data_format: `"channels_last"` or `"channels_first"`.

    Returns:
        `(*batch, channels)`, or with the spatial axes as ones, in the dtype of x.

    Raises:
        TypeError: if x is complex or `spatial_ndim` is not an integer.
        ValueError: if x has too few axes or a spatial axis is empty.

    Example:
        >>> import jax.numpy as jnp
        >>> global_min_pool(jnp.arange(8.0).reshape(1, 2, 2, 2))
        Array([[0., 1.]], dtype=float32)

    Source: `min_pool` with a window of the input's size.
    """
    return _global_extreme(
        "global_min_pool", x, "min", spatial_ndim, keepdims, data_format
    )


def global_lp_pool(
    x: ArrayLike,
    *,
    p: int | float,
    spatial_ndim: int | None = None,
    keepdims: bool = False,
    data_format: DataFormat = "channels_last",
) -> jax.Array:
    """The p-norm of every channel over its spatial axes.

    y = (Σ over all spatial cells of |x|ᵖ)^(1/p)

    Args:
        x: `(*batch, *spatial, channels)`, real.
        p: the power, at least 1; `math.inf` is allowed.
        spatial_ndim: how many spatial axes there are; None takes all but the first axis
            and the channels.
        keepdims: keep the spatial axes, with size 1.
        data_format: `"channels_last"` or `"channels_first"`.

    Returns:
        `(*batch, channels)`, or with the spatial axes as ones; the dtype of x, or for
        integers the floating dtype that `jnp.mean` gives.

    Raises:
        TypeError: if x is complex or `spatial_ndim` is not an integer.
        ValueError: if p is below 1, x has too few axes or a spatial axis is empty.

    Example:
        >>> import jax.numpy as jnp
        >>> global_lp_pool(jnp.array([[[3.0], [-4.0]]]), p=2)
        Array([[5.]], dtype=float32)

    Source: `lp_pool` with a window of the input's size.
    """
    check_power("global_lp_pool", p)
    x, axes = _planes("global_lp_pool", x, spatial_ndim, data_format)
    check_ordered("global_lp_pool", x)
    dtype = jax.eval_shape(jnp.mean, x).dtype
    wide = x.astype(wide_dtype(dtype))
    if math.isinf(p):
        y = _whole_extreme(absolute(wide), axes, "max", keepdims)
    else:
        y = root(jnp.sum(power(wide, p), axes, keepdims=keepdims), p)
    return y.astype(dtype)


def _planes(
    function: str, x: ArrayLike, spatial_ndim: int | None, data_format: DataFormat
) -> tuple[jax.Array, tuple[int, ...]]:
    """X as an array, and its spatial axes."""
    x = jnp.asarray(x)
    check_choice(function, "data_format", data_format, DATA_FORMATS)
    last = data_format == "channels_last"
    layout = "(*batch, *spatial, channels)" if last else "(*batch, channels, *spatial)"
    if spatial_ndim is None:
        check_min_rank(function, "x", x.shape, 3, f"{layout} with one batch axis")
        rank = x.ndim - 2
    else:
        rank = check_integer(function, "spatial_ndim", spatial_ndim, minimum=1)
        check_min_rank(
            function, "x", x.shape, rank + 1, f"{layout} for spatial_ndim={rank}"
        )
    end = x.ndim - 1 if last else x.ndim
    axes = tuple(range(end - rank, end))
    if 0 in (x.shape[axis] for axis in axes):
        raise ValueError(
            f"{function}: spatial axes must not be empty; got x.shape={x.shape}"
        )
    return x, axes


def _global_extreme(
    function: str,
    x: ArrayLike,
    kind: Kind,
    spatial_ndim: int | None,
    keepdims: bool,
    data_format: DataFormat,
) -> jax.Array:
    x, axes = _planes(function, x, spatial_ndim, data_format)
    check_ordered(function, x)
    return _whole_extreme(x, axes, kind, keepdims)


def _whole_extreme(
    x: jax.Array, axes: tuple[int, ...], kind: Kind, keepdims: bool
) -> jax.Array:
    trailing = axes[-1] == x.ndim - 1
    planes = x[..., None] if trailing else x
    geometry = tuple(whole_axis(x.shape[axis]) for axis in axes)
    y = extreme(planes, geometry, kind)
    y = y[..., 0] if trailing else y
    return y if keepdims else jnp.squeeze(y, axes)

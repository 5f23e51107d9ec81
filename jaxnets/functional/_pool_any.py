"""One pool for every statistic of a neighbourhood, named or given as a function."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxnets.functional._checks import check_choice
from jaxnets.functional._pool import max_pool, min_pool, sum_pool
from jaxnets.functional._pool_geometry import (
    empty_result,
    fit,
    from_channels_last,
    no_windows,
    pool_geometry,
    to_channels_last,
)
from jaxnets.functional._pool_mean import avg_pool, lp_pool
from jaxnets.functional._shapes import DataFormat, IntOrInts, Padding

POOLS: dict[str, Callable[..., jax.Array]] = {
    "max": max_pool,
    "min": min_pool,
    "avg": avg_pool,
    "sum": sum_pool,
    "lp": lp_pool,
}


def pool(
    x: ArrayLike,
    window: Sequence[int],
    *,
    pooling_type: str | Callable[..., jax.Array] = "max",
    strides: IntOrInts | None = None,
    padding: Padding = "VALID",
    dilation: IntOrInts = 1,
    ceil_mode: bool = False,
    data_format: DataFormat = "channels_last",
    pad_value: int | float = 0.0,
    **options: Any,
) -> jax.Array:
    """Any statistic of every window.

    y[o] = statistic of x[o · strides − lo + j · dilation] over the taps j

    A function is called once, as `pooling_type(windows, axis=-2, **options)` with
    windows `(*batch, *outputs, taps, channels)`, and must remove that axis:
    `jnp.median`, `jnp.var`, `jax.nn.logsumexp`, or one of your own. It is
    differentiated as it stands.

    Args:
        x: `(*batch, *spatial, channels)`.
        window: cells that a window looks at, one entry a spatial axis.
        pooling_type: `"max"`, `"min"`, `"avg"`, `"sum"`, `"lp"`, or a function.
        strides: cells from one window to the next; None means the window.
        padding: as in `max_pool`.
        dilation: cells from one tap of a window to the next.
        ceil_mode: as in `max_pool`.
        data_format: `"channels_last"` or `"channels_first"`.
        pad_value: what a function sees in cells outside x; `jnp.nan` goes with
            `jnp.nanmedian` and its kin. The named pools have their own.
        **options: keyword arguments of the named pool (`p` for `"lp"`,
            `count_include_pad` for `"avg"`) or of the function.

    Returns:
        `(*batch, *outputs, channels)`, outputs as in `max_pool`; the dtype is the named
        pool's or the function's.

    Raises:
        TypeError: if a size is not an integer or an option is unknown.
        ValueError: if `pooling_type` is unknown, a function does not remove its axis,
            or the named pool's own rules are broken.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.array([[3.0], [1.0], [2.0], [5.0], [9.0], [4.0]])
        >>> pool(x, (3,), pooling_type="avg")[:, 0]
        Array([2., 6.], dtype=float32)
        >>> pool(x, (3,), pooling_type=jnp.median)[:, 0]
        Array([2., 5.], dtype=float32)

    Source: Goodfellow, Bengio, Courville, *Deep Learning* (2016), section 9.3: "a
    summary statistic of the nearby outputs".
    """
    placing: dict[str, Any] = {
        "strides": strides,
        "padding": padding,
        "dilation": dilation,
        "ceil_mode": ceil_mode,
        "data_format": data_format,
    }
    if not callable(pooling_type):
        check_choice("pool", "pooling_type", pooling_type, POOLS)
        return POOLS[pooling_type](x, window, **placing, **options)
    geometry = pool_geometry("pool", jnp.shape(x), window, **placing)
    x = jnp.asarray(x)
    rank = len(geometry)
    windows = to_channels_last(x, rank, data_format)[..., None, :]
    if no_windows(geometry):
        windows = empty_result(windows, geometry, windows.ndim - 2 - rank)
        geometry = ()
    for axis, a in enumerate(geometry, start=windows.ndim - 2 - rank):
        windows = fit(windows, axis, a, jnp.asarray(pad_value, x.dtype))
        # Taps join behind those of the axes before: row-major order of the window.
        stacked = jnp.stack(a.tap_slices(windows, axis), axis=-2)
        windows = lax.collapse(stacked, stacked.ndim - 3, stacked.ndim - 1)
    y = jnp.asarray(pooling_type(windows, axis=-2, **options))
    expected = (*windows.shape[:-2], windows.shape[-1])
    if y.shape != expected:
        raise ValueError(
            f"pool: pooling_type must remove axis -2 of its windows, "
            f"{windows.shape} to {expected}; got {y.shape}"
        )
    return from_channels_last(y, rank, data_format)

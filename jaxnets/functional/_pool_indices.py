"""Max pooling that says where each maximum stood, and its partial inverse."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from jaxnets.functional._checks import check_choice, check_integers, check_min_rank
from jaxnets.functional._mesh import match_sharding
from jaxnets.functional._pool import check_ordered
from jaxnets.functional._pool_geometry import (
    check_no_empty_window,
    from_channels_last,
    pool_geometry,
    to_channels_last,
)
from jaxnets.functional._pool_select import extreme_with_indices
from jaxnets.functional._shapes import DATA_FORMATS, DataFormat, IntOrInts, Padding


def max_pool_with_indices(
    x: ArrayLike,
    window: Sequence[int],
    *,
    strides: IntOrInts | None = None,
    padding: Padding = "VALID",
    dilation: IntOrInts = 1,
    ceil_mode: bool = False,
    data_format: DataFormat = "channels_last",
) -> tuple[jax.Array, jax.Array]:
    """The largest cell of every window, and where it stood.

    y[o] = x[indices[o]], with indices counted row by row through the spatial plane of
    the unpadded x, for every batch entry and channel on its own

    Among equal cells the first is named; of several NaN the last (PyTorch's rules).

    Args:
        x: `(*batch, *spatial, channels)`, real.
        window: cells that a window looks at, one entry a spatial axis.
        strides: cells from one window to the next; None means the window.
        padding: as in `max_pool`; padded cells are never named.
        dilation: cells from one tap of a window to the next.
        ceil_mode: as in `max_pool`.
        data_format: `"channels_last"` or `"channels_first"`.

    Returns:
        `(y, indices)`, both `(*batch, *outputs, channels)`; y as `max_pool` gives it,
        indices int32.

    Raises:
        TypeError: if x is complex, or a size is not an integer.
        ValueError: as `max_pool`.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.array([[3.0], [1.0], [2.0], [5.0]])
        >>> y, indices = max_pool_with_indices(x, (2,))
        >>> indices[:, 0]
        Array([0, 3], dtype=int32)

    Source: PyTorch's `MaxPool2d` with `return_indices=True`.
    """
    function = "max_pool_with_indices"
    geometry = pool_geometry(
        function,
        jnp.shape(x),
        window,
        strides=strides,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        data_format=data_format,
    )
    x = jnp.asarray(x)
    check_ordered(function, x)
    check_no_empty_window(function, geometry)
    rank = len(geometry)
    planes = to_channels_last(x, rank, data_format)
    y, indices = extreme_with_indices(planes, geometry, "max")
    return (
        from_channels_last(y, rank, data_format),
        from_channels_last(indices, rank, data_format),
    )


def max_unpool(
    y: ArrayLike,
    indices: ArrayLike,
    output_size: Sequence[int],
    *,
    data_format: DataFormat = "channels_last",
) -> jax.Array:
    """Put every maximum back where it stood, with zeros elsewhere.

    x[indices[o]] = y[o], 0 where no index points

    Where two windows named the same cell their values are equal, and the gradient of
    that cell goes to one of them.

    Args:
        y: `(*batch, *outputs, channels)`, what `max_pool_with_indices` gave.
        indices: integers of the same shape, from 0 to the product of `output_size` − 1.
        output_size: spatial sizes of the result, one entry a spatial axis.
        data_format: `"channels_last"` or `"channels_first"`.

    Returns:
        `(*batch, *output_size, channels)` in the dtype of y.

    Raises:
        TypeError: if indices are not integers, or a size is not an integer.
        ValueError: if the shapes differ, y has too few axes, or an index lies outside
            the plane. Values are known outside `jit` only; inside, an entry with such
            an index is left out.

    Example:
        >>> import jax.numpy as jnp
        >>> max_unpool(jnp.array([[3.0], [5.0]]), jnp.array([[0], [3]]), (4,))[:, 0]
        Array([3., 0., 0., 5.], dtype=float32)

    Source: Zeiler, Fergus (2014), arXiv:1311.2901, section 2.1.
    """
    function = "max_unpool"
    sizes = check_integers(function, "output_size", output_size, length=None, minimum=1)
    check_choice(function, "data_format", data_format, DATA_FORMATS)
    y, indices = jnp.asarray(y), jnp.asarray(indices)
    rank = len(sizes)
    check_min_rank(
        function, "y", y.shape, rank + 1, f"channels and output_size={sizes}"
    )
    if y.shape != indices.shape:
        raise ValueError(
            f"{function}: indices must have the shape of y; "
            f"got {indices.shape} and y.shape={y.shape}"
        )
    if not jnp.issubdtype(indices.dtype, jnp.integer):
        raise TypeError(f"{function}: indices must be integers; got {indices.dtype}")
    _check_inside(function, indices, math.prod(sizes))
    indices = match_sharding(indices, y)
    y = to_channels_last(y, rank, data_format)
    indices = to_channels_last(indices, rank, data_format)
    batch, channels = y.shape[: -rank - 1], y.shape[-1]
    windows = math.prod(y.shape[-rank - 1 : -1])
    cells = (math.prod(batch), windows, channels)
    values, places = y.reshape(cells), indices.reshape(cells)
    plane, columns = math.prod(sizes), jnp.arange(channels)[None]
    # A negative index would count from the end; one beyond the plane is dropped.
    places = jnp.where(places < 0, plane, places)

    def put(values: jax.Array, places: jax.Array) -> jax.Array:
        empty = jnp.zeros((plane, channels), y.dtype)
        return empty.at[places, columns].set(values, mode="drop")

    x = jax.vmap(put)(values, places).reshape(*batch, *sizes, channels)
    return from_channels_last(x, rank, data_format)


def _check_inside(function: str, indices: jax.Array, cells: int) -> None:
    """Raise ValueError if a known index lies outside the plane."""
    if isinstance(indices, Tracer) or indices.size == 0:
        return
    values = np.asarray(indices)
    low, high = values.min(), values.max()
    if low < 0 or high >= cells:
        raise ValueError(
            f"{function}: indices must lie in 0..{cells - 1}, the cells of one plane; "
            f"got {low}..{high} (output_size may be too small)"
        )

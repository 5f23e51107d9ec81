"""Pools whose windows follow from the output's size (PyTorch's window rule)."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxnets.functional._checks import (
    check_choice,
    check_integer,
    check_min_rank,
)
from jaxnets.functional._dtypes import wide_dtype
from jaxnets.functional._pool import check_ordered
from jaxnets.functional._pool_geometry import from_channels_last, to_channels_last
from jaxnets.functional._pool_select import extreme
from jaxnets.functional._pool_sum import whole_axis
from jaxnets.functional._shapes import DATA_FORMATS, DataFormat

OutputSize = Sequence[int | None]


def adaptive_avg_pool(
    x: ArrayLike,
    output_size: OutputSize,
    *,
    data_format: DataFormat = "channels_last",
) -> jax.Array:
    """The mean of windows that share the input out evenly over a given output size.

    y[o] = mean of x[floor(o · in / out)] … x[ceil((o + 1) · in / out) − 1]

    Neighbouring windows share a cell where `out` does not divide `in`.

    Args:
        x: `(*batch, *spatial, channels)`, numbers.
        output_size: outputs along each spatial axis; None keeps an axis as it is.
        data_format: `"channels_last"`, or `"channels_first"` for
            `(*batch, channels, *spatial)`.

    Returns:
        `(*batch, *output_size, channels)`; the dtype of x, or for integers the floating
        dtype that `jnp.mean` gives.

    Raises:
        TypeError: if a size is not an integer or None.
        ValueError: if a size is below 1, x has too few axes or a spatial axis is empty.

    Example:
        >>> import jax.numpy as jnp
        >>> adaptive_avg_pool(jnp.arange(1.0, 6.0)[:, None], (3,))[:, 0]
        Array([1.5, 3. , 4.5], dtype=float32)

    Source: He et al. (2014), arXiv:1406.4729, section 2.2; PyTorch's
    `AdaptiveAvgPool2d`.
    """
    x = jnp.asarray(x)
    dtype = jax.eval_shape(jnp.mean, x).dtype
    wide = x.astype(wide_dtype(dtype))

    def mean(windows: jax.Array, axis: int) -> jax.Array:
        return jnp.mean(windows, axis, keepdims=True)

    y = _adaptive("adaptive_avg_pool", wide, output_size, mean, data_format)
    return y.astype(dtype)


def adaptive_max_pool(
    x: ArrayLike,
    output_size: OutputSize,
    *,
    data_format: DataFormat = "channels_last",
) -> jax.Array:
    """The maximum of windows that share the input out evenly over a given output size.

    y[o] = max of x[floor(o · in / out)] … x[ceil((o + 1) · in / out) − 1]

    Ties and NaN are treated as in `max_pool`.

    Args:
        x: `(*batch, *spatial, channels)`, real.
        output_size: outputs along each spatial axis; None keeps an axis as it is.
        data_format: `"channels_last"` or `"channels_first"`.

    Returns:
        `(*batch, *output_size, channels)` in the dtype of x.

    Raises:
        TypeError: if x is complex, or a size is not an integer or None.
        ValueError: if a size is below 1, x has too few axes or a spatial axis is empty.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.array([[4.0], [1.0], [2.0], [5.0], [3.0]])
        >>> adaptive_max_pool(x, (3,))[:, 0]
        Array([4., 5., 5.], dtype=float32)

    Source: He et al. (2014), arXiv:1406.4729, section 2.2; PyTorch's
    `AdaptiveMaxPool2d`.
    """
    x = jnp.asarray(x)
    check_ordered("adaptive_max_pool", x)

    def largest(windows: jax.Array, axis: int) -> jax.Array:
        before, cells = windows.shape[:axis], windows.shape[axis]
        lanes = windows.reshape(*before, cells, math.prod(windows.shape[axis + 1 :]))
        y = extreme(lanes, (whole_axis(cells),), "max")
        return y.reshape(*before, 1, *windows.shape[axis + 1 :])

    return _adaptive("adaptive_max_pool", x, output_size, largest, data_format)


def _adaptive(
    function: str,
    x: jax.Array,
    output_size: OutputSize,
    statistic: Callable[[jax.Array, int], jax.Array],
    data_format: DataFormat,
) -> jax.Array:
    """Apply `statistic` along each spatial axis in turn, the last first."""
    check_choice(function, "data_format", data_format, DATA_FORMATS)
    if isinstance(output_size, str) or not isinstance(output_size, Sequence):
        raise TypeError(
            f"{function}: output_size must be a sequence of integers or None; "
            f"got {output_size!r}"
        )
    rank = len(output_size)
    if rank == 0:
        raise ValueError(
            f"{function}: output_size must have an entry for every spatial axis; "
            f"got {output_size!r}"
        )
    check_min_rank(
        function, "x", x.shape, rank + 1, f"channels and output_size={output_size}"
    )
    shape, y = x.shape, to_channels_last(x, rank, data_format)
    for axis in range(y.ndim - 2, y.ndim - 2 - rank, -1):
        size, outputs = y.shape[axis], output_size[axis - (y.ndim - 1)]
        if size == 0:
            raise ValueError(
                f"{function}: spatial axes must not be empty; got x.shape={shape}"
            )
        if outputs is not None:
            outputs = check_integer(function, "output_size", outputs, minimum=1)
            y = _along(y, axis, outputs, statistic)
    return from_channels_last(y, rank, data_format)


def _along(
    y: jax.Array,
    axis: int,
    outputs: int,
    statistic: Callable[[jax.Array, int], jax.Array],
) -> jax.Array:
    """One axis. The windows repeat gcd(in, out) times and never cross a repetition.

    So the axis is cut into repetitions, and each window of one is a slice: for 56 to 7
    that is one slice of 8, for 1024 to 1000 it is 125.
    """
    size = y.shape[axis]
    if size == outputs:
        return y
    before, behind = y.shape[:axis], y.shape[axis + 1 :]
    repeats = math.gcd(size, outputs)
    cells, windows = size // repeats, outputs // repeats
    y = y.reshape(*before, repeats, cells, *behind)
    pieces = []
    for o in range(windows):
        begin, end = o * cells // windows, -(-(o + 1) * cells // windows)
        window = lax.slice_in_dim(y, begin, end, 1, axis + 1)
        pieces.append(statistic(window, axis + 1))
    y = pieces[0] if windows == 1 else lax.concatenate(pieces, axis + 1)
    return y.reshape(*before, outputs, *behind)

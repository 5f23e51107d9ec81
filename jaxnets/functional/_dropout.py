"""Dropout, stated by the probability to keep: entry by entry and channel by channel."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from jaxnets.functional._checks import check_integer, check_min_rank
from jaxnets.functional._dtypes import wide_dtype


def dropout(
    key: ArrayLike,
    x: ArrayLike,
    *,
    keep_prob: ArrayLike,
    broadcast_axes: Sequence[int] = (),
) -> jax.Array:
    """Set entries to zero at random and scale the rest so that the mean stays.

    y = x / keep_prob with probability keep_prob, else 0. `keep_prob` is the share that
    stays: Keras's and Flax's `rate` is 1 − keep_prob.

    Args:
        key: a random key.
        x: any shape, floating or complex.
        keep_prob: in (0, 1], a number or a traced scalar; 1 gives x itself. A traced
            one is not checked.
        broadcast_axes: axes along which entries are kept or dropped together.

    Returns:
        The shape and dtype of `x`.

    Raises:
        TypeError: if `x` holds integers.
        ValueError: if `keep_prob` is no number in (0, 1], or an axis does not exist.

    Example:
        >>> import jax
        >>> x = jax.numpy.ones((2, 4))
        >>> y = dropout(jax.random.key(0), x, keep_prob=0.5, broadcast_axes=(0,))
        >>> bool(((y == 0) | (y == 2)).all()), bool((y[0] == y[1]).all())
        (True, True)

    Source:
        Srivastava et al. 2014, "Dropout", section 4, in the inverted form.
    """
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise TypeError(
            f"dropout: x must be floating or complex; got {x.dtype} (convert it first)"
        )
    static = not isinstance(keep_prob, Tracer)
    scalar = jnp.ndim(keep_prob) == 0
    if not scalar or (static and not 0 < np.asarray(keep_prob) <= 1):
        raise ValueError(
            f"dropout: keep_prob must be a number in (0, 1]; got {keep_prob} "
            "(it is the probability to keep, not the rate to drop)"
        )
    axes = {_axis("dropout", axis, x.ndim) for axis in broadcast_axes}
    if static and keep_prob == 1:
        return x
    # float32 in every mode: the same key keeps the same entries with x64 on and off,
    # and 1 / 0.9 is not rounded to bfloat16, which would shift the mean by 0.2 %.
    keep = jnp.asarray(keep_prob, jnp.float32)
    shape = tuple(1 if axis in axes else n for axis, n in enumerate(x.shape))
    # The `or` gives the mask the partition of x, which `where` demands on a mesh with
    # explicit axes.
    mask = jax.random.bernoulli(key, keep, shape) | jnp.zeros_like(x, bool)
    wide = wide_dtype(x.dtype)
    scaled = x.astype(wide) / jnp.asarray(keep_prob, wide)
    return jnp.where(mask, scaled.astype(x.dtype), jnp.zeros_like(x))


def spatial_dropout(
    key: ArrayLike,
    x: ArrayLike,
    *,
    keep_prob: ArrayLike,
    spatial_ndim: int | None = None,
) -> jax.Array:
    """Drop whole channels: every position of a channel is kept or dropped together.

    y[b, ..., c] = x[b, ..., c] / keep_prob with probability keep_prob, else 0, drawn
    once for every example b and channel c.

    Args:
        key: a random key.
        x: `(*batch, *spatial, channels)`, floating or complex.
        keep_prob: in (0, 1], a number or a traced scalar.
        spatial_ndim: how many axes before the last are spatial; None means all but the
            first and the last.

    Returns:
        The shape and dtype of `x`.

    Raises:
        TypeError: if `x` holds integers.
        ValueError: if `keep_prob` is no number in (0, 1], or `x` has too few axes.

    Example:
        >>> import jax
        >>> x = jax.numpy.ones((2, 5, 5, 3))
        >>> y = spatial_dropout(jax.random.key(0), x, keep_prob=0.5)
        >>> bool((y == y[:, :1, :1]).all())
        True

    Source:
        Tompson et al. 2015, "Efficient object localization using convolutional
        networks", section 3.2.
    """
    x = jnp.asarray(x)
    spatial = spatial_axes("spatial_dropout", x.shape, spatial_ndim)
    return dropout(key, x, keep_prob=keep_prob, broadcast_axes=spatial)


def spatial_axes(
    function: str, shape: Sequence[int], spatial_ndim: int | None
) -> tuple[int, ...]:
    """The axes before the last that are spatial; None: all but the first and last."""
    if spatial_ndim is None:
        check_min_rank(function, "x", shape, 2, "(batch, *spatial, channels)")
        return tuple(range(1, len(shape) - 1))
    spatial_ndim = check_integer(function, "spatial_ndim", spatial_ndim, minimum=0)
    layout = f"(*batch, *spatial, channels) with {spatial_ndim} spatial"
    check_min_rank(function, "x", shape, spatial_ndim + 1, layout)
    return tuple(range(len(shape) - 1 - spatial_ndim, len(shape) - 1))


def _axis(function: str, axis: int, ndim: int) -> int:
    if not -ndim <= axis < ndim:
        raise ValueError(
            f"{function}: axis {axis} does not exist in an array of {ndim} axes"
        )
    return axis % ndim

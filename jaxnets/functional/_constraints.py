"""Constraints on the norm of every unit's weights; whole-array ones are optax's.

`optax.projections` has the projections of a whole array (box, simplex, balls,
non-negative). These project every unit's incoming weights by itself.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnets.functional._dtypes import widen
from jaxnets.functional._normalize import canonical_axes


def max_norm(
    x: ArrayLike,
    *,
    max_value: ArrayLike = 2.0,
    axis: int | Sequence[int] | None = None,
) -> jax.Array:
    """Shrink vectors that are longer than `max_value` to that length.

    y = x · min(1, max_value / ‖x‖), the norm taken along `axis`. A vector that is
    short enough stays as it is, bit for bit.

    Args:
        x: any shape, floating; a kernel `(*window, in, out)`.
        max_value: the largest norm allowed.
        axis: axes that make up one vector; None means all but the last, which gives
            the weights that lead to one output of a dense or convolution kernel.

    Returns:
        The shape and dtype of `x`.

    Raises:
        TypeError: if `x` is not floating.
        ValueError: if an axis does not exist or stands twice.

    Example:
        >>> import jax.numpy as jnp
        >>> max_norm(jnp.asarray([[3.0, 0.0], [4.0, 1.0]]), max_value=1.0)
        Array([[0.6, 0. ],
               [0.8, 1. ]], dtype=float32)

    Source:
        Srivastava et al. 2014, "Dropout", section 5.1.
    """
    x, norm = _norm("max_norm", x, axis)
    bound = jnp.broadcast_to(jnp.asarray(max_value, norm.dtype), norm.shape)
    long = norm > bound
    return _scale(x, jnp.where(long, bound / _safe(norm, long), 1))


def unit_norm(x: ArrayLike, *, axis: int | Sequence[int] | None = None) -> jax.Array:
    """Scale every vector to length 1; a vector of zeros stays zero.

    Args:
        x: any shape, floating; a kernel `(*window, in, out)`.
        axis: axes that make up one vector; None means all but the last.

    Returns:
        The shape and dtype of `x`.

    Raises:
        TypeError: if `x` is not floating.
        ValueError: if an axis does not exist or stands twice.

    Example:
        >>> import jax.numpy as jnp
        >>> unit_norm(jnp.asarray([[3.0, 0.0], [4.0, 2.0]]))
        Array([[0.6, 0. ],
               [0.8, 1. ]], dtype=float32)

    Source:
        Keras, `UnitNorm`.
    """
    x, norm = _norm("unit_norm", x, axis)
    return _scale(x, 1 / _safe(norm, norm > 0))


def min_max_norm(
    x: ArrayLike,
    *,
    min_value: ArrayLike = 0.0,
    max_value: ArrayLike = 1.0,
    rate: ArrayLike = 1.0,
    axis: int | Sequence[int] | None = None,
) -> jax.Array:
    """Move the length of every vector into [min_value, max_value], or towards it.

    y = x · (1 − rate + rate · clip(‖x‖, min_value, max_value) / ‖x‖). A vector of zeros
    stays zero: it has no direction to grow in.

    Args:
        x: any shape, floating; a kernel `(*window, in, out)`.
        min_value: the smallest norm.
        max_value: the largest norm.
        rate: share of the way to go; 1 enforces the bounds.
        axis: axes that make up one vector; None means all but the last.

    Returns:
        The shape and dtype of `x`.

    Raises:
        TypeError: if `x` is not floating.
        ValueError: if an axis does not exist or stands twice.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.asarray([[0.3, 3.0], [0.4, 4.0]])
        >>> min_max_norm(x, min_value=1.0, max_value=2.5)
        Array([[0.6, 1.5],
               [0.8, 2. ]], dtype=float32)

    Source:
        Keras, `MinMaxNorm`.
    """
    x, norm = _norm("min_max_norm", x, axis)
    low, high, share = (
        jnp.broadcast_to(jnp.asarray(value, norm.dtype), norm.shape)
        for value in (min_value, max_value, rate)
    )
    some = norm > 0
    ratio = jnp.where(some, jnp.clip(norm, low, high) / _safe(norm, some), 1)
    return _scale(x, 1 - share + share * ratio)


def _norm(
    function: str, x: ArrayLike, axis: int | Sequence[int] | None
) -> tuple[jax.Array, jax.Array]:
    """The array and its lengths in at least float32; gradient 0 at length 0."""
    x, wide = widen(function, x)
    axes = tuple(range(x.ndim - 1))
    if axis is not None:
        axes = canonical_axes(function, axis, x.ndim)
    square = jnp.sum(jnp.square(wide), axis=axes, keepdims=True)
    safe = jnp.where(square > 0, square, 1)
    return x, jnp.where(square > 0, jnp.sqrt(safe), 0)


def _safe(norm: jax.Array, used: jax.Array) -> jax.Array:
    """The norm as a divisor: 1 where it is not used, so that nothing divides by 0."""
    return jnp.where(used, norm, 1)


def _scale(x: jax.Array, factor: jax.Array) -> jax.Array:
    wide = x.astype(factor.dtype) * jnp.broadcast_to(factor, x.shape)
    return wide.astype(x.dtype)

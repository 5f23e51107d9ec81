"""Penalties on parameters: scalars to be added to a loss.

`functools.partial(l2, strength=1e-4)` is a regularizer as `jaxnets.nn` takes it.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnets.functional._absolute import absolute
from jaxnets.functional._checks import check_choice
from jaxnets.functional._dtypes import widen


def l1(x: ArrayLike, *, strength: ArrayLike = 0.01) -> jax.Array:
    """Sum of absolute values: strength · Σ|x|. Its gradient at 0 is 0.

    Args:
        x: any shape, floating.
        strength: factor, a number or scalar array.

    Returns:
        A scalar of the dtype of `x`; the sum of a half type is formed in float32.

    Raises:
        TypeError: if `x` is not floating.

    Example:
        >>> import numpy as np
        >>> float(l1(np.asarray([1.0, -3.0]), strength=0.5))
        2.0

    Source:
        Goodfellow, Bengio, Courville: Deep Learning, equation 7.18.
    """
    x, wide = widen("l1", x)
    total = jnp.sum(absolute(wide))
    return _scaled(total, strength).astype(x.dtype)


def l2(x: ArrayLike, *, strength: ArrayLike = 0.01) -> jax.Array:
    """Sum of squares: strength · Σx². As in Keras there is no factor ½.

    Args:
        x: any shape, floating.
        strength: factor, a number or scalar array.

    Returns:
        A scalar of the dtype of `x`; the sum of a half type is formed in float32.

    Raises:
        TypeError: if `x` is not floating.

    Example:
        >>> import numpy as np
        >>> float(l2(np.asarray([1.0, -3.0]), strength=0.5))
        5.0

    Source:
        Goodfellow, Bengio, Courville: Deep Learning, section 7.1.1 (α = 2 strength).
    """
    x, wide = widen("l2", x)
    total = jnp.sum(jnp.square(wide))
    return _scaled(total, strength).astype(x.dtype)


def l1_l2(x: ArrayLike, *, l1: ArrayLike = 0.01, l2: ArrayLike = 0.01) -> jax.Array:
    """Both sums (the elastic net): l1 · Σ|x| + l2 · Σx².

    Args:
        x: any shape, floating.
        l1: factor of the sum of absolute values.
        l2: factor of the sum of squares.

    Returns:
        A scalar of the dtype of `x`; the sums of a half type are formed in float32.

    Raises:
        TypeError: if `x` is not floating.

    Example:
        >>> import numpy as np
        >>> float(l1_l2(np.asarray([1.0, -3.0]), l1=0.5, l2=1.0))
        12.0

    Source:
        Zou, Hastie 2005, "Regularization and variable selection via the elastic net",
        equation 3.
    """
    x, wide = widen("l1_l2", x)
    magnitude = _scaled(jnp.sum(absolute(wide)), l1)
    square = _scaled(jnp.sum(jnp.square(wide)), l2)
    return (magnitude + square).astype(x.dtype)


def orthogonal(
    x: ArrayLike,
    *,
    strength: ArrayLike = 0.01,
    mode: str = "rows",
) -> jax.Array:
    """Mean absolute cosine between different rows (or columns) of a matrix.

    strength · mean over pairs i < j of |⟨x_i, x_j⟩| / (‖x_i‖ ‖x_j‖), as in
    Keras. The gradient is 0 at a row of zeros.

    Args:
        x: `(rows, columns)`, floating.
        strength: factor, a number or scalar array.
        mode: which vectors should become orthogonal, "rows" or "columns".

    Returns:
        A scalar of the dtype of `x`; the sums of a half type are formed in float32.

    Raises:
        TypeError: if `x` is not floating.
        ValueError: if `x` is no matrix, has a single vector, or `mode` is unknown.

    Example:
        >>> import numpy as np
        >>> float(orthogonal(np.asarray([[2.0, 0.0], [3.0, 3.0]]), strength=1.0))
        0.7071...

    Source:
        Keras, `OrthogonalRegularizer`.
    """
    x, wide = widen("orthogonal", x)
    check_choice("orthogonal", "mode", mode, ("rows", "columns"))
    if x.ndim != 2:
        raise ValueError(
            f"orthogonal: x must be a matrix; got x.shape={x.shape} "
            "(reshape a convolution kernel to (-1, out))"
        )
    vectors = wide if mode == "rows" else wide.T
    count = vectors.shape[0]
    if count < 2:
        raise ValueError(
            f"orthogonal: there must be at least 2 {mode}; got x.shape={x.shape}"
        )
    square = jnp.sum(jnp.square(vectors), axis=1, keepdims=True)
    safe = jnp.where(square > 0, square, 1)
    inverse = jnp.where(square > 0, jax.lax.rsqrt(safe), 0)
    units = vectors * jnp.broadcast_to(inverse, vectors.shape)
    cosines = absolute(jnp.matmul(units, units.T))
    total = jnp.sum(jnp.triu(cosines, k=1))
    return (_scaled(total, strength) / (count * (count - 1) / 2)).astype(x.dtype)


def _scaled(total: jax.Array, strength: ArrayLike) -> jax.Array:
    return total * jnp.asarray(strength, total.dtype)

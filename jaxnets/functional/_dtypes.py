"""The dtype that sums are formed in."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def wide_dtype(dtype: Any) -> Any:
    """The dtype to compute in: float32 for floats shorter than that, else the same.

    `jnp.promote_types` would do, but raises under strict dtype promotion.
    """
    short = jnp.issubdtype(dtype, jnp.floating) and jnp.dtype(dtype).itemsize < 4
    return jnp.dtype(jnp.float32 if short else dtype)


def widen(
    function: str, x: ArrayLike, *, name: str = "x"
) -> tuple[jax.Array, jax.Array]:
    """The array, and the array in its wide dtype; raise unless it is floating."""
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"{function}: {name} must be floating; got {x.dtype}")
    return x, x.astype(wide_dtype(x.dtype))

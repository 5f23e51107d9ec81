"""Values that vary over manual mesh axes as others do, for use in `shard_map`."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def zeros_varying(shape: tuple[int, ...], dtype: Any, like: jax.Array) -> jax.Array:
    """Zeros that vary over the manual mesh axes that `like` varies over.

    A loop's carry must keep its type, and what is added to it varies.
    """
    zero = jnp.zeros(shape, dtype)
    axes = jax.typeof(like).manual_axis_type.varying
    return lax.pcast(zero, tuple(axes), to="varying") if axes else zero


def example_varying(
    shape: tuple[int, ...], dtype: Any, like: jax.Array
) -> jax.Array | jax.ShapeDtypeStruct:
    """What `jax.linear_transpose` takes as the operand of a cotangent `like`."""
    if jax.typeof(like).manual_axis_type.varying:
        return zeros_varying(shape, dtype, like)
    return jax.ShapeDtypeStruct(shape, dtype)

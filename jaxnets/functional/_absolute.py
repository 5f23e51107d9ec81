"""The absolute value with the subgradient of PyTorch and Keras."""

import jax
import jax.numpy as jnp


def absolute(x: jax.Array) -> jax.Array:
    """|x| with derivative 0 at 0, where that of `jnp.abs` is 1."""
    return x * jnp.sign(x)

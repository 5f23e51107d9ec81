"""The logistic function σ with full relative accuracy of σ(x) and of 1 − σ(x).

`tanh(x / 2) / 2 + 1 / 2` loses all digits of a closed gate (x below −17 in float32),
and `1 - sigmoid(x)` those of an open one.
"""

import jax
import jax.numpy as jnp


@jax.custom_jvp
def signed_gate(x: jax.Array) -> jax.Array:
    """The smaller of σ(x) and 1 − σ(x), with a minus sign if that is 1 − σ(x).

    One array so carries both with full relative accuracy; `shares` takes them apart.
    Where 1 − σ(x) underflows, the least normal number stands for it, because zero
    would have no sign.
    """
    # exp(−|x|) never overflows.
    e = jnp.exp(-jnp.abs(x))
    smaller = e / (1 + e)
    least = jnp.finfo(x.dtype).tiny
    return jnp.where(x > 0, -jnp.maximum(smaller, least), smaller)


@signed_gate.defjvp
def _signed_gate_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    # By hand, because JAX's derivative of |x| at 0 is 0.
    gate = signed_gate(*primals)
    return gate, tangents[0] * slope(gate)


def open_share(gate: jax.Array) -> jax.Array:
    """σ(x) of `signed_gate(x)`."""
    return jnp.where(gate < 0, 1 + gate, gate)


def shares(gate: jax.Array) -> tuple[jax.Array, jax.Array]:
    """σ(x) and 1 − σ(x) of `signed_gate(x)`."""
    closed = jnp.where(gate < 0, -gate, 1 - gate)
    return open_share(gate), closed


def slope(gate: jax.Array) -> jax.Array:
    """σ'(x) = σ(x) (1 − σ(x)) of `signed_gate(x)`."""
    smaller = jnp.abs(gate)
    return smaller * (1 - smaller)

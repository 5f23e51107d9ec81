"""The arithmetic of the cells, without checks, for cells and sequences alike."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.functional._gates import shares, signed_gate
from jaxnets.functional._normalize import layer_norm
from jaxnets.functional._recurrent_params import LSTMState

Activation = Callable[[jax.Array], jax.Array]


def rnn_step(params, h, x, mask, activation, precision):
    """`rnn_cell` without checks; the mask is multiplied into h in the product."""
    sums = affine(x, params.kernel, params.bias, precision)
    seen = h if mask is None else h * mask
    h = activation(sums + affine(seen, params.recurrent_kernel, None, precision))
    return h, h


def lstm_step(
    params,
    carry,
    x,
    mask,
    activation,
    recurrent_activation,
    forget_bias,
    coupled,
    precision,
):
    """`lstm_cell` without checks; the mask is multiplied into h in the product."""
    seen_h = carry.h if mask is None else carry.h * mask
    inputs = affine(x, params.kernel, None, precision)
    recurrent = affine(seen_h, params.recurrent_kernel, None, precision)
    if params.norm is not None:
        inputs = layer_norm(inputs, params.norm.kernel_scale)
        recurrent = layer_norm(recurrent, params.norm.recurrent_scale)
    sums = inputs + recurrent
    if params.bias is not None:
        sums = sums + along_last(params.bias, sums)
    i, f, g, o = jnp.split(sums, 4, -1) if not coupled else (None, *thirds(sums))
    if forget_bias:
        f = f + forget_bias
    seen = list(params.peephole) if params.peephole is not None else None
    if seen is not None:
        f = f + along_last(seen[-2], f) * carry.c
        i = i if i is None else i + along_last(seen[0], i) * carry.c
    f, rest = gate_shares(recurrent_activation, f)
    i = rest if i is None else gate_shares(recurrent_activation, i)[0]
    c = f * carry.c + i * activation(g)
    if seen is not None:
        o = o + along_last(seen[-1], o) * c
    shown = c
    if params.norm is not None:
        shown = layer_norm(c, params.norm.cell_scale, params.norm.cell_bias)
    h = gate_shares(recurrent_activation, o)[0] * activation(shown)
    if params.projection is not None:
        h = affine(h, params.projection, None, precision)
    return LSTMState(h, c), h


def gru_step(
    params, h, x, mask, reset_after, activation, recurrent_activation, precision
):
    """`gru_cell` without checks; the mask is multiplied into h in the products."""
    seen = h if mask is None else h * mask
    a_r, a_z, a_n = thirds(affine(x, params.kernel, params.bias, precision))
    kernel = params.recurrent_kernel
    if reset_after:
        b = affine(seen, kernel, params.recurrent_bias, precision)
        b_r, b_z, b_n = thirds(b)
        r, _ = gate_shares(recurrent_activation, a_r + b_r)
        n = activation(a_n + r * b_n)
    else:
        units = kernel.shape[0]
        b_r, b_z = jnp.split(
            affine(seen, kernel[:, : 2 * units], None, precision), 2, -1
        )
        r, _ = gate_shares(recurrent_activation, a_r + b_r)
        b_n = affine(r * seen, kernel[:, 2 * units :], None, precision)
        n = activation(a_n + b_n)
    kept, new = gate_shares(recurrent_activation, a_z + b_z)
    h = new * n + kept * h
    return h, h


def gate_shares(activation: Activation, sums: jax.Array) -> tuple[jax.Array, jax.Array]:
    """σ(sums) and 1 − σ(sums), without cancellation where σ is the logistic one."""
    if activation is jax.nn.sigmoid:
        return shares(signed_gate(sums))
    gate = activation(sums)
    return gate, 1 - gate


def affine(x: Any, kernel: Any, bias: Any, precision: lax.PrecisionLike) -> jax.Array:
    """X · kernel + bias over the last axis, without checks."""
    contract = (((jnp.ndim(x) - 1,), (0,)), ((), ()))
    y = lax.dot_general(x, kernel, contract, precision=precision)
    return y if bias is None else y + along_last(bias, y)


def along_last(vector: Any, like: jax.Array) -> jax.Array:
    """A vector spread along the last axis of `like`."""
    return jnp.broadcast_to(vector, like.shape)


def thirds(sums: jax.Array) -> list[jax.Array]:
    """The three gates of sums of three gates."""
    return jnp.split(sums, 3, -1)

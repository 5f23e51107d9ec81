"""An LSTM by cuDNN, through `jax.experimental.rnn`: NVIDIA only, reverse mode only."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxnets.functional._recurrent_params import LSTMParams, LSTMState


def pack_weights(params: LSTMParams, forget_bias: float) -> jax.Array:
    """CuDNN's flat weights: W_ih, W_hh `(4 * units, in)` row by row, b_ih, b_hh."""
    kernel, recurrent_kernel = params.kernel, params.recurrent_kernel
    units, dtype = recurrent_kernel.shape[0], kernel.dtype
    shift = jnp.repeat(jnp.asarray([0, forget_bias, 0, 0], dtype), units)
    bias = shift if params.bias is None else params.bias + shift
    parts = (kernel.T, recurrent_kernel.T, bias, jnp.zeros_like(bias))
    return jnp.concatenate([part.ravel() for part in parts])


def run_cudnn(
    params: LSTMParams,
    state: Any,
    xs: jax.Array,
    valid: jax.Array | None,
    *,
    reverse: bool,
    forget_bias: float,
    precision: Any,
) -> tuple[LSTMState, jax.Array]:
    """The final state and the outputs `(T, *batch, units)`, as `fused` gives them."""
    from jax.experimental import rnn  # its import needs no GPU, its call does

    steps, *batch, size = xs.shape
    units = params.recurrent_kernel.shape[0]
    rows = jnp.moveaxis(xs.reshape(steps, -1, size), 0, 1)
    lengths = jnp.full(len(rows), steps, jnp.int32)
    if valid is not None:
        lengths = valid.reshape(steps, -1).sum(0, dtype=jnp.int32)
    if reverse:
        rows = reverse_within(rows, lengths)
    h, c = (value.reshape(1, -1, units) for value in state)
    # cuDNN takes no empty sequence; what it makes of one is not used below.
    done: Any = rnn.lstm(
        rows,
        h,
        c,
        pack_weights(params, forget_bias),
        jnp.maximum(lengths, 1),
        size,
        units,
        1,
        0.0,
        False,
        precision,
    )
    ys, h_end, c_end = done
    if reverse:
        ys = reverse_within(ys, lengths)
    times = jax.lax.broadcasted_iota(jnp.int32, ys.shape, 1)
    ys = jnp.where(times < lengths[:, None, None], ys, 0)
    some = (lengths > 0)[None, :, None]
    ends = (jnp.where(some, end, old) for end, old in ((h_end, h), (c_end, c)))
    h, c = (end.reshape(*batch, units) for end in ends)
    return LSTMState(h, c), jnp.moveaxis(ys, 1, 0).reshape(steps, *batch, units)


def reverse_within(rows: jax.Array, lengths: jax.Array) -> jax.Array:
    """`(B, T, n)` with the first `lengths` steps of each row in the opposite order."""
    times = jnp.arange(rows.shape[1])[None]
    ends = lengths[:, None]
    places = jnp.where(times < ends, ends - 1 - times, times)
    return jnp.take_along_axis(rows, places[:, :, None], 1)

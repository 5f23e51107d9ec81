"""The pointwise parts of rnn, lstm and gru in their fast form, and their derivatives.

σ(a) = ½ tanh(½ a) + ½, so one tanh serves all gates of an LSTM: the ½ inside is put
into the kernels, which is exact in floating point, the other is a scale and a shift a
column.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.functional._recurrent_fused import Form
from jaxnets.functional._recurrent_params import GRUParams, LSTMParams, LSTMState


def halves(gates: str, units: int, dtype: Any) -> jax.Array:
    """A row with ½ in the columns of σ gates and 1 in those of the tanh gates."""
    scales = [1.0 if gate in "gn" else 0.5 for gate in gates]
    return jnp.repeat(jnp.asarray(scales, dtype), units)


def _lstm_step(z: Any, b: jax.Array, state: Any) -> tuple[LSTMState, Any]:
    sums = z[0] + b
    half = jnp.broadcast_to(halves("ifgo", b.shape[-1] // 4, b.dtype), b.shape)
    # The barrier keeps XLA from computing the tanh again in every use of a gate.
    gates = lax.optimization_barrier(jnp.tanh(sums) * half + (1 - half))
    i, f, g, o = jnp.split(gates, 4, -1)
    c = f * state.c + i * g
    shown = jnp.tanh(c)
    return LSTMState(o * shown, c), (i, f, g, o, state.c, shown)


def _lstm_tangent(saved: Any, du: Any, db: jax.Array, dstate: Any) -> LSTMState:
    i, f, g, o, c, shown = saved
    di, df, dg, do = jnp.split(lax.optimization_barrier(du[0] + db), 4, -1)
    # The derivative of σ(2 s) is 2 σ (1 − σ).
    dc = f * dstate.c + di * (2 * g * i * (1 - i))
    dc = dc + df * (2 * c * f * (1 - f)) + dg * (i * (1 - g * g))
    dh = dc * (o * (1 - shown * shown)) + do * (2 * shown * o * (1 - o))
    return LSTMState(dh, dc)


def lstm_arrays(params: LSTMParams, forget_bias: float) -> tuple:
    """Kernels and bias with the ½ of the σ gates, and the forget bias in the bias."""
    units, dtype = params.recurrent_kernel.shape[0], params.kernel.dtype
    half = halves("ifgo", units, dtype)
    bias = params.bias
    if forget_bias:
        bias = jnp.zeros(4 * units, dtype) if bias is None else bias
        bias = bias + jnp.repeat(jnp.asarray([0, forget_bias, 0, 0], dtype), units)
    return *_scaled(half, params.kernel, params.recurrent_kernel, bias), None


def _scaled(half: jax.Array, *arrays: jax.Array | None) -> list[jax.Array | None]:
    return [
        None if array is None else array * jnp.broadcast_to(half, array.shape)
        for array in arrays
    ]


LSTM_FORM = Form(_lstm_step, _lstm_tangent, lambda saved, db: [db], 1)


def _gru_step(z: Any, b: jax.Array, h: jax.Array) -> tuple[jax.Array, Any]:
    b_r, b_u, reset = jnp.split(b, 3, -1)
    r = jnp.tanh(z[0] + b_r) * 0.5 + 0.5
    u = jnp.tanh(z[1] + b_u) * 0.5 + 0.5
    n = jnp.tanh(z[2] + r * reset)
    return n + u * (h - n), (r, u, n, reset, h)


def _gru_tangent(saved: Any, du: Any, db: jax.Array, dh: Any) -> jax.Array:
    r, u, n, reset, h = saved
    da_r, da_u, db_n = jnp.split(db, 3, -1)
    da_r, da_u, da_n = da_r + du[0], da_u + du[1], r * db_n + du[2]
    dn = (da_n + da_r * (2 * reset * r * (1 - r))) * (1 - n * n)
    return (1 - u) * dn + u * dh + da_u * (2 * u * (1 - u) * (h - n))


def _gru_spread(saved: Any, db: jax.Array) -> list[jax.Array]:
    db_r, db_u, db_n = jnp.split(db, 3, -1)
    return [db_r, db_u, saved[0] * db_n]


def gru_arrays(params: GRUParams) -> tuple:
    """Kernels and biases with the ½ of the σ gates."""
    units, dtype = params.recurrent_kernel.shape[0], params.kernel.dtype
    return tuple(_scaled(halves("rzn", units, dtype), *params))


GRU_FORM = Form(_gru_step, _gru_tangent, _gru_spread, 3)


def _tanh_step(z: Any, b: jax.Array, h: jax.Array) -> tuple[jax.Array, Any]:
    new = jnp.tanh(z[0] + b)
    return new, new


def _tanh_tangent(h: Any, du: Any, db: jax.Array, dh: Any) -> jax.Array:
    return (1 - h * h) * (du[0] + db)


def _relu_step(z: Any, b: jax.Array, h: jax.Array) -> tuple[jax.Array, Any]:
    new = jnp.maximum(z[0] + b, 0)
    return new, new


def _relu_tangent(h: Any, du: Any, db: jax.Array, dh: Any) -> jax.Array:
    return jnp.where(h > 0, du[0] + db, jnp.zeros_like(db))


RNN_FORMS = {
    jnp.tanh: Form(_tanh_step, _tanh_tangent, lambda saved, db: [db], 1),
    jax.nn.relu: Form(_relu_step, _relu_tangent, lambda saved, db: [db], 1),
}

"""The pointwise parts of rnn, lstm and gru in their fast form, and their derivatives.

The gates are kept as `signed_gate` gives them, so that closed gates, open gates and
the derivatives through both have full relative accuracy.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.functional._gates import open_share, shares, signed_gate, slope
from jaxnets.functional._recurrent_fused import Form
from jaxnets.functional._recurrent_params import GRUParams, LSTMParams, LSTMState


def _lstm_step(z: Any, b: jax.Array, state: Any) -> tuple[LSTMState, Any]:
    a_i, a_f, a_g, a_o = (a + b for a, b in zip(z, jnp.split(b, 4, -1), strict=True))
    gates = (signed_gate(a_i), signed_gate(a_f), jnp.tanh(a_g), signed_gate(a_o))
    # The barrier keeps XLA from computing the exponentials again in every use.
    i, f, g, o = lax.optimization_barrier(gates)
    c = open_share(f) * state.c + open_share(i) * g
    shown = jnp.tanh(c)
    return LSTMState(open_share(o) * shown, c), (i, f, g, o, state.c, shown)


def _lstm_tangent(saved: Any, du: Any, db: jax.Array, dstate: Any) -> LSTMState:
    i, f, g, o, c, shown = saved
    di, df, dg, do = (a + b for a, b in zip(du, jnp.split(db, 4, -1), strict=True))
    dc = open_share(f) * dstate.c + di * (g * slope(i)) + df * (c * slope(f))
    dc = dc + dg * (open_share(i) * _tanh_slope(g))
    dh = dc * (open_share(o) * _tanh_slope(shown)) + do * (shown * slope(o))
    return LSTMState(dh, dc)


def _tanh_slope(t: jax.Array) -> jax.Array:
    # 1 − t is exact near 1; 1 − t² would round t² first.
    return (1 - t) * (1 + t)


def lstm_arrays(params: LSTMParams, forget_bias: float) -> tuple:
    """Kernels and bias, with the forget bias in the bias."""
    units, dtype = params.recurrent_kernel.shape[0], params.kernel.dtype
    bias = params.bias
    if forget_bias:
        bias = jnp.zeros(4 * units, dtype) if bias is None else bias
        bias = bias + jnp.repeat(jnp.asarray([0, forget_bias, 0, 0], dtype), units)
    return params.kernel, params.recurrent_kernel, bias, None


LSTM_FORM = Form(
    _lstm_step, _lstm_tangent, lambda saved, db: jnp.split(db, 4, -1), pieces=4
)


def _gru_step(z: Any, b: jax.Array, h: jax.Array) -> tuple[jax.Array, Any]:
    b_r, b_u, reset = jnp.split(b, 3, -1)
    r, u = signed_gate(z[0] + b_r), signed_gate(z[1] + b_u)
    n = jnp.tanh(z[2] + open_share(r) * reset)
    kept, new = shares(u)
    return new * n + kept * h, (r, u, n, reset, h)


def _gru_tangent(saved: Any, du: Any, db: jax.Array, dh: Any) -> jax.Array:
    r, u, n, reset, h = saved
    da_r, da_u, db_n = jnp.split(db, 3, -1)
    da_r, da_u, da_n = da_r + du[0], da_u + du[1], open_share(r) * db_n + du[2]
    dn = (da_n + da_r * (reset * slope(r))) * _tanh_slope(n)
    kept, new = shares(u)
    return new * dn + kept * dh + da_u * (slope(u) * (h - n))


def _gru_spread(saved: Any, db: jax.Array) -> list[jax.Array]:
    db_r, db_u, db_n = jnp.split(db, 3, -1)
    return [db_r, db_u, open_share(saved[0]) * db_n]


def gru_arrays(params: GRUParams) -> tuple:
    """Kernels and biases as they are."""
    return tuple(params)


GRU_FORM = Form(_gru_step, _gru_tangent, _gru_spread, 3)


def _tanh_step(z: Any, b: jax.Array, h: jax.Array) -> tuple[jax.Array, Any]:
    new = jnp.tanh(z[0] + b)
    return new, new


def _tanh_tangent(h: Any, du: Any, db: jax.Array, dh: Any) -> jax.Array:
    return _tanh_slope(h) * (du[0] + db)


def _relu_step(z: Any, b: jax.Array, h: jax.Array) -> tuple[jax.Array, Any]:
    new = jnp.maximum(z[0] + b, 0)
    return new, new


def _relu_tangent(h: Any, du: Any, db: jax.Array, dh: Any) -> jax.Array:
    return jnp.where(h > 0, du[0] + db, jnp.zeros_like(db))


RNN_FORMS = {
    jnp.tanh: Form(_tanh_step, _tanh_tangent, lambda saved, db: [db], 1),
    jax.nn.relu: Form(_relu_step, _relu_tangent, lambda saved, db: [db], 1),
}

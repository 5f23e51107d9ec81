"""Closed and open gates, entry by entry: NumPy loops differentiated by complex steps.

Im f(x + ih) / h with h = 1e-150 has no cancellation, so that a gradient of 1e-30 is
known to all digits of float64.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import functional as F
from jaxnets.functional._gates import shares, signed_gate

pytestmark = pytest.mark.usefixtures("x64")

BATCH, T, IN, UNITS = 2, 4, 2, 3


def sigma(a):
    # Exact for both signs of a; 1 - sigma(a) is not, and is written sigma(-a) below.
    return 1 / (1 + np.exp(-a))


def lstm_step(p, state, x, coupled=False):
    h, c = state
    sums = x @ p["kernel"] + h @ p["recurrent_kernel"] + p["bias"]
    f, g, o = np.split(sums, 3 if coupled else 4)[-3:]
    i = sigma(-f) if coupled else sigma(sums[:UNITS])
    c = sigma(f) * c + i * np.tanh(g)
    return sigma(o) * np.tanh(c), c


def gru_step(p, state, x):
    (h,) = state
    a, b = x @ p["kernel"] + p["bias"], h @ p["recurrent_kernel"] + p["recurrent_bias"]
    (a_r, a_z, a_n), (b_r, b_z, b_n) = np.split(a, 3), np.split(b, 3)
    n = np.tanh(a_n + sigma(a_r + b_r) * b_n)
    return (sigma(-a_z - b_z) * n + sigma(a_z + b_z) * h,)


def mgu_step(p, state, x):
    (h,) = state
    a_f, a_n = np.split(x @ p["kernel"] + p["bias"], 2)
    u_f, u_n = np.split(p["recurrent_kernel"], 2, -1)
    f = a_f + h @ u_f
    n = np.tanh(a_n + (sigma(f) * h) @ u_n)
    return (sigma(-f) * h + sigma(f) * n,)


def conv_lstm(params, xs, **options):
    """An LSTM as a convolutional one of one pixel and window 1."""
    pixel = F.ConvLSTMParams(params.kernel[None], params.recurrent_kernel[None])
    pixel = pixel._replace(bias=params.bias)
    state, ys = F.recurrent(F.conv_lstm_cell, pixel, xs[..., None, :], **options)
    return state, ys[..., 0, :]


# layer, parameters, oracle, and which blocks of columns belong to a σ.
LAYERS = {
    "lstm fused": (partial(F.lstm, algorithm="fused"), F.LSTMParams, lstm_step, "1101"),
    "lstm scan": (partial(F.lstm, algorithm="scan"), F.LSTMParams, lstm_step, "1101"),
    "coupled": (
        partial(F.lstm, coupled=True),
        F.LSTMParams,
        partial(lstm_step, coupled=True),
        "101",
    ),
    "conv_lstm": (conv_lstm, F.LSTMParams, lstm_step, "1101"),
    "gru fused": (partial(F.gru, algorithm="fused"), F.GRUParams, gru_step, "110"),
    "gru scan": (partial(F.gru, algorithm="scan"), F.GRUParams, gru_step, "110"),
    "mgu": (partial(F.recurrent, F.mgu_cell), F.MGUParams, mgu_step, "10"),
}
# The sums in front of the gates reach 100, and an error of one of them is a relative
# error of its gate: 100 roundings.
TOLERANCE = {"float64": 1e-12, "float32": 1e-3, "bfloat16": 2**-7}


def outputs(step, p, xs):
    found = []
    for x in xs:
        state = (np.zeros(UNITS),) * (2 if "lstm" in str(step) else 1)
        for x_t in x:
            state = step(p, state, x_t)
            found.append(state[0])
    return np.stack(found).reshape(BATCH, T, UNITS)


def slopes(step, p, xs, g):
    """The gradient of the sum of g · outputs."""
    found = {name: np.zeros(value.shape) for name, value in p.items()}
    for name, gradient in found.items():
        for entry in np.ndindex(*gradient.shape):
            moved = {key: value.astype(complex) for key, value in p.items()}
            moved[name][entry] += 1e-150j
            gradient[entry] = np.sum(outputs(step, moved, xs).imag * g) / 1e-150
    return found


def rounded(array, dtype):
    return np.asarray(jnp.asarray(array, dtype), np.float64)


def assert_each_close(got, want, dtype):
    """Every entry has its own digits; below 1e-34 float32 runs out of exponents."""
    got = np.asarray(got, np.float64)
    least = 0 if dtype == "float64" else 1e-34
    np.testing.assert_allclose(got, want, rtol=TOLERANCE[dtype], atol=least)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", LAYERS)
def test_closed_and_open_gates_keep_their_digits(name, dtype):
    if dtype == "bfloat16" and name in ("conv_lstm", "mgu"):
        pytest.skip("recurrent() rounds the state of a cell to bfloat16 at every step")
    layer, container, step, sigmas = LAYERS[name]
    rng = np.random.default_rng(3)
    scale = np.repeat([15.0 if digit == "1" else 0.5 for digit in sigmas], UNITS)
    shapes = {"kernel": (IN,), "recurrent_kernel": (UNITS,), "bias": ()}
    if container is F.GRUParams:
        shapes["recurrent_bias"] = ()
    p = {
        key: rounded(rng.normal(size=(*rows, len(scale))) * scale, dtype)
        for key, rows in shapes.items()
    }
    xs = rounded(rng.normal(size=(BATCH, T, IN)), dtype)
    g = rounded(rng.normal(size=(BATCH, T, UNITS)), dtype)
    want = slopes(step, p, xs, g)
    smallest = min(np.abs(gradient).min() for gradient in want.values())
    assert 0 < smallest < 6e-8  # what tanh(x / 2) / 2 + 1 / 2 makes 0 in float32

    def run(params):
        return layer(params, jnp.asarray(xs, dtype))[1]

    def loss(params):
        return jnp.sum(run(params).astype("float64") * g)

    params = container(**{key: jnp.asarray(value, dtype) for key, value in p.items()})
    assert_each_close(jax.jit(run)(params), outputs(step, p, xs), dtype)
    backward = jax.jit(jax.grad(loss))(params)
    forward = backward
    if dtype != "bfloat16":
        forward = jax.jit(jax.jacfwd(loss))(params)
    for key, gradient in want.items():
        assert_each_close(getattr(backward, key), gradient, dtype)
        assert_each_close(getattr(forward, key), gradient, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_signed_gate_carries_both_shares(dtype):
    end = 87 if dtype == "float32" else 700
    x = rounded(np.linspace(-end, end, 1001), dtype)
    opened, closed = shares(signed_gate(jnp.asarray(x, dtype)))
    tolerance = 4 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(opened, sigma(np.longdouble(x)), rtol=tolerance)
    np.testing.assert_allclose(closed, sigma(-np.longdouble(x)), rtol=tolerance)
    far = jnp.asarray([-np.inf, -1e30, 1e30, np.inf, np.nan], dtype)
    opened, closed = shares(signed_gate(far))
    np.testing.assert_array_equal(opened, [0, 0, 1, 1, np.nan])
    np.testing.assert_allclose(closed, [1, 1, 0, 0, np.nan], atol=1e-37)


def test_signed_gate_has_all_derivatives_at_zero():
    """σ' = 1/4, σ'' = 0, σ''' = −1/8: |x| has none there."""
    derivatives, function = [], lambda x: shares(signed_gate(x))[0]
    for _ in range(3):
        function = jax.grad(function)
        derivatives.append(float(function(jnp.zeros(()))))
    np.testing.assert_allclose(derivatives, [1 / 4, 0, -1 / 8], atol=1e-15)

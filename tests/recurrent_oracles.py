"""Recurrent layers as NumPy loops over one example, float64."""

import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def norm(a, scale, bias=0.0):
    centred = a - a.mean()
    return centred / np.sqrt((centred**2).mean() + 1e-5) * scale + bias


def rnn_step(p, h, x):
    return np.tanh(x @ p["kernel"] + h @ p["recurrent_kernel"] + p["bias"])


def lstm_step(p, state, x, coupled=False, forget_bias=0.0):
    """Every kind of LSTM, by what is in p."""
    h, c = state
    a, b = x @ p["kernel"], h @ p["recurrent_kernel"]
    if "kernel_scale" in p:
        a, b = norm(a, p["kernel_scale"]), norm(b, p["recurrent_scale"])
    gates = np.split(a + b + p["bias"], 3 if coupled else 4)
    f, g, o = gates[-3:]
    peep = p.get("peephole", np.zeros((3, len(c))))
    f = sigmoid(f + forget_bias + peep[-2] * c)
    i = 1 - f if coupled else sigmoid(gates[0] + peep[0] * c)
    c = f * c + i * np.tanh(g)
    shown = norm(c, p["cell_scale"], p["cell_bias"]) if "cell_scale" in p else c
    h = sigmoid(o + peep[-1] * c) * np.tanh(shown)
    return (h @ p["projection"] if "projection" in p else h), c


def gru_step(p, h, x, reset_after=True):
    units = len(h)
    extra = p.get("recurrent_bias", np.zeros(3 * units))
    a, b = x @ p["kernel"] + p["bias"], h @ p["recurrent_kernel"] + extra
    r = sigmoid(a[:units] + b[:units])
    z = sigmoid(a[units : 2 * units] + b[units : 2 * units])
    new = r * b[2 * units :]
    if not reset_after:
        new = (r * h) @ p["recurrent_kernel"][:, 2 * units :]
    return (1 - z) * np.tanh(a[2 * units :] + new) + z * h


def mgu_step(p, h, x):
    units = len(h)
    a = x @ p["kernel"] + p["bias"]
    f = sigmoid(a[:units] + h @ p["recurrent_kernel"][:, :units])
    n = np.tanh(a[units:] + (f * h) @ p["recurrent_kernel"][:, units:])
    return (1 - f) * h + f * n


def same_convolution(x, kernel):
    """A 1-D convolution (cross-correlation) with zeros around, `(n, in)`."""
    width = len(kernel)
    padded = np.pad(x, ((((width - 1) // 2), width // 2), (0, 0)))
    return np.stack(
        [np.einsum("ki,kio->o", padded[t : t + width], kernel) for t in range(len(x))]
    )


def conv_lstm_step(p, state, x):
    h, c = state
    sums = same_convolution(x, p["kernel"]) + p["bias"]
    sums = sums + same_convolution(h, p["recurrent_kernel"])
    i, f, g, o = np.split(sums, 4, -1)
    peep = p["peephole"]
    c = sigmoid(f + peep[1] * c) * c + sigmoid(i + peep[0] * c) * np.tanh(g)
    return sigmoid(o + peep[2] * c) * np.tanh(c), c


def run(step, state, xs, length=None, reverse=False, zoneout=None):
    """Outputs and final state of one example; zeros past the length.

    `zoneout` gives the share of the old value for every array of the state.
    """
    length = len(xs) if length is None else length
    tuple_state = isinstance(state, tuple)
    first = state[0] if tuple_state else state
    ys = np.zeros((len(xs), *first.shape))
    times = range(length)
    for t in reversed(times) if reverse else times:
        new = step(state, xs[t])
        if zoneout is not None:
            pairs = zip(new, state, zoneout, strict=True) if tuple_state else None
            if tuple_state:
                new = tuple(n + z * (s - n) for n, s, z in pairs)
            else:
                new = new + zoneout[0] * (state - new)
        state = new
        ys[t] = state[0] if tuple_state else state
    return state, ys


def numeric_gradient(loss, value, eps=1e-6):
    """Central differences of a scalar function of an array."""
    slope = np.zeros_like(value)
    for place in np.ndindex(value.shape):
        up, down = value.copy(), value.copy()
        up[place] += eps
        down[place] -= eps
        slope[place] = (loss(up) - loss(down)) / (2 * eps)
    return slope

"""Weights of Keras's recurrent layers: the same outputs and states."""

from functools import partial

import jax
import numpy as np
import pytest

from jaxnets.functional import (
    GRUParams,
    LSTMParams,
    RNNParams,
    bidirectional,
    gru,
    lstm,
    rnn,
)
from jaxnets.interop import recurrent_from_keras, recurrent_to_keras
from tests.helpers import assert_close

# Of Keras's own variables, on their way to NumPy.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")
BATCH, TIME, FEATURES, UNITS = 3, 5, 4, 6
LENGTHS = np.array([5, 2, 1])
CASES = [
    (kind, use_bias, reset_after)
    for kind in ("rnn", "lstm", "gru")
    for use_bias in (True, False)
    for reset_after in (True, False)
    if kind == "gru" or reset_after
]


@pytest.fixture
def keras(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    # Keras counts on promotion of ranks; we do without.
    with jax.numpy_rank_promotion("allow"):
        yield pytest.importorskip("keras")


def make(keras, kind, use_bias, reset_after, **options):
    names = {"rnn": "SimpleRNN", "lstm": "LSTM", "gru": "GRU"}
    if kind == "gru":
        options["reset_after"] = reset_after
    return getattr(keras.layers, names[kind])(
        UNITS, use_bias=use_bias, return_sequences=True, **options
    )


def ours(kind, reset_after):
    return {"rnn": rnn, "lstm": lstm, "gru": partial(gru, reset_after=reset_after)}[
        kind
    ]


def randomize(layer, rng):
    layer.build((BATCH, TIME, FEATURES))
    shapes = [weight.shape for weight in layer.get_weights()]
    layer.set_weights([rng.normal(size=s).astype(np.float32) / 2 for s in shapes])


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "use_bias", "reset_after"), CASES)
@pytest.mark.parametrize("implementation", [1, 2])
def test_outputs_states_and_gradients(
    keras, rng, kind, use_bias, reset_after, implementation
):
    options = {} if kind == "rnn" else {"implementation": implementation}
    layer = make(keras, kind, use_bias, reset_after, return_state=True, **options)
    randomize(layer, rng)
    x = rng.normal(size=(BATCH, TIME, FEATURES)).astype(np.float32)
    mask = np.arange(TIME) < LENGTHS[:, None]
    g = rng.normal(size=(BATCH, TIME, UNITS)).astype(np.float32)
    params = recurrent_from_keras(layer.get_weights(), kind, reset_after=reset_after)

    def theirs(x):
        ys, *last = layer(x, mask=mask)
        # Keras repeats the last output where the mask is off; ours are zeros.
        return ys * mask.astype(np.float32)[..., None], last

    def ours_too(x):
        state, ys = ours(kind, reset_after)(params, x, lengths=LENGTHS)
        return ys, list(state) if kind == "lstm" else [state]

    # Every step by itself, which is quicker than compiling.
    with jax.disable_jit():
        expected, back, last = jax.vjp(theirs, x, has_aux=True)
        got, our_back, states = jax.vjp(ours_too, x, has_aux=True)
        slopes = our_back(g), back(g)
    assert_close(got, expected, tol=1e-5)
    assert_close(states, last, tol=1e-5)
    assert_close(*slopes, tol=1e-5)


@pytest.mark.parametrize(("kind", "use_bias", "reset_after"), CASES)
def test_both_directions_there_and_back(keras, rng, kind, use_bias, reset_after):
    layer = keras.layers.Bidirectional(make(keras, kind, use_bias, reset_after))
    randomize(layer, rng)
    weights = layer.get_weights()
    pair = recurrent_from_keras(weights, kind, reset_after=reset_after)
    x = rng.normal(size=(BATCH, TIME, FEATURES)).astype(np.float32)
    with jax.disable_jit():
        got = bidirectional(ours(kind, reset_after), pair, x)[1]
        expected = layer(x)
    assert_close(got, expected, tol=1e-5)
    again = recurrent_to_keras(pair, kind, reset_after=reset_after)
    for one, other in zip(again, weights, strict=True):
        np.testing.assert_array_equal(one, other)
    layer.set_weights(again)


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


@pytest.mark.parametrize(
    ("weights", "kind", "message"),
    [
        ([zeros(3, 4)], "rnn", "weights must be 2 or 3 arrays.*got 1"),
        ([zeros(3, 4)] * 5, "rnn", r"got 5 \(one layer at a time\)"),
        ([zeros(3), zeros(4, 4)], "rnn", r"kernel must be a matrix.*got shape \(3,\)"),
        ([zeros(3, 6), zeros(2, 6)], "lstm", r"kernel must be \(in, 4 \* units\)"),
        (
            [zeros(3, 8), zeros(4, 8)],
            "lstm",
            r"recurrent_kernel must have shape \(2, 8",
        ),
        ([zeros(3, 8), zeros(2, 8), zeros(4)], "lstm", r"bias must have shape \(8,\)"),
        ([zeros(3, 6), zeros(2, 6), zeros(6)], "gru", r"\(2, 6\).*reset_after=True"),
        ([zeros(3, 4), zeros(4, 4)] * 2 + [zeros(3, 4)], "tanh", "kind must be one of"),
        (
            [zeros(3, 2), zeros(2, 2), zeros(5, 2), zeros(2, 2)],
            "rnn",
            "backward weights must have shape",
        ),
    ],
)
def test_errors_from_keras(weights, kind, message):
    with pytest.raises(ValueError, match=f"recurrent_from_keras: .*{message}"):
        recurrent_from_keras(weights, kind)


def test_more_errors():
    message = r"shape \(6,\) \(with reset_after=False\); got \(2, 6\)"
    with pytest.raises(ValueError, match=message):
        recurrent_from_keras(
            [zeros(3, 6), zeros(2, 6), zeros(2, 6)], "gru", reset_after=False
        )
    with pytest.raises(TypeError, match=r"weights\[0\] must be an array of floats"):
        recurrent_from_keras([zeros(3, 2, dtype=int), zeros(2, 2)], "rnn")
    with pytest.raises(TypeError, match=r"one dtype; got float32 .* and float16 "):
        recurrent_from_keras([zeros(3, 2), zeros(2, 2, dtype=np.float16)], "rnn")
    to = recurrent_to_keras
    layer = RNNParams(zeros(3, 2), zeros(2, 2))
    with pytest.raises(TypeError, match="kind 'lstm' needs LSTMParams; got RNNParams"):
        to(layer, "lstm")
    with pytest.raises(ValueError, match=r"a pair .*; got 3 of them"):
        to([layer] * 3, "rnn")
    deep = LSTMParams(zeros(3, 8), zeros(1, 8), projection=zeros(2, 1))
    with pytest.raises(ValueError, match="Keras's LSTM has no projection"):
        to(deep, "lstm")
    peeping = LSTMParams(zeros(3, 8), zeros(2, 8), peephole=zeros(3, 2))
    with pytest.raises(ValueError, match=r"no LSTM with peephole.*it would be lost"):
        to(peeping, "lstm")
    two = GRUParams(zeros(3, 6), zeros(2, 6), zeros(6), zeros(6))
    with pytest.raises(ValueError, match="with reset_after=False there is one bias"):
        to(two, "gru", reset_after=False)

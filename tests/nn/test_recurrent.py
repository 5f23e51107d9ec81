"""Recurrent modules: what they add to the functions that they call."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnets import functional as F
from jaxnets import nn
from tests.helpers import assert_close


@pytest.fixture
def xs(rng):
    return jnp.asarray(rng.normal(size=(2, 5, 3)), jnp.float32)


@pytest.mark.slow
def test_the_last_output_is_that_of_each_length(xs):
    """In either direction the state after the last step that was read."""
    for backwards in (False, True):
        whole, last = (
            nn.LSTM(
                3,
                4,
                go_backwards=backwards,
                return_sequences=sequences,
                rngs=nnx.Rngs(0),
            )
            for sequences in (True, False)
        )
        lengths = jnp.array([5, 2])
        ys = whole(xs, lengths=lengths)
        ends = ys[:, 0] if backwards else ys[jnp.arange(2), lengths - 1]
        assert_close(last(xs, lengths=lengths), np.asarray(ends))


@pytest.mark.slow
def test_stacked_layers_one_after_the_other(xs):
    rngs = nnx.Rngs(0)
    layers = [nn.GRU(3, 4, rngs=rngs), nn.GRU(4, 4, rngs=rngs)]
    first = F.gru(layers[0].params(), xs)[1]
    second = F.gru(layers[1].params(), first)[1]
    assert_close(nn.StackedRNN(layers)(xs), second)
    assert_close(nn.StackedRNN(layers, residual=True)(xs), first + second)


@pytest.mark.slow
def test_dropout_between_layers_only_in_training(xs):
    rngs = nnx.Rngs(0)
    layers = [nn.RNN(3, 4, rngs=rngs), nn.RNN(4, 4, rngs=rngs)]
    model = nn.StackedRNN(layers, dropout=0.5, rngs=rngs)
    one, other = model(xs), model(xs)
    assert jnp.abs(one - other).max() > 1e-3
    model.eval()
    assert_close(model(xs), nn.StackedRNN(layers)(xs))


def test_dropout_of_a_layer_only_in_training(xs):
    model = nn.LSTM(3, 4, dropout=0.5, recurrent_dropout=0.5, rngs=nnx.Rngs(0))
    assert jnp.abs(model(xs) - model(xs)).max() > 1e-3
    model.eval()
    assert_close(model(xs), F.lstm(model.params(), xs)[1])


def test_a_projection_gives_the_size_of_outputs(xs):
    model = nn.LSTM(3, 4, proj_size=2, rngs=nnx.Rngs(0))
    state, ys = model.run(xs)
    assert (state.h.shape, state.c.shape, ys.shape) == ((2, 2), (2, 4), (2, 5, 2))
    assert_close(state.h, np.asarray(ys[:, -1]))


def test_messages(xs):
    rngs = nnx.Rngs(0)
    layers = [nn.RNN(3, 4, rngs=rngs), nn.RNN(4, 5, rngs=rngs)]
    with pytest.raises(ValueError, match=r"needs a layer, and rngs .* got 0 layers"):
        nn.StackedRNN([])
    with pytest.raises(ValueError, match=r"rngs for dropout; .*dropout=0.5, rngs=None"):
        nn.StackedRNN(layers, dropout=0.5)
    with pytest.raises(ValueError, match=r"residual needs layers of one size; layer 1"):
        nn.StackedRNN(layers, residual=True)(xs)
    with pytest.raises(
        ValueError, match=r"one initial_state a layer; got 2 params and"
    ):
        nn.StackedRNN(layers).run(xs, initial_state=[jnp.zeros((2, 4))])

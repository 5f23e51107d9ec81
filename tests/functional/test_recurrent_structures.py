"""Bidirectional, stacked and truncated runs, gates, cuDNN's layout, every message."""

import warnings
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import functional as F
from jaxnets.functional._recurrent_cudnn import pack_weights, reverse_within
from tests.helpers import assert_close

XS = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
LSTM = F.init_lstm(jax.random.key(0), 3, 4)
GRU = F.init_gru(jax.random.key(1), 3, 4)
RNN = F.init_rnn(jax.random.key(2), 3, 4)


@pytest.mark.slow
@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave", None])
def test_bidirectional_merges_a_flipped_run(merge):
    other = F.init_gru(jax.random.key(5), 3, 4)
    states, ys = F.bidirectional(F.gru, (GRU, other), XS, merge=merge)
    state, one = F.gru(GRU, XS)
    back, two = F.gru(other, XS[:, ::-1])
    two = two[:, ::-1]
    expected = {
        "concat": lambda: np.concatenate([one, two], -1),
        "sum": lambda: one + two,
        "mul": lambda: one * two,
        "ave": lambda: (one + two) / 2,
        None: lambda: (one, two),
    }[merge]()
    assert_close(ys, expected)
    assert_close(states, (state, back))


@pytest.mark.slow
def test_stacked_is_one_layer_after_the_other():
    second = F.init_gru(jax.random.key(7), 4, 4)
    states, ys = F.stacked(F.gru, [GRU, second], XS, residual=True)
    one, middle = F.gru(GRU, XS)
    two, top = F.gru(second, middle)
    assert_close((states, ys), ((one, two), top + middle))
    dropped = F.stacked(
        F.gru, [GRU, second], XS, keep_prob=0.5, dropout_key=jax.random.key(0)
    )
    assert not np.allclose(dropped[1], top)
    assert_close(dropped[0][0], one)


@pytest.mark.slow
def test_truncation_keeps_values_and_cuts_gradients():
    whole = F.gru(GRU, XS, lengths=np.asarray([5, 2]))
    cut = partial(F.truncated_bptt, F.gru, steps=2)
    assert_close(cut(GRU, XS, lengths=np.asarray([5, 2])), whole)
    slope = jax.grad(lambda xs: jnp.sum(cut(GRU, xs)[1][:, 3]))(XS)
    assert not np.any(slope[:, :2])
    assert np.all(np.any(slope[:, 2:4], -1))
    start = jnp.ones((2, 4))
    to_start = jax.grad(lambda h: jnp.sum(cut(GRU, XS, initial_state=h)[1]))
    assert not np.any(to_start(start))


def test_gate():
    x, control = np.asarray([1.0, -2.0, 3.0]), np.asarray([0.0, 50.0, -50.0])
    assert_close(F.gate(x, control), np.asarray([0.5, -2.0, 0.0], np.float32))
    with pytest.raises(ValueError, match="gate: control must have the shape"):
        F.gate(jnp.ones(3), jnp.ones(2))


def test_cudnn_weights_lie_as_jax_documents_them():
    from jax.experimental import rnn

    params = jax.tree.map(
        lambda a: np.random.default_rng(1).normal(size=a.shape).astype(np.float32),
        LSTM,
    )
    flat = pack_weights(params, 0.5)
    assert flat.shape == (rnn.get_num_params_in_lstm(3, 4, 1, False),)
    weights = rnn.unpack_lstm_weights(flat, 3, 4, 1, False)
    zeros = jnp.zeros((1, 2, 4))
    lengths = jnp.full(2, 5, jnp.int32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ys, h, c = rnn.lstm_ref(
            XS, zeros, zeros, *weights, lengths, 3, 4, 1, 0.0, False
        )
    state, expected = F.lstm(params, XS, forget_bias=0.5)
    assert_close((ys, h[0], c[0]), (expected, *state), tol=1e-5)


def test_reversal_within_lengths():
    rows = np.arange(8.0).reshape(2, 4, 1)
    turned = reverse_within(jnp.asarray(rows), jnp.asarray([3, 0]))
    assert turned[..., 0].tolist() == [[2, 1, 0, 3], [4, 5, 6, 7]]


@pytest.mark.slow
def test_a_hundred_thousand_steps_train():
    """With a state kept every 316 steps, and less memory than without."""
    params = F.init_rnn(jax.random.key(0), 1, 1)

    def loss(params, xs, every):
        return jnp.sum(jnp.square(F.rnn(params, xs, remat_every=every)[1][-1]))

    def memory(every):
        xs = jax.ShapeDtypeStruct((100_000, 1), jnp.float32)
        step = jax.jit(jax.grad(loss), static_argnums=2)
        return step.lower(params, xs, every).compile().memory_analysis()

    slope = jax.jit(jax.grad(loss), static_argnums=2)(
        params, jnp.ones((100_000, 1)), 316
    )
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slope))
    with_chunks, without = (memory(e).temp_size_in_bytes for e in (316, None))
    assert with_chunks < without


BIG = {"lengths": np.asarray([5, 6])}
ERRORS = [
    (ValueError, "lstm: lengths must be from 0 to 5.* got 6", LSTM, XS, BIG),
    (
        ValueError,
        "lengths must be from 0 to 5.* got -1",
        LSTM,
        XS,
        {"lengths": np.asarray([-1, 2])},
    ),
    (TypeError, "lengths must be integers", LSTM, XS, {"lengths": np.ones(2)}),
    (ValueError, "lengths must have shape", LSTM, XS, {"lengths": np.asarray([1])}),
    (ValueError, "kernel has 3 input features", LSTM, XS[..., :2], {}),
    (ValueError, "xs must have at least 2 axes", LSTM, XS[0, 0], {}),
    (
        ValueError,
        "h of the state must have shape",
        LSTM,
        XS,
        {"initial_state": F.LSTMState(np.zeros((2, 3)), np.zeros((2, 4)))},
    ),
    (
        TypeError,
        r"state must be LSTMState\(h, c\)",
        LSTM,
        XS,
        {"initial_state": np.zeros((2, 4))},
    ),
    (TypeError, "must have one dtype", LSTM, XS.astype(np.float16), {}),
    (
        ValueError,
        "peephole and a projection",
        LSTM._replace(peephole=np.zeros((3, 4)), projection=np.zeros((4, 2))),
        XS,
        {},
    ),
    (ValueError, "algorithm must be one of", LSTM, XS, {"algorithm": "fast"}),
    (
        ValueError,
        'algorithm="fused" cannot do peephole',
        LSTM._replace(peephole=np.zeros((3, 4), np.float32)),
        XS,
        {"algorithm": "fused"},
    ),
    (
        ValueError,
        'algorithm="fused" cannot do zoneout',
        LSTM,
        XS,
        {"algorithm": "fused", "zoneout": 0.1},
    ),
    (
        ValueError,
        'algorithm="cudnn" needs an NVIDIA GPU',
        LSTM,
        XS,
        {"algorithm": "cudnn"},
    ),
    (ValueError, "zoneout must be in", LSTM, XS, {"zoneout": 2.0}),
    (ValueError, "zoneout must be a number or", LSTM, XS, {"zoneout": (0.1,)}),
    (ValueError, "needs a dropout_key", LSTM, XS, {"input_keep_prob": 0.5}),
    (ValueError, "probability to keep", LSTM, XS, {"recurrent_keep_prob": 0.0}),
    (ValueError, "unroll must be at least 1", LSTM, XS, {"unroll": 0}),
    (ValueError, "remat_every must be at least 1", LSTM, XS, {"remat_every": 0}),
    (
        ValueError,
        "recurrent_kernel must have shape",
        LSTM._replace(recurrent_kernel=np.zeros((3, 16), np.float32)),
        XS,
        {},
    ),
]


@pytest.mark.parametrize(("error", "match", "params", "xs", "options"), ERRORS)
@pytest.mark.usefixtures("untyped")
def test_messages(error, match, params, xs, options):
    with pytest.raises(error, match=match):
        F.lstm(params, xs, **options)


@pytest.mark.slow
@pytest.mark.usefixtures("untyped")
def test_other_messages():
    biased = GRU._replace(recurrent_bias=np.zeros(12, np.float32))
    with pytest.raises(ValueError, match="reset_after=False has no recurrent_bias"):
        F.gru(biased, XS, reset_after=False)
    with pytest.raises(ValueError, match='"cudnn" cannot do gru, only lstm'):
        F.gru(GRU, XS, algorithm="cudnn")
    with pytest.raises(TypeError, match="state must be one array h"):
        F.rnn(RNN, XS, initial_state=(np.zeros((2, 4)),) * 2)
    with pytest.raises(ValueError, match='"fused" cannot do activations'):
        F.rnn(RNN, XS, activation=jnp.sin, algorithm="fused")
    with pytest.raises(TypeError, match="give an initial_state"):
        F.recurrent(lambda p, s, x: (s, x), 1.0, XS)
    with pytest.raises(ValueError, match="merge must be one of"):
        F.bidirectional(F.rnn, (RNN, RNN), XS, merge="max")
    with pytest.raises(ValueError, match="reverse is chosen by direction"):
        F.bidirectional(F.rnn, (RNN, RNN), XS, reverse=True)
    with pytest.raises(ValueError, match="one or more layers"):
        F.stacked(F.rnn, [], XS)
    with pytest.raises(ValueError, match="needs a dropout_key"):
        F.stacked(F.rnn, [RNN], XS, keep_prob=0.5)
    wide = F.init_rnn(jax.random.key(0), 4, 5)
    with pytest.raises(ValueError, match="residual needs layers of one size"):
        F.stacked(F.rnn, [RNN, wide], XS, residual=True)
    with pytest.raises(ValueError, match="a stream has no end"):
        F.truncated_bptt(F.rnn, RNN, XS, steps=2, reverse=True)
    with pytest.raises(ValueError, match="peephole and proj_size exclude"):
        F.init_lstm(jax.random.key(0), 3, 4, peephole=True, proj_size=2)
    conv = F.init_conv_lstm(jax.random.key(0), 2, 3, (3,))
    state = F.LSTMState(jnp.zeros((5, 3)), jnp.zeros((4, 3)))
    with pytest.raises(ValueError, match="c of the state must have shape"):
        F.conv_lstm_cell(conv, state, jnp.zeros((5, 2)))

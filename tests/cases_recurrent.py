"""Rows of the table of cases for recurrence."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets import functional as F
from jaxnets import nn
from tests.case_kinds import Case, function, module, normal

XS = (4, 3, 2)


def parameters(init, *shape, **options):
    """Draws parameters with every entry random, and an input of a batch of 4."""

    def draw(rng):
        params = init(jax.random.key(0), *shape, **options)
        params = jax.tree.map(
            lambda a: 0.5 * rng.normal(size=a.shape).astype(np.float32), params
        )
        return params, *normal(XS)(rng)

    return draw


def with_lengths(draw):
    """Puts lengths behind the arguments: some empty, some whole."""

    def drawn(rng):
        return *draw(rng), np.asarray([3, 0, 2, 1], np.int32)

    return drawn


def row(name, label, draw, **options):
    """A layer over a sequence."""
    return function(name, label, draw, smooth=(0, 1), batched=(1,), **options)


def layer_with_lengths(name, draw, **options):
    def call(params, xs, lengths):
        return getattr(F, name)(params, xs, lengths=lengths, **options)

    return Case(
        f"functional.{name}",
        "lengths",
        call,
        with_lengths(draw),
        smooth=(0, 1),
        batched=(1, 2),
    )


def cell(name, draw, **options):
    """One step from a drawn state."""

    def call(params, h, x):
        state = F.LSTMState(h, jnp.cos(h)) if "lstm" in name else h
        return getattr(F, name)(params, state, x, **options)

    def drawn(rng):
        params, _ = draw(rng)
        return params, *normal((4, 3), (4, 2))(rng)

    return Case(f"functional.{name}", "one step", call, drawn, (0, 1, 2), (1, 2))


def conv_lstm(rng):
    params = F.init_conv_lstm(jax.random.key(0), 2, 2, (3,), peephole_shape=(4,))
    params = jax.tree.map(
        lambda a: 0.5 * rng.normal(size=a.shape).astype(np.float32), params
    )
    return params, *normal((4, 4, 2), (4, 4, 2))(rng)


def two(draw):
    """Two sets of parameters, as a pair."""

    def drawn(rng):
        (first, xs), (second, _) = draw(rng), draw(rng)
        return (first, second), xs

    return drawn


LSTM = parameters(F.init_lstm, 2, 3)
GRU = parameters(F.init_gru, 2, 3, recurrent_bias=True)
RNN = parameters(F.init_rnn, 2, 3)
SQUARE = parameters(F.init_gru, 2, 2)

RECURRENT_CASES = [
    row("rnn", "scan", RNN, algorithm="scan"),
    row("rnn", "fused", RNN, algorithm="fused"),
    row("lstm", "scan", LSTM, algorithm="scan", forget_bias=1.0),
    row("lstm", "fused", LSTM, algorithm="fused", reverse=True),
    row("lstm", "every two", LSTM, remat_every=2),
    row("lstm", "peephole", parameters(F.init_lstm, 2, 3, peephole=True)),
    row("lstm", "layer norm", parameters(F.init_lstm, 2, 3, layer_norm=True)),
    row("lstm", "projection", parameters(F.init_lstm, 2, 3, proj_size=2)),
    row("lstm", "coupled", parameters(F.init_lstm, 2, 3, coupled=True), coupled=True),
    row("gru", "scan", GRU, algorithm="scan"),
    row("gru", "fused", GRU, algorithm="fused"),
    row("gru", "reset before", parameters(F.init_gru, 2, 3), reset_after=False),
    layer_with_lengths("rnn", RNN),
    layer_with_lengths("lstm", LSTM, reverse=True),
    layer_with_lengths("gru", GRU, zoneout=0.3),
    cell("rnn_cell", RNN),
    cell("lstm_cell", LSTM),
    cell("gru_cell", GRU),
    cell("mgu_cell", parameters(F.init_mgu, 2, 3)),
    Case(
        "functional.conv_lstm_cell",
        "one step",
        lambda params, h, x: F.conv_lstm_cell(params, F.LSTMState(h, jnp.cos(h)), x),
        conv_lstm,
        (0, 1, 2),
        (1, 2),
    ),
    function("gate", "plain", normal((4, 3), (4, 3)), smooth=(0, 1), batched=(0, 1)),
    Case(
        "functional.recurrent",
        "minimal gated unit",
        lambda params, xs: F.recurrent(F.mgu_cell, params, xs),
        parameters(F.init_mgu, 2, 3),
        (0, 1),
        (1,),
    ),
    Case(
        "functional.bidirectional",
        "gru",
        lambda params, xs: F.bidirectional(F.gru, params, xs),
        two(GRU),
        (0, 1),
        (1,),
    ),
    Case(
        "functional.stacked",
        "residual",
        lambda params, xs: F.stacked(F.gru, params, xs, residual=True),
        two(SQUARE),
        (0, 1),
        (1,),
    ),
    Case(
        "functional.stacked",
        "bidirectional",
        lambda params, xs: F.stacked(
            partial(F.bidirectional, F.gru, merge="sum"), [params, params], xs
        ),
        two(SQUARE),
        (0, 1),
        (1,),
    ),
    module("lengths of its own", lambda rngs: nn.LSTM(2, 3, rngs=rngs), 3, 2),
    module("plain", lambda rngs: nn.RNN(2, 3, rngs=rngs), 3, 2),
    module("backwards", lambda rngs: nn.GRU(2, 3, go_backwards=True, rngs=rngs), 3, 2),
    module(
        "lstm",
        lambda rngs: nn.Bidirectional(
            nn.LSTM(2, 3, rngs=rngs), nn.LSTM(2, 3, rngs=rngs)
        ),
        3,
        2,
    ),
    module(
        "two",
        lambda rngs: nn.StackedRNN([nn.GRU(2, 3, rngs=rngs), nn.GRU(3, 2, rngs=rngs)]),
        3,
        2,
    ),
    module("1-D", lambda rngs: nn.ConvLSTM(2, 2, (3,), rngs=rngs), 2, 4, 2),
]

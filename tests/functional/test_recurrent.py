"""Recurrent layers against NumPy loops: values, and gradients by differences."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import functional as F
from tests import recurrent_oracles as oracles
from tests.helpers import assert_close

pytestmark = pytest.mark.usefixtures("x64")

T, IN, UNITS = 4, 2, 3

KINDS = {
    "rnn": (F.rnn, F.init_rnn, oracles.rnn_step, {}, {}),
    "rnn scan": (F.rnn, F.init_rnn, oracles.rnn_step, {"algorithm": "scan"}, {}),
    "lstm": (F.lstm, F.init_lstm, oracles.lstm_step, {}, {}),
    "lstm scan": (F.lstm, F.init_lstm, oracles.lstm_step, {"algorithm": "scan"}, {}),
    "peephole": (F.lstm, F.init_lstm, oracles.lstm_step, {}, {"peephole": True}),
    "layer norm": (F.lstm, F.init_lstm, oracles.lstm_step, {}, {"layer_norm": True}),
    "coupled": (
        F.lstm,
        F.init_lstm,
        partial(oracles.lstm_step, coupled=True),
        {"coupled": True},
        {"coupled": True},
    ),
    "coupled peephole": (
        F.lstm,
        F.init_lstm,
        partial(oracles.lstm_step, coupled=True),
        {"coupled": True},
        {"coupled": True, "peephole": True},
    ),
    "projection": (F.lstm, F.init_lstm, oracles.lstm_step, {}, {"proj_size": 2}),
    "forget bias": (
        F.lstm,
        F.init_lstm,
        partial(oracles.lstm_step, forget_bias=0.7),
        {"forget_bias": 0.7},
        {},
    ),
    "gru": (F.gru, F.init_gru, oracles.gru_step, {}, {"recurrent_bias": True}),
    "gru scan": (
        F.gru,
        F.init_gru,
        oracles.gru_step,
        {"algorithm": "scan"},
        {"recurrent_bias": True},
    ),
    "reset before": (
        F.gru,
        F.init_gru,
        partial(oracles.gru_step, reset_after=False),
        {"reset_after": False},
        {},
    ),
    "mgu": (partial(F.recurrent, F.mgu_cell), F.init_mgu, oracles.mgu_step, {}, {}),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def randomized(params, rng):
    return jax.tree.map(lambda a: rng.normal(size=a.shape), params)


def as_dict(params):
    """The parameters by name, those of layer normalisation too."""
    named = {k: v for k, v in params._asdict().items() if v is not None}
    named.update(named.pop("norm")._asdict() if "norm" in named else {})
    return {name: np.asarray(value) for name, value in named.items()}


def drawn(init, options, rng):
    params = init(jax.random.key(0), IN, UNITS, dtype=jnp.float64, **options)
    return randomized(params, rng), rng.normal(size=(3, T, IN))


def start_of(params):
    state = F.zero_state(params, jnp.zeros(IN))
    state = jax.tree.map(np.asarray, state)
    return tuple(state) if isinstance(state, tuple) else state


@pytest.mark.slow
@every_kind
def test_values(kind, rng):
    layer, init, step, options, extra = KINDS[kind]
    params, xs = drawn(init, extra, rng)
    for reverse in (False, True):
        lengths = np.asarray([T, 2, 0])
        state, ys = layer(params, xs, lengths=lengths, reverse=reverse, **options)
        for b, length in enumerate(lengths):
            bound = partial(step, as_dict(params))
            want, outputs = oracles.run(bound, start_of(params), xs[b], length, reverse)
            assert_close(ys[b], outputs)
            for got, one in zip(
                jax.tree.leaves(state), jax.tree.leaves(want), strict=True
            ):
                assert_close(got[b], one)


@pytest.mark.slow
@every_kind
def test_gradients(kind, rng):
    layer, init, step, options, extra = KINDS[kind]
    params, xs = drawn(init, extra, rng)
    xs, weights = xs[0], rng.normal(size=T)

    def loss(params, xs):
        return jnp.sum(jnp.cos(layer(params, xs, **options)[1]) * weights[:, None])

    slopes, slope_x = jax.grad(loss, (0, 1))(params, xs)

    def plain(values, xs):
        _, ys = oracles.run(partial(step, values), start_of(params), xs)
        return np.sum(np.cos(ys) * weights[:, None])

    named, got = as_dict(params), as_dict(slopes)
    want = oracles.numeric_gradient(lambda v: plain(named, v), xs)
    assert_close(slope_x, want, tol=1e-7)  # central differences
    for name, value in named.items():
        want = oracles.numeric_gradient(
            lambda v, name=name: plain(named | {name: v}, xs), value
        )
        assert_close(got[name], want, tol=1e-7)


@pytest.mark.slow
def test_conv_lstm(rng):
    params = F.init_conv_lstm(
        jax.random.key(0), 2, 3, (3,), peephole_shape=(5,), dtype=jnp.float64
    )
    params, xs = randomized(params, rng), rng.normal(size=(T, 5, 2))
    zeros = np.zeros((5, 3))
    named = as_dict(params)

    def outputs(named, xs):
        step = partial(oracles.conv_lstm_step, named)
        return oracles.run(step, (zeros, zeros), xs)

    (h, c), ys = F.recurrent(F.conv_lstm_cell, params, xs)
    want, want_ys = outputs(named, xs)
    assert_close((h, c, ys), (*want, want_ys))

    def loss(params):
        return jnp.sum(jnp.cos(F.recurrent(F.conv_lstm_cell, params, xs)[1]))

    slope = jax.grad(loss)(params)
    for name in ("kernel", "recurrent_kernel", "peephole", "bias"):
        numeric = oracles.numeric_gradient(
            lambda v, name=name: np.sum(np.cos(outputs(named | {name: v}, xs)[1])),
            named[name],
        )
        assert_close(getattr(slope, name), numeric, tol=1e-7)


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_zoneout_without_a_key_takes_the_mean(kind, rng):
    layer, init, step, _, _ = KINDS[kind]
    params, xs = drawn(init, {}, rng)
    xs = xs[0]
    rates = (0.3, 0.1) if kind == "lstm" else (0.3,)
    zoneout = rates if kind == "lstm" else rates[0]
    start, named = start_of(params), as_dict(params)

    def plain(named, xs):
        return oracles.run(partial(step, named), start, xs, zoneout=rates)

    state, ys = layer(params, xs, zoneout=zoneout)
    want, want_ys = plain(named, xs)
    assert_close(ys, want_ys)
    assert_close(jax.tree.leaves(state), jax.tree.leaves(want))

    def loss(params, xs):
        return jnp.sum(jnp.cos(layer(params, xs, zoneout=zoneout)[1]))

    slopes, slope_x = jax.grad(loss, (0, 1))(params, xs)
    numeric = oracles.numeric_gradient(lambda v: np.sum(np.cos(plain(named, v)[1])), xs)
    assert_close(slope_x, numeric, tol=1e-7)  # central differences
    kernel = "recurrent_kernel"
    numeric = oracles.numeric_gradient(
        lambda v: np.sum(np.cos(plain(named | {kernel: v}, xs)[1])), named[kernel]
    )
    assert_close(getattr(slopes, kernel), numeric, tol=1e-7)


def test_zoneout_with_a_key_keeps_entries_exactly(rng):
    params, xs = drawn(F.init_gru, {}, rng)
    key = jax.random.key(1)
    _, ys = F.gru(params, xs, zoneout=0.5, dropout_key=key)
    before = np.concatenate([np.zeros((3, 1, UNITS)), ys[:, :-1]], 1)
    kept = np.mean(np.asarray(ys) == before)
    assert 0.2 < kept < 0.8
    _, frozen = F.gru(params, xs, zoneout=1.0, dropout_key=key)
    assert not np.any(frozen)


@pytest.mark.slow
@pytest.mark.parametrize("layer", [F.rnn, F.lstm, F.gru])
@pytest.mark.parametrize("algorithm", ["scan", "fused"])
def test_recurrent_dropout_is_one_mask(layer, algorithm, rng):
    """With h in the product masked by m, the rows of U with m = 0 do not matter."""
    init = {F.rnn: F.init_rnn, F.lstm: F.init_lstm, F.gru: F.init_gru}[layer]
    params, xs = drawn(init, {}, rng)
    options = {"recurrent_keep_prob": 0.5, "dropout_key": jax.random.key(3)}
    run = partial(layer, algorithm=algorithm, **options)
    slope = jax.grad(lambda p: jnp.sum(jnp.cos(run(p, xs[0])[1])))(params)
    dead = ~np.any(np.asarray(slope.recurrent_kernel), 1)
    assert 0 < dead.sum() < UNITS
    changed = params._replace(
        recurrent_kernel=np.where(dead[:, None], 7.0, params.recurrent_kernel)
    )
    assert_close(run(changed, xs[0])[1], run(params, xs[0])[1])


@pytest.mark.slow
@pytest.mark.parametrize("layer", [F.rnn, F.lstm, F.gru])
def test_layouts_and_chunks_agree(layer, rng):
    init = {F.rnn: F.init_rnn, F.lstm: F.init_lstm, F.gru: F.init_gru}[layer]
    params, xs = drawn(init, {}, rng)
    lengths = np.asarray([3, 4, 1])
    for reverse in (False, True):
        plain = layer(params, xs, lengths=lengths, reverse=reverse)
        for options in ({"remat_every": 3}, {"remat_every": 2}, {"unroll": 3}):
            assert_close(
                layer(params, xs, lengths=lengths, reverse=reverse, **options), plain
            )
        turned = np.swapaxes(xs, 0, 1)
        state, ys = layer(
            params, turned, lengths=lengths, reverse=reverse, time_major=True
        )
        assert_close((state, jnp.swapaxes(ys, 0, 1)), plain)
    many = layer(params, xs[None], lengths=lengths[None])[1]
    assert_close(many[0], layer(params, xs, lengths=lengths)[1])
    empty = layer(params, xs[:, :0])
    assert empty[1].shape == (3, 0, UNITS)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(empty[0]))

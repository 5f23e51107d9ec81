"""Weights of Flax's recurrent cells: the same outputs and states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from jaxnets.functional import GRUParams, LSTMParams, RNNParams, gru, lstm, rnn
from jaxnets.interop import recurrent_from_flax, recurrent_to_flax
from jaxnets.interop._recurrent_flax import CELLS
from tests.helpers import assert_close

BATCH, TIME, FEATURES, UNITS = 3, 4, 5, 6
LENGTHS = np.array([4, 2, 1])
LAYERS = {"rnn": rnn, "lstm": lstm, "gru": gru}
every_cell = pytest.mark.parametrize("cell", CELLS)


def made(cell, rng):
    """A cell of Flax with random weights: those, and its function of (carry, x)."""
    room, name = cell.split(".")
    carry = jnp.zeros((BATCH, UNITS))
    if CELLS[cell].kind == "lstm":
        carry = (carry, carry)
    if room == "nnx":
        module = getattr(nnx, name)(FEATURES, UNITS, rngs=nnx.Rngs(0))
        graph, state = nnx.split(module)
        weights = nnx.to_pure_dict(state)
    else:
        module = getattr(linen, name)(UNITS)
        x = jnp.zeros((BATCH, FEATURES))
        weights = module.init(jax.random.key(0), carry, x)["params"]
    weights = jax.tree.map(
        lambda a: rng.normal(size=a.shape).astype(np.float32) / 2, weights
    )

    def step(weights, carry, x):
        if room == "nnx":
            return nnx.merge(graph, jax.tree.map(jnp.asarray, weights))(carry, x)
        return module.apply({"params": weights}, carry, x)

    return weights, carry, step


def loop(step, weights, carry, x):
    """Flax's cell over the time, each row frozen past its length."""
    outputs = []
    for t in range(TIME):
        new, y = step(weights, carry, x[:, t])
        live = (t < LENGTHS)[:, None]
        carry = jax.tree.map(lambda a, b, live=live: jnp.where(live, a, b), new, carry)
        outputs.append(jnp.where(live, y, 0))
    return carry, jnp.stack(outputs, 1)


@pytest.mark.slow
@every_cell
def test_outputs_states_and_gradients(cell, rng):
    weights, carry, step = made(cell, rng)
    x = rng.normal(size=(BATCH, TIME, FEATURES)).astype(np.float32)
    g = rng.normal(size=(BATCH, TIME, UNITS)).astype(np.float32)
    kind = CELLS[cell].kind
    params = recurrent_from_flax(weights, cell)

    def theirs(x):
        state, ys = loop(step, weights, carry, x)
        # Flax's LSTM has (c, h).
        return ys, state[::-1] if kind == "lstm" else state

    def ours(x):
        state, ys = LAYERS[kind](params, x, lengths=LENGTHS)
        return ys, tuple(state) if kind == "lstm" else state

    # Every step by itself, which is quicker than compiling.
    with jax.disable_jit():
        expected, back, last = jax.vjp(theirs, x, has_aux=True)
        got, our_back, state = jax.vjp(ours, x, has_aux=True)
        slopes = our_back(g), back(g)
    assert_close(got, expected, tol=1e-5)
    assert_close(state, last, tol=1e-5)
    assert_close(*slopes, tol=1e-5)


@every_cell
def test_there_and_back(cell, rng):
    weights, carry, step = made(cell, rng)
    params = recurrent_from_flax(weights, cell)
    again = recurrent_to_flax(params, cell)
    assert jax.tree.structure(again) == jax.tree.structure(dict(weights))
    for one, other in zip(*map(jax.tree.leaves, (again, weights)), strict=True):
        np.testing.assert_array_equal(one, other)
    step(again, carry, np.zeros((BATCH, FEATURES), np.float32))


@pytest.mark.slow
@every_cell
def test_both_biases_arrive_where_the_cell_has_them(cell, rng):
    """Ours may have a bias on either side; the same numbers come out."""
    kind = CELLS[cell].kind
    gates = {"rnn": 1, "lstm": 4, "gru": 3}[kind]
    shapes = [(FEATURES, gates * UNITS), (UNITS, gates * UNITS), (gates * UNITS,)]
    if kind == "gru":
        shapes.append(shapes[-1])
    arrays = [rng.normal(size=s).astype(np.float32) / 2 for s in shapes]
    if cell == "nnx.GRUCell":
        arrays[3][2 * UNITS :] = 0
    make = {"rnn": RNNParams, "lstm": LSTMParams, "gru": GRUParams}[kind]
    x = rng.normal(size=(BATCH, TIME, FEATURES)).astype(np.float32)
    _, carry, step = made(cell, rng)
    for params in (make(*arrays), make(*arrays[:2])):
        _, ys = loop(step, recurrent_to_flax(params, cell), carry, x)
        got = LAYERS[kind](params, x, lengths=LENGTHS)[1]
        assert_close(got, ys, tol=1e-5)


def test_errors(rng):
    weights, *_ = made("nnx.LSTMCell", rng)
    name = "recurrent_from_flax"
    with pytest.raises(ValueError, match=f"{name}: cell must be one of 'nnx.Simple"):
        recurrent_from_flax(weights, "LSTMCell")
    with pytest.raises(ValueError, match=r"missing: if\.kernel, too many: if_\.kernel"):
        recurrent_from_flax(weights, "linen.LSTMCell")
    with pytest.raises(ValueError, match=r"too many: hi\.scale"):
        more = {**weights["hi"], "scale": weights["hi"]["bias"]}
        recurrent_from_flax({**weights, "hi": more}, "nnx.LSTMCell")
    with pytest.raises(ValueError, match=r"dense layer -> .*got ndarray for 'hi'"):
        recurrent_from_flax({"hi": np.zeros(3)}, "nnx.LSTMCell")
    with pytest.raises(
        ValueError, match=r"io\.kernel must have shape \(5, 6\) \(as ii"
    ):
        wide = {"kernel": np.zeros((5, 7), np.float32)}
        recurrent_from_flax({**weights, "io": wide}, "nnx.LSTMCell")
    with pytest.raises(ValueError, match=r"hi\.bias must have shape \(6,\)"):
        short = {**weights["hi"], "bias": np.zeros(5, np.float32)}
        recurrent_from_flax({**weights, "hi": short}, "nnx.LSTMCell")
    with pytest.raises(TypeError, match=r"hi\.bias must be an array of floats"):
        whole = {**weights["hi"], "bias": np.zeros(6, int)}
        recurrent_from_flax({**weights, "hi": whole}, "nnx.LSTMCell")
    params = recurrent_from_flax(weights, "nnx.LSTMCell")
    name = "recurrent_to_flax"
    with pytest.raises(TypeError, match=f"{name}: kind 'gru' needs GRUParams"):
        recurrent_to_flax(params, "nnx.GRUCell")
    deep = params._replace(
        projection=np.zeros((6, 2), np.float32),
        recurrent_kernel=np.zeros((2, 24), np.float32),
    )
    with pytest.raises(ValueError, match="Flax's LSTM has no projection"):
        recurrent_to_flax(deep, "nnx.LSTMCell")
    two = GRUParams(np.ones((5, 18)), np.ones((6, 18)), None, np.ones(18))
    with pytest.raises(ValueError, match=r"no bias inside the reset.*linen\.GRUCell"):
        recurrent_to_flax(two, "nnx.GRUCell")

"""Recurrent layers against PyTorch and Keras: outputs, states, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import functional as F
from tests.helpers import assert_close

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

LAYERS = {"rnn": F.rnn, "lstm": F.lstm, "gru": F.gru}
BATCH, STEPS, IN, UNITS = 3, 5, 2, 3
KINDS = ("rnn", "relu", "lstm", "gru")


def converted(layer, suffix, kind):
    """Torch's weights as ours; the biases are added, but for a GRU."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    w, u, b, c = (
        getattr(layer, f"{name}_l0{suffix}").detach().numpy() for name in names
    )
    if kind == "gru":
        return F.GRUParams(w.T, u.T, b, c)
    if kind == "lstm":
        projected = getattr(layer, f"weight_hr_l0{suffix}", None)
        projection = None if projected is None else projected.detach().numpy().T
        return F.LSTMParams(w.T, u.T, b + c, projection=projection)
    return F.RNNParams(w.T, u.T, b + c)


def made(kind, bidirectional, seed, **options):
    torch.manual_seed(seed)
    if kind == "relu":
        options["nonlinearity"] = "relu"
    maker = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(kind, torch.nn.RNN)
    return maker(IN, UNITS, batch_first=True, bidirectional=bidirectional, **options)


@pytest.fixture(scope="module")
def compiled():
    """One compiled function a kind and structure; the draws only change values."""
    programs = {}

    def program(kind, bidirectional, algorithm):
        place = kind, bidirectional, algorithm
        if place not in programs:
            layer = LAYERS.get(kind, F.rnn)
            options = {"activation": jax.nn.relu} if kind == "relu" else {}

            def forward(params, xs, lengths):
                own = options | {"lengths": lengths, "algorithm": algorithm}
                if bidirectional:
                    return F.bidirectional(layer, params, xs, **own)
                return layer(params[0], xs, **own)

            @jax.jit
            def run(params, xs, lengths, g):
                def loss(params, xs):
                    state, ys = forward(params, xs, lengths)
                    return jnp.sum(ys * g), (state, ys)

                slopes, (state, ys) = jax.grad(loss, (0, 1), has_aux=True)(params, xs)
                return state, ys, slopes

            programs[place] = run
        return programs[place]

    return program


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["fused", "scan"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_torch(kind, bidirectional, algorithm, compiled):
    """15 draws each of weights, inputs and lengths: 240 configurations."""
    run = compiled(kind, bidirectional, algorithm)
    for seed in range(15):
        rng = np.random.default_rng(seed)
        theirs = made(kind, bidirectional, seed)
        xs = rng.normal(size=(BATCH, STEPS, IN)).astype(np.float32)
        lengths = rng.integers(1, STEPS + 1, BATCH).astype(np.int32)
        width = UNITS * (1 + bidirectional)
        g = rng.normal(size=(BATCH, STEPS, width)).astype(np.float32)
        suffixes = ("", "_reverse") if bidirectional else ("",)
        params = tuple(converted(theirs, suffix, kind) for suffix in suffixes)
        state, ys, (slopes, slope_x) = run(params, xs, lengths, g)

        x = torch.from_numpy(xs).requires_grad_()
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            x, torch.from_numpy(lengths).long(), batch_first=True, enforce_sorted=False
        )
        packed, final = theirs(packed)
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(
            packed, batch_first=True, total_length=STEPS
        )
        (y * torch.from_numpy(g)).sum().backward()
        finals = final if kind == "lstm" else (final,)
        expected = [f.detach().numpy()[d] for d in range(len(params)) for f in finals]
        assert_close(jax.tree.leaves(state), expected, tol=1e-5)
        assert_close(ys, y.detach().numpy(), tol=1e-5)
        assert_close(slope_x, x.grad.numpy(), tol=1e-5)
        for d, suffix in enumerate(suffixes):
            own = slopes[d] if bidirectional else slopes[0]
            for name, field in (("ih", "kernel"), ("hh", "recurrent_kernel")):
                want = getattr(theirs, f"weight_{name}_l0{suffix}").grad.numpy().T
                assert_close(getattr(own, field), want, tol=1e-5)
            want = getattr(theirs, f"bias_ih_l0{suffix}").grad.numpy()
            assert_close(own.bias, want, tol=1e-5)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_projection():
    theirs = made("lstm", False, 0, proj_size=2)
    xs = np.random.default_rng(0).normal(size=(BATCH, STEPS, IN)).astype(np.float32)
    state, ys = F.lstm(converted(theirs, "", "lstm"), xs)
    y, (h, c) = theirs(torch.from_numpy(xs))
    expected = [a.detach().numpy() for a in (y, h[0], c[0])]
    assert_close([ys, *state], expected, tol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.filterwarnings("ignore:__array__ implementation")
@jax.numpy_rank_promotion("allow")  # Keras relies on it
def test_agrees_with_keras(reset_after, backwards):
    keras = pytest.importorskip("keras")
    rng = np.random.default_rng(0)
    xs = rng.normal(size=(BATCH, STEPS, IN)).astype(np.float32)
    makers = {
        "rnn": (keras.layers.SimpleRNN, {}),
        "lstm": (keras.layers.LSTM, {}),
        "gru": (keras.layers.GRU, {"reset_after": reset_after}),
    }
    for kind, (maker, options) in makers.items():
        layer = maker(UNITS, return_sequences=True, return_state=True, **options)
        layer.build(xs.shape)
        values = [
            rng.normal(size=variable.shape).astype(np.float32)
            for variable in layer.trainable_variables
        ]
        for variable, value in zip(layer.trainable_variables, values, strict=True):
            variable.assign(value)
        w, u, b = values
        if kind == "gru":
            # Keras's gates stand in the order z, r, n.
            order = np.r_[UNITS : 2 * UNITS, 0:UNITS, 2 * UNITS : 3 * UNITS]
            biases = (b[0][order], b[1][order]) if reset_after else (b[order], None)
            params = F.GRUParams(w[:, order], u[:, order], *biases)
        else:
            params = {"rnn": F.RNNParams, "lstm": F.LSTMParams}[kind](w, u, b)
        given = xs[:, ::-1] if backwards else xs
        y, *finals = layer(given)
        y = np.asarray(y)[:, ::-1] if backwards else np.asarray(y)
        state, ys = LAYERS[kind](params, xs, reverse=backwards, **options)
        assert_close(ys, y, tol=1e-5)
        expected = [np.asarray(final) for final in finals]
        assert_close(jax.tree.leaves(state), expected, tol=1e-5)

"""Weights of torch's recurrent modules: the same outputs, states and gradients."""

from functools import partial

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest

from jaxnets.functional import bidirectional, gru, lstm, rnn, stacked
from jaxnets.interop import recurrent_from_torch, recurrent_to_torch
from tests.helpers import assert_close

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with"),
]
drawn = hypothesis.settings(max_examples=40, deadline=None, derandomize=True)
MODULES = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
LAYERS = {"rnn": rnn, "lstm": lstm, "gru": gru}
BATCH, TIME, FEATURES = 3, 4, 4


@st.composite
def configurations(draw):
    """A kind and what its module is made with; few shapes, so that few compile."""
    kind = draw(st.sampled_from(["rnn", "lstm", "gru"]))
    options = {
        "num_layers": draw(st.sampled_from([1, 2])),
        "bidirectional": draw(st.booleans()),
        "bias": draw(st.booleans()),
    }
    if kind == "lstm":
        options["proj_size"] = draw(st.sampled_from([0, 2]))
    return kind, options, draw(st.integers(0, 999))


def make(kind, options, seed):
    torch.manual_seed(seed)
    module = MODULES[kind](FEATURES, 5, batch_first=True, **options)
    with torch.no_grad():
        for weight in module.parameters():
            weight.uniform_(-0.8, 0.8)
    return module


def arrays(module):
    return {name: a.numpy() for name, a in module.state_dict().items()}


def runner(kind, options):
    """Our layer with the structure of torch's module."""
    layer = LAYERS[kind]
    if options["bidirectional"]:
        layer = partial(bidirectional, layer)
    if options["num_layers"] > 1:
        layer = partial(stacked, layer)
    return layer


def states_as_torch(state, kind, options):
    """Our final states as torch stacks them: forward before backward in each layer."""
    layers = state if options["num_layers"] > 1 else (state,)
    flat = [one for s in layers for one in (s if options["bidirectional"] else (s,))]
    if kind != "lstm":
        return [np.stack(flat)]
    return [np.stack([s.h for s in flat]), np.stack([s.c for s in flat])]


@pytest.mark.slow
@drawn
@hypothesis.given(configurations(), st.booleans())
def test_outputs_states_and_gradients_with_lengths(configuration, packed):
    kind, options, seed = configuration
    module = make(kind, options, seed)
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(BATCH, TIME, FEATURES)).astype(np.float32)
    lengths = np.array([4, 2, 1]) if packed else np.array([4, 4, 4])
    leaf = torch.from_numpy(x).requires_grad_()
    packing = torch.nn.utils.rnn.pack_padded_sequence(
        leaf, torch.from_numpy(lengths), batch_first=True, enforce_sorted=False
    )
    ys, last = module(packing)
    ys, _ = torch.nn.utils.rnn.pad_packed_sequence(
        ys, batch_first=True, total_length=TIME
    )
    last = list(last) if kind == "lstm" else [last]
    g = rng.normal(size=tuple(ys.shape)).astype(np.float32)
    (slope,) = torch.autograd.grad((ys * torch.from_numpy(g)).sum(), leaf)

    params = recurrent_from_torch(arrays(module), kind)
    run = runner(kind, options)
    # Every step by itself: 40 configurations would compile for a minute.
    with jax.disable_jit():
        (got, state), back = jax.vjp(lambda x: run(params, x, lengths=lengths)[::-1], x)
        zeros = jax.tree.map(np.zeros_like, state)
        (gradient,) = back((g, zeros))
    # 1e-5: the figure that is promised.
    assert_close(got, ys.detach().numpy(), tol=1e-5)
    assert_close(gradient, slope.numpy(), tol=1e-5)
    for ours, theirs in zip(states_as_torch(state, kind, options), last, strict=True):
        assert_close(ours, theirs.detach().numpy(), tol=1e-5)


@drawn
@hypothesis.given(configurations())
def test_there_and_back(configuration):
    kind, options, seed = configuration
    module = make(kind, options, seed)
    params = recurrent_from_torch(arrays(module), kind)
    state_dict = recurrent_to_torch(params, kind)
    assert list(state_dict) == list(module.state_dict())
    again = make(kind, options, seed + 1)
    again.load_state_dict({n: torch.from_numpy(a) for n, a in state_dict.items()})
    x = torch.randn(BATCH, TIME, FEATURES)
    with torch.no_grad():
        assert_close(again(x)[0].numpy(), module(x)[0].numpy(), tol=1e-6)
    # What is ours survives bit for bit: the second bias of RNN and LSTM is zeros.
    twice = recurrent_from_torch(state_dict, kind)
    assert jax.tree.structure(twice) == jax.tree.structure(params)
    for one, other in zip(*map(jax.tree.leaves, (params, twice)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_tensors_are_taken_as_they_are():
    module = make("gru", {"num_layers": 1, "bidirectional": False, "bias": True}, 0)
    one = recurrent_from_torch(dict(module.state_dict()), "gru")
    other = recurrent_from_torch(arrays(module), "gru")
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_relu():
    module = torch.nn.RNN(FEATURES, 5, nonlinearity="relu", batch_first=True)
    params = recurrent_from_torch(arrays(module), "rnn")
    x = np.random.default_rng(0).normal(size=(2, 3, FEATURES)).astype(np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(x))[0].numpy()
    got = rnn(params, x, activation=jax.nn.relu)[1]
    assert_close(got, expected, tol=1e-5)

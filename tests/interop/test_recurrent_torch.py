"""Errors of the conversion from and to torch; the values are in tests/parity."""

import numpy as np
import pytest

from jaxnets.functional import GRUParams, LSTMParams, RNNParams
from jaxnets.interop import recurrent_from_torch, recurrent_to_torch


def weights(**changes):
    """A state dict of nn.LSTM(3, 2), changed; None takes a name out."""
    shapes = {
        "weight_ih_l0": (8, 3),
        "weight_hh_l0": (8, 2),
        "bias_ih_l0": (8,),
        "bias_hh_l0": (8,),
        **changes,
    }
    return {name: np.ones(s, np.float32) for name, s in shapes.items() if s is not None}


@pytest.mark.parametrize(
    ("state_dict", "kind", "message"),
    [
        (weights(), "tanh", "kind must be one of 'rnn', 'lstm', 'gru'"),
        ({}, "lstm", "must have weight_ih_l0, weight_hh_l0 too; got nothing"),
        (weights(weight_ig_l0=(8, 3)), "lstm", "got 'weight_ig_l0'"),
        (weights(weight_ih_l01=(8, 3)), "lstm", "got 'weight_ih_l01'"),
        ({"rnn.weight_ih_l0": np.ones((8, 3))}, "lstm", r"take the prefix 'rnn\.' off"),
        (weights(weight_hh_l0=None), "lstm", "must have weight_hh_l0 too"),
        (weights(bias_hh_l0=None), "lstm", "must have bias_hh_l0 too"),
        (weights(weight_ih_l2=(8, 2)), "lstm", "must have weight_ih_l1, weight_hh_l1"),
        (weights(weight_ih_l0_reverse=(8, 3)), "lstm", "weight_hh_l0_reverse, bias_ih"),
        (weights(weight_hr_l0=(1, 2)), "gru", "only an LSTM has a projection"),
        (weights(weight_ih_l0=(8,)), "lstm", r"matrix \(4 \* units, in\); got shape"),
        (weights(), "gru", r"weight_ih_l0 must have 3 \* units rows"),
        (weights(), "rnn", r"weight_hh_l0 must have shape \(8, 8\)"),
        (weights(bias_ih_l0=(7,)), "lstm", r"bias_ih_l0 must have shape \(8,\)"),
        (
            weights(weight_hr_l0=(1, 2)),
            "lstm",
            r"weight_hh_l0 must have shape \(8, 1\)",
        ),
        (
            weights(weight_hr_l0=(2, 3)),
            "lstm",
            r"weight_hr_l0 must have shape \(2, 2\).*got \(2, 3\)",
        ),
    ],
)
def test_errors_from_torch(state_dict, kind, message):
    with pytest.raises(ValueError, match=f"recurrent_from_torch: .*{message}"):
        recurrent_from_torch(state_dict, kind)


def test_layers_must_fit_each_other():
    bare = {"bias_ih_l0": None, "bias_hh_l0": None}
    with pytest.raises(ValueError, match="layer 1 must take the 2 outputs"):
        recurrent_from_torch(
            weights(**bare, weight_ih_l1=(8, 3), weight_hh_l1=(8, 2)), "lstm"
        )
    with pytest.raises(ValueError, match="one size for all layers and directions"):
        recurrent_from_torch(
            weights(**bare, weight_ih_l1=(4, 2), weight_hh_l1=(4, 1)), "lstm"
        )
    with pytest.raises(ValueError, match="one size for all layers and directions"):
        other = {"weight_ih_l0_reverse": (8, 5), "weight_hh_l0_reverse": (8, 2)}
        recurrent_from_torch(weights(**bare, **other), "lstm")


def test_dtypes_of_weights():
    mixed = weights() | {"bias_hh_l0": np.ones(8, np.float64)}
    with pytest.raises(
        TypeError, match=r"one dtype; got float32 .* and float64 \(bias"
    ):
        recurrent_from_torch(mixed, "lstm")
    with pytest.raises(TypeError, match="bias_hh_l0 must be an array of floats"):
        recurrent_from_torch(weights() | {"bias_hh_l0": np.ones(8, int)}, "lstm")
    half = {name: a.astype(np.float16) for name, a in weights().items()}
    assert recurrent_from_torch(half, "lstm").bias.dtype == np.float16


def ones(*shape):
    return np.ones(shape, np.float32)


def test_errors_to_torch():
    to = recurrent_to_torch
    layer = RNNParams(ones(3, 2), ones(2, 2))
    with pytest.raises(TypeError, match="kind 'gru' needs GRUParams; got RNNParams"):
        to(layer, "gru")
    with pytest.raises(ValueError, match=r"a tuple \(forward, backward\) .* of \[3\]"):
        to((layer,) * 3, "rnn")
    with pytest.raises(ValueError, match="got 0 layers"):
        to([], "rnn")
    with pytest.raises(ValueError, match="layer 1 must take the 2 outputs"):
        to([layer, layer], "rnn")
    with pytest.raises(ValueError, match="one size"):
        to([layer, RNNParams(ones(2, 1), ones(1, 1))], "rnn")
    with pytest.raises(ValueError, match=r"recurrent_kernel must have shape \(2, 2\)"):
        to(RNNParams(ones(3, 2), ones(3, 2)), "rnn")
    with pytest.raises(ValueError, match=r"kernel must be \(in, 4 \* units\)"):
        to(LSTMParams(ones(3, 6), ones(2, 6)), "lstm")
    peeping = LSTMParams(ones(3, 8), ones(2, 8), peephole=ones(3, 2))
    with pytest.raises(ValueError, match="no LSTM with peephole"):
        to(peeping, "lstm")
    deep = LSTMParams(ones(3, 8), ones(1, 8), projection=ones(3, 1))
    with pytest.raises(ValueError, match=r"projection must have shape \(2, 1\)"):
        to(deep, "lstm")


def test_one_bias_is_enough():
    """Torch has two biases or none; zeros stand for the one that is not there."""
    layers = [
        GRUParams(ones(3, 6), ones(2, 6), None, 2 * ones(6)),
        GRUParams(ones(2, 6), ones(2, 6)),
    ]
    state_dict = recurrent_to_torch(layers, "gru")
    np.testing.assert_array_equal(state_dict["bias_ih_l0"], np.zeros(6))
    np.testing.assert_array_equal(state_dict["bias_hh_l0"], 2 * np.ones(6))
    np.testing.assert_array_equal(state_dict["bias_hh_l1"], np.zeros(6))
    # Memory of its own: writing to it changes nothing of ours.
    state_dict["weight_ih_l0"][:] = 0
    assert layers[0].kernel.all()

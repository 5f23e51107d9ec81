"""Weights of torch's nn.RNN, nn.LSTM and nn.GRU, there and back.

torch keeps kernels as (gates * units, in), the transpose of ours, in our order of gates
(LSTM i, f, g, o; GRU r, z, n), and two biases that are added to the same sums, but for
the n part of the GRU's second, which stands inside the reset.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxnets.functional._checks import check_shape
from jaxnets.interop._arrays import (
    GATES,
    TYPES,
    add,
    as_arrays,
    check_kind,
    check_matrix,
    make_params,
    read_params,
)

_NAME = re.compile(
    r"(weight_ih|weight_hh|bias_ih|bias_hh|weight_hr)_l(0|[1-9]\d*)(_reverse)?"
)
_MATRICES = {
    "weight_ih": "kernel",
    "weight_hh": "recurrent_kernel",
    "weight_hr": "projection",
}


def recurrent_from_torch(state_dict: Mapping[str, Any], kind: str) -> Any:
    """Turn the weights of torch's nn.RNN, nn.LSTM or nn.GRU into parameters of ours.

    Outputs agree with torch's to rounding. Where torch adds two biases to the same sums
    they become one; the GRU's second one is kept apart as `recurrent_bias`. The
    activation of nn.RNN is none of its weights: give `rnn` the same.

    Args:
        state_dict: name -> array, as `module.state_dict()` names them:
            `weight_ih_l0 (gates * units, in)`, `weight_hh_l0`, `bias_ih_l0`,
            `bias_hh_l0`, `weight_hr_l0 (proj_size, units)`, `..._l1`,
            `..._l0_reverse`. Anything that `numpy.asarray` takes.
        kind: "rnn", "lstm" or "gru".

    Returns:
        One layer: its `RNNParams`, `LSTMParams` or `GRUParams`. Both directions: the
        pair (forward, backward) that `bidirectional` takes. More layers: a list of
        either, as `stacked` takes it.

    Raises:
        TypeError: if a weight is not floating, or dtypes differ.
        ValueError: if `kind` is none of the three, a name is unknown or missing, or a
            shape does not fit.

    Example:
        >>> weights = {"weight_ih_l0": np.ones((6, 3)), "weight_hh_l0": np.ones((6, 2))}
        >>> params = recurrent_from_torch(weights, "gru")
        >>> params.kernel.shape, params.bias
        ((3, 6), None)
    """
    function = "recurrent_from_torch"
    check_kind(function, kind)
    arrays = as_arrays(function, state_dict)
    layers, directions, names = _inventory(function, arrays, kind)
    found = [
        [
            _from_one(
                function,
                {name: arrays[f"{name}_l{layer}{suffix}"] for name in names},
                kind,
                f"_l{layer}{suffix}",
            )
            for suffix in ("", "_reverse")[:directions]
        ]
        for layer in range(layers)
    ]
    _check_stack(function, found)
    made = [[make_params(kind, one) for one in pair] for pair in found]
    structure = [tuple(pair) if directions == 2 else pair[0] for pair in made]
    return structure if layers > 1 else structure[0]


def recurrent_to_torch(params: Any, kind: str) -> dict[str, np.ndarray]:
    """Turn parameters of `rnn`, `lstm` or `gru` into the weights of torch's modules.

    What `load_state_dict` takes once each array went through `torch.from_numpy`. torch
    has two biases or none: `bias` becomes the first, and the second is zeros or the
    GRU's `recurrent_bias`.

    Args:
        params: one layer's parameters; a tuple (forward, backward) of them; or a list
            of either, one a layer.
        kind: "rnn", "lstm" or "gru".

    Returns:
        Name -> NumPy array, in the order of torch's `state_dict()`.

    Raises:
        TypeError: if `params` are of another kind, not floating, or dtypes differ.
        ValueError: if `kind` is none of the three, a shape does not fit, or there is
            something that torch has not: peepholes, normalisation, layers of different
            sizes.

    Example:
        >>> from jaxnets.functional import RNNParams
        >>> layer = RNNParams(np.ones((3, 2)), np.ones((2, 2)), np.ones(2))
        >>> {name: a.shape for name, a in recurrent_to_torch(layer, "rnn").items()}
        {'weight_ih_l0': (2, 3), 'weight_hh_l0': (2, 2),
         'bias_ih_l0': (2,), 'bias_hh_l0': (2,)}
    """
    function = "recurrent_to_torch"
    check_kind(function, kind)
    layers = _layers(function, params, kind)
    _check_stack(function, layers)
    biased = any(
        name in arrays
        for layer in layers
        for arrays in layer
        for name in ("bias", "recurrent_bias")
    )
    state_dict = {}
    for number, layer in enumerate(layers):
        for arrays, suffix in zip(layer, ("", "_reverse"), strict=False):
            place = f"_l{number}{suffix}"
            state_dict[f"weight_ih{place}"] = arrays["kernel"].T
            state_dict[f"weight_hh{place}"] = arrays["recurrent_kernel"].T
            if biased:
                zeros = np.zeros_like(arrays["kernel"], shape=arrays["kernel"].shape[1])
                state_dict[f"bias_ih{place}"] = arrays.get("bias", zeros)
                state_dict[f"bias_hh{place}"] = arrays.get("recurrent_bias", zeros)
            if "projection" in arrays:
                state_dict[f"weight_hr{place}"] = arrays["projection"].T
    # torch.from_numpy wants memory of its own that may be written to.
    return {name: np.array(a, order="C") for name, a in state_dict.items()}


def _inventory(
    function: str, arrays: dict[str, np.ndarray], kind: str
) -> tuple[int, int, list[str]]:
    """How many layers and directions there are, and what each of them has."""
    parts, layers, reverse = set(), set(), False
    for name in arrays:
        match = _NAME.fullmatch(name)
        if match is None:
            bare = name.rsplit(".", 1)[-1]
            hint = f"take the prefix {name[: -len(bare)]!r} off" if "." in name else ""
            raise ValueError(
                f"{function}: every name must be one of torch's nn.RNN, nn.LSTM or "
                f"nn.GRU, such as 'weight_ih_l0'; got {name!r}"
                + (f" ({hint})" if hint else "")
            )
        parts.add(match[1])
        layers.add(int(match[2]))
        reverse |= match[3] is not None
    if "weight_hr" in parts and kind != "lstm":
        raise ValueError(
            f"{function}: only an LSTM has a projection; got weight_hr for kind "
            f"{kind!r}"
        )
    # The names that torch would have written; biases come in twos.
    names = ["weight_ih", "weight_hh"]
    names += ["bias_ih", "bias_hh"] * bool({"bias_ih", "bias_hh"} & parts)
    names += ["weight_hr"] * ("weight_hr" in parts)
    count = max(layers, default=0) + 1
    suffixes = ("", "_reverse") if reverse else ("",)
    missing = [
        f"{name}_l{layer}{suffix}"
        for layer in range(count)
        for suffix in suffixes
        for name in names
        if f"{name}_l{layer}{suffix}" not in arrays
    ]
    if missing:
        raise ValueError(
            f"{function}: state_dict must have {', '.join(missing)} too; got "
            f"{', '.join(arrays) or 'nothing'}"
        )
    return count, len(suffixes), names


def _from_one(
    function: str, weights: dict[str, np.ndarray], kind: str, place: str
) -> dict[str, np.ndarray]:
    """One layer in one direction."""
    gates = GATES[kind]
    for name, array in weights.items():
        if name in _MATRICES:
            layout = f"({gates} * units, in)" if name == "weight_ih" else "of weights"
            check_matrix(function, name + place, array, layout)
    rows, features = weights["weight_ih"].shape
    if rows % gates:
        raise ValueError(
            f"{function}: weight_ih{place} must have {gates} * units rows for kind "
            f"{kind!r}; got shape {(rows, features)}"
        )
    outputs = weights["weight_hr"].shape[0] if "weight_hr" in weights else rows // gates
    why = f"weight_ih{place} has shape {(rows, features)}"
    expected = {
        "weight_hh": (rows, outputs),
        "weight_hr": (outputs, rows // gates),
        "bias_ih": (rows,),
        "bias_hh": (rows,),
    }
    for name, shape in expected.items():
        if name in weights:
            check_shape(function, name + place, weights[name].shape, shape, why)
    params = {ours: weights[n].T for n, ours in _MATRICES.items() if n in weights}
    if "bias_ih" in weights and kind == "gru":
        params["bias"] = weights["bias_ih"]
        params["recurrent_bias"] = weights["bias_hh"]
    elif "bias_ih" in weights:
        params["bias"] = add(weights["bias_ih"], weights["bias_hh"])
    return params


def _layers(function: str, params: Any, kind: str) -> list[list[dict[str, Any]]]:
    """The arrays by layer and direction."""
    listed = params if isinstance(params, list) else [params]
    pairs = [list(layer) if type(layer) is tuple else [layer] for layer in listed]
    if not pairs or len({len(pair) for pair in pairs}) > 1 or len(pairs[0]) > 2:
        raise ValueError(
            f"{function}: params must be {TYPES[kind].__name__}, a tuple (forward, "
            "backward) of two, or a list of either, one a layer; got "
            f"{len(pairs)} layers of {[len(pair) for pair in pairs]}"
        )
    return [[read_params(function, one, kind) for one in pair] for pair in pairs]


def _check_stack(function: str, layers: list[list[dict[str, np.ndarray]]]) -> None:
    """Raise ValueError unless torch could have these layers one upon the other."""
    first = layers[0][0]
    for number, layer in enumerate(layers):
        inputs = layer[0]["kernel"].shape[0]
        if number:
            outputs = sum(one["recurrent_kernel"].shape[0] for one in layers[0])
            if inputs != outputs:
                raise ValueError(
                    f"{function}: layer {number} must take the {outputs} outputs of "
                    f"the layer below; its weights take {inputs}"
                )
        for one in layer:
            sizes = {name: one[name].shape for name in one if name != "kernel"}
            expected = {name: first[name].shape for name in first if name != "kernel"}
            for biases in ("bias", "recurrent_bias"):
                sizes.pop(biases, None)
                expected.pop(biases, None)
            if sizes != expected or one["kernel"].shape[0] != inputs:
                raise ValueError(
                    f"{function}: torch has one size for all layers and directions; "
                    f"layer {number} has {_sizes(one)}, the first has {_sizes(first)}"
                )


def _sizes(arrays: dict[str, np.ndarray]) -> str:
    return ", ".join(f"{name} {a.shape}" for name, a in arrays.items())

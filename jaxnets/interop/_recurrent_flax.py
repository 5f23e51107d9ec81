"""Weights of Flax's recurrent cells, NNX and Linen, there and back.

A cell of Flax is a handful of dense layers: either one for the input and one for the
state, with the gates side by side in our order, or one a gate. They differ in which of
them have a bias.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxnets.functional._checks import check_choice, check_shape
from jaxnets.interop._arrays import (
    GATES,
    add,
    as_arrays,
    check_layer,
    check_matrix,
    make_params,
    read_params,
)


class Form(NamedTuple):
    """How a cell keeps its weights.

    Attributes:
        kind: "rnn", "lstm" or "gru".
        inputs: the dense layers of the input, in the order of our gates.
        states: the dense layers of the state.
        biased: which of them have a bias.
    """

    kind: str
    inputs: tuple[str, ...]
    states: tuple[str, ...]
    biased: tuple[str, ...]


_HIDDEN = ("hi", "hf", "hg", "ho")
_LINEN_LSTM = Form("lstm", ("ii", "if", "ig", "io"), _HIDDEN, _HIDDEN)
CELLS = {
    "nnx.SimpleCell": Form("rnn", ("dense_i",), ("dense_h",), ("dense_i",)),
    "nnx.LSTMCell": Form("lstm", ("ii", "if_", "ig", "io"), _HIDDEN, _HIDDEN),
    "nnx.OptimizedLSTMCell": Form("lstm", ("dense_i",), ("dense_h",), ("dense_h",)),
    "nnx.GRUCell": Form("gru", ("dense_i",), ("dense_h",), ("dense_i",)),
    "linen.SimpleCell": Form("rnn", ("i",), ("h",), ("i",)),
    "linen.LSTMCell": _LINEN_LSTM,
    "linen.OptimizedLSTMCell": _LINEN_LSTM,
    "linen.GRUCell": Form(
        "gru", ("ir", "iz", "in"), ("hr", "hz", "hn"), ("ir", "iz", "in", "hn")
    ),
}


def recurrent_from_flax(weights: Mapping[str, Any], cell: str) -> Any:
    """Turn the weights of a recurrent cell of Flax into parameters of ours.

    Outputs agree with Flax's to rounding. Activations and `residual` are no weights:
    give `rnn`, `lstm` or `gru` the same. Flax's carry of an LSTM is (c, h), ours
    `LSTMState(h, c)`.

    Args:
        weights: dense layer -> {"kernel": ..., "bias": ...}: for NNX
            `nnx.to_pure_dict(nnx.state(cell, nnx.Param))`, for Linen
            `variables["params"]` of the cell.
        cell: which cell: "nnx.SimpleCell", "nnx.LSTMCell", "nnx.OptimizedLSTMCell",
            "nnx.GRUCell", or the same of "linen.".

    Returns:
        `RNNParams`, `LSTMParams` or `GRUParams`.

    Raises:
        TypeError: if a weight is not floating, or dtypes differ.
        ValueError: if the cell is unknown, a dense layer or a weight is missing or too
            many, or a shape does not fit.

    Example:
        >>> cell = {"dense_i": {"kernel": np.ones((3, 4)), "bias": np.zeros(4)}}
        >>> cell["dense_h"] = {"kernel": np.ones((4, 4))}
        >>> recurrent_from_flax(cell, "nnx.SimpleCell").kernel.shape
        (3, 4)
    """
    function = "recurrent_from_flax"
    check_choice(function, "cell", cell, tuple(CELLS))
    form = CELLS[cell]
    arrays = as_arrays(function, _flat(function, weights))
    names = [*form.inputs, *form.states]
    wanted = {f"{name}.kernel" for name in names}
    wanted |= {f"{name}.bias" for name in form.biased}
    if arrays.keys() != wanted:
        missing = sorted(wanted - arrays.keys())
        extra = sorted(arrays.keys() - wanted)
        raise ValueError(
            f"{function}: a {cell} has exactly {', '.join(sorted(wanted))}; missing: "
            f"{', '.join(missing) or 'none'}, too many: {', '.join(extra) or 'none'}"
        )
    kernels = {
        name: check_matrix(function, f"{name}.kernel", arrays[f"{name}.kernel"], "")
        for name in names
    }
    for side in (form.inputs, form.states):
        for name in side:
            shape = kernels[side[0]]
            check_shape(
                function, f"{name}.kernel", kernels[name], shape, f"as {side[0]}"
            )
            if name in form.biased:
                size = arrays[f"{name}.bias"].shape
                check_shape(
                    function, f"{name}.bias", size, shape[1:], f"as {name}.kernel"
                )

    def joined(side: tuple[str, ...], part: str) -> np.ndarray | None:
        if not set(side) & set(form.biased) and part == "bias":
            return None
        # A dense layer that has no bias counts as if it were zeros.
        rows = []
        for name in side:
            zeros = np.zeros_like(arrays[f"{name}.kernel"][0])
            rows.append(arrays.get(f"{name}.{part}", zeros))
        return np.concatenate(rows, axis=-1)

    params = {
        "kernel": joined(form.inputs, "kernel"),
        "recurrent_kernel": joined(form.states, "kernel"),
    }
    one, other = joined(form.inputs, "bias"), joined(form.states, "bias")
    if form.kind == "gru":
        params |= {"bias": one, "recurrent_bias": other}
    else:
        params["bias"] = one if other is None else other
    given = {name: array for name, array in params.items() if array is not None}
    check_layer(function, given, GATES[form.kind])
    return make_params(form.kind, given)


def recurrent_to_flax(params: Any, cell: str) -> dict[str, dict[str, np.ndarray]]:
    """Turn parameters of `rnn`, `lstm` or `gru` into the weights of a cell of Flax.

    For NNX, `nnx.update(cell, weights)` puts them in place; for Linen they are the
    cell's `params`. Flax's cells always have a bias; zeros stand for None.

    Args:
        params: one layer's parameters.
        cell: which cell, as for `recurrent_from_flax`.

    Returns:
        Dense layer -> {"kernel": NumPy array, "bias": ...}.

    Raises:
        TypeError: if `params` are of another kind, not floating, or dtypes differ.
        ValueError: if the cell is unknown, a shape does not fit, or there is something
            that the cell has not: peepholes, projection, normalisation, and for
            nnx.GRUCell a recurrent bias of the gate n other than zero.

    Example:
        >>> from jaxnets.functional import RNNParams
        >>> layer = RNNParams(np.ones((3, 4)), np.ones((4, 4)), np.zeros(4))
        >>> sorted(recurrent_to_flax(layer, "linen.SimpleCell"))
        ['h', 'i']
    """
    function = "recurrent_to_flax"
    check_choice(function, "cell", cell, tuple(CELLS))
    form = CELLS[cell]
    arrays = read_params(function, params, form.kind)
    if "projection" in arrays:
        raise ValueError(
            f"{function}: Flax's LSTM has no projection; got params.projection (it "
            "would be lost)"
        )
    zeros = np.zeros_like(arrays["kernel"], shape=arrays["kernel"].shape[1])
    bias = arrays.get("bias", zeros)
    recurrent_bias = arrays.get("recurrent_bias", zeros)
    inside = np.zeros_like(zeros)
    if form.kind == "gru":
        # The parts of r and z are added to the same sums as those of `bias`.
        third = len(zeros) // 3
        inside[2 * third :] = recurrent_bias[2 * third :]
        bias = add(bias, recurrent_bias - inside)
        if form.states[-1] not in form.biased and inside.any():
            raise ValueError(
                f"{function}: {cell} has no bias inside the reset; got params."
                "recurrent_bias with a part n other than zero (linen.GRUCell has one)"
            )
    elif form.inputs[0] not in form.biased:
        bias, inside = zeros, bias
    weights: dict[str, dict[str, np.ndarray]] = {}
    for side, kernel, own in (
        (form.inputs, arrays["kernel"], bias),
        (form.states, arrays["recurrent_kernel"], inside),
    ):
        for name, part, share in zip(
            side,
            np.split(kernel, len(side), axis=1),
            np.split(own, len(side)),
            strict=True,
        ):
            weights[name] = {"kernel": np.array(part)}
            if name in form.biased:
                weights[name]["bias"] = np.array(share)
    return weights


def _flat(function: str, weights: Any) -> dict[str, Any]:
    flat = {}
    for name, dense in weights.items():
        if not isinstance(dense, Mapping):
            raise ValueError(
                f"{function}: weights must be dense layer -> {{'kernel': ...}}; got "
                f"{type(dense).__name__} for {name!r}"
            )
        flat |= {f"{name}.{part}": array for part, array in dense.items()}
    return flat

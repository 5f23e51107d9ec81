"""Weights of Keras's SimpleRNN, LSTM and GRU, there and back.

Keras keeps kernels as we do. Its LSTM has our gates under other names (i, f, c, o), its
GRU has the update gate first (z, r, h; ours are r, z, n) and, with `reset_after`, both
biases as the rows of one array.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxnets.functional._checks import check_shape
from jaxnets.interop._arrays import (
    GATES,
    TYPES,
    as_arrays,
    check_kind,
    check_layer,
    make_params,
    read_params,
)


def recurrent_from_keras(
    weights: Sequence[Any], kind: str, *, reset_after: bool = True
) -> Any:
    """Turn `get_weights()` of Keras's SimpleRNN, LSTM or GRU into parameters of ours.

    Outputs agree with Keras's to rounding, whatever its `implementation`. Activations
    are no weights: give `rnn`, `lstm` or `gru` the same, and `gru` the same
    `reset_after`.

    Args:
        weights: [kernel `(in, gates * units)`, recurrent kernel, bias], without the
            last for `use_bias=False`; of a `Bidirectional` layer those of both
            directions one after the other.
        kind: "rnn" (SimpleRNN), "lstm" or "gru".
        reset_after: that of the GRU; Keras's default is True.

    Returns:
        `RNNParams`, `LSTMParams` or `GRUParams`; of a `Bidirectional` layer the pair
        (forward, backward) that `bidirectional` takes.

    Raises:
        TypeError: if a weight is not floating, or dtypes differ.
        ValueError: if `kind` is none of the three, there are not as many weights as
            that, or a shape does not fit.

    Example:
        >>> weights = [np.ones((3, 4)), np.ones((4, 4)), np.zeros(4)]
        >>> recurrent_from_keras(weights, "rnn").kernel.shape
        (3, 4)
    """
    function = "recurrent_from_keras"
    check_kind(function, kind)
    if len(weights) not in (2, 3, 4, 6):
        raise ValueError(
            f"{function}: weights must be 2 or 3 arrays, kernel, recurrent kernel and "
            f"bias, or twice that for both directions; got {len(weights)} (one layer "
            "at a time)"
        )
    names = [f"weights[{i}]" for i in range(len(weights))]
    arrays = list(as_arrays(function, dict(zip(names, weights, strict=True))).values())
    if len(arrays) < 4:
        return _from_one(function, arrays, kind, reset_after)
    half = len(arrays) // 2
    forward = _from_one(function, arrays[:half], kind, reset_after)
    backward = _from_one(function, arrays[half:], kind, reset_after)
    for one, other in zip(forward, backward, strict=True):
        if one is not None:
            check_shape(
                function, "backward weights", other.shape, one.shape, "the forward ones"
            )
    return forward, backward


def recurrent_to_keras(
    params: Any, kind: str, *, reset_after: bool = True
) -> list[np.ndarray]:
    """Turn parameters of `rnn`, `lstm` or `gru` into what Keras's `set_weights` takes.

    Args:
        params: one layer's parameters, or a pair (forward, backward) for a
            `Bidirectional` layer.
        kind: "rnn" (SimpleRNN), "lstm" or "gru".
        reset_after: that of the GRU, which decides how its biases are kept.

    Returns:
        [kernel, recurrent kernel, bias] as NumPy arrays, without the last if there is
        no bias; twice that for a pair.

    Raises:
        TypeError: if `params` are of another kind, not floating, or dtypes differ.
        ValueError: if `kind` is none of the three, a shape does not fit, or there is
            something that Keras has not: peepholes, projection, normalisation, a
            recurrent bias without `reset_after`.

    Example:
        >>> from jaxnets.functional import GRUParams
        >>> layer = GRUParams(np.ones((3, 6)), np.ones((2, 6)), np.ones(6))
        >>> [array.shape for array in recurrent_to_keras(layer, "gru")]
        [(3, 6), (2, 6), (2, 6)]
    """
    function = "recurrent_to_keras"
    check_kind(function, kind)
    pair = list(params) if type(params) in (tuple, list) else [params]
    if len(pair) not in (1, 2):
        raise ValueError(
            f"{function}: params must be {TYPES[kind].__name__} or a pair (forward, "
            f"backward); got {len(pair)} of them (one layer at a time)"
        )
    layers = [read_params(function, one, kind) for one in pair]
    biased = any({"bias", "recurrent_bias"} & layer.keys() for layer in layers)
    weights = []
    for arrays in layers:
        if "projection" in arrays:
            raise ValueError(
                f"{function}: Keras's LSTM has no projection; got params.projection "
                "(it would be lost)"
            )
        kernels = [arrays["kernel"], arrays["recurrent_kernel"]]
        if biased:
            zeros = np.zeros_like(arrays["kernel"], shape=arrays["kernel"].shape[1])
            bias = arrays.get("bias", zeros)
            if kind == "gru" and reset_after:
                bias = np.stack([bias, arrays.get("recurrent_bias", zeros)])
            elif "recurrent_bias" in arrays:
                raise ValueError(
                    f"{function}: with reset_after=False there is one bias; got "
                    "params.recurrent_bias (add it to bias if that is what is meant)"
                )
            kernels.append(bias)
        weights += [_swap(a) if kind == "gru" else np.array(a) for a in kernels]
    return weights


def _from_one(
    function: str, weights: list[np.ndarray], kind: str, reset_after: bool
) -> Any:
    """One layer in one direction."""
    arrays: dict[str, np.ndarray] = dict(
        zip(("kernel", "recurrent_kernel", "bias"), weights, strict=False)
    )
    columns = arrays["kernel"].shape[-1:]
    if kind == "gru" and "bias" in arrays:
        expected = (2, *columns) if reset_after else columns
        why = f"with reset_after={reset_after}"
        check_shape(function, "the bias", arrays["bias"].shape, expected, why)
        if reset_after:
            arrays["bias"], arrays["recurrent_bias"] = arrays["bias"]
    check_layer(function, arrays, GATES[kind])
    if kind == "gru":
        arrays = {name: _swap(array) for name, array in arrays.items()}
    return make_params(kind, arrays)


def _swap(array: np.ndarray) -> np.ndarray:
    """Exchange the first two of three gates: r, z, n and z, r, h."""
    first, second, last = np.split(array, 3, axis=-1)
    return np.concatenate([second, first, last], axis=-1)

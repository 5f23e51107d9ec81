"""What all conversions share: arrays on the host, checked before they are believed."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxnets.functional import GRUParams, LSTMParams, RNNParams
from jaxnets.functional._checks import check_choice, check_shape

GATES = {"rnn": 1, "lstm": 4, "gru": 3}
TYPES = {"rnn": RNNParams, "lstm": LSTMParams, "gru": GRUParams}


def check_kind(function: str, kind: str) -> int:
    """How many gates a kind has; raise ValueError unless it is one."""
    check_choice(function, "kind", kind, tuple(GATES))
    return GATES[kind]


def as_arrays(function: str, values: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The values as NumPy arrays of one floating dtype."""
    arrays = {}
    for name, value in values.items():
        array = np.asarray(value)
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise TypeError(
                f"{function}: {name} must be an array of floats; got {array.dtype}"
            )
        arrays[name] = array
    dtypes = {array.dtype.name: name for name, array in arrays.items()}
    if len(dtypes) > 1:
        listed = " and ".join(f"{dtype} ({name})" for dtype, name in dtypes.items())
        raise TypeError(
            f"{function}: all weights must have one dtype; got {listed} (convert them "
            "first)"
        )
    return arrays


def check_matrix(
    function: str, name: str, array: np.ndarray, layout: str
) -> tuple[int, int]:
    """The shape of a matrix; raise ValueError unless it is one."""
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(
            f"{function}: {name} must be a matrix {layout}; got shape {array.shape}"
        )
    return array.shape


def add(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The sum, rounded once."""
    wide = one.astype(np.float64) + other.astype(np.float64)
    return wide.astype(one.dtype)


def read_params(function: str, params: Any, kind: str) -> dict[str, np.ndarray]:
    """The arrays of one layer's parameters by field, those that are None left out."""
    gates = check_kind(function, kind)
    if not isinstance(params, TYPES[kind]):
        raise TypeError(
            f"{function}: kind {kind!r} needs {TYPES[kind].__name__}; got "
            f"{type(params).__name__}"
        )
    given = {name: a for name, a in params._asdict().items() if a is not None}
    for name in ("peephole", "norm"):
        if name in given:
            raise ValueError(
                f"{function}: the other library has no LSTM with {name}; got "
                f"params.{name} (it would be lost)"
            )
    arrays = as_arrays(function, given)
    check_layer(function, arrays, gates)
    return arrays


def check_layer(function: str, arrays: dict[str, np.ndarray], gates: int) -> None:
    """Raise ValueError unless the shapes of one layer's arrays fit each other."""
    times = "" if gates == 1 else f"{gates} * "
    _, columns = check_matrix(
        function, "kernel", arrays["kernel"], f"(in, {times}units)"
    )
    if columns % gates:
        raise ValueError(
            f"{function}: kernel must be (in, {times}units); got shape "
            f"{arrays['kernel'].shape}"
        )
    units = columns // gates
    outputs = units
    if "projection" in arrays:
        rows, outputs = check_matrix(
            function, "projection", arrays["projection"], "(units, proj_size)"
        )
        check_shape(
            function, "projection", (rows, outputs), (units, outputs), f"{units} units"
        )
    expected = {
        "recurrent_kernel": (outputs, columns),
        "bias": (columns,),
        "recurrent_bias": (columns,),
    }
    for name, shape in expected.items():
        if name in arrays:
            why = f"kernel.shape={arrays['kernel'].shape}"
            check_shape(function, name, arrays[name].shape, shape, why)


def make_params(kind: str, arrays: dict[str, np.ndarray]) -> Any:
    """The NamedTuple of a kind, of JAX arrays."""
    return TYPES[kind](**{name: jnp.asarray(array) for name, array in arrays.items()})

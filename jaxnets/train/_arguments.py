"""From the arguments of `fit` and `evaluate` to sources of batches."""

from typing import Any

import jax
import numpy as np

from jaxnets.data import split_validation
from jaxnets.functional._checks import check_integer
from jaxnets.train._data_checks import check_arrays, check_finite
from jaxnets.train._sources import (
    ArraySource,
    IterableSource,
    combine_weights,
    is_arrays,
)


def fit_length(epochs: Any, steps: Any) -> tuple[int | None, int | None]:
    """How many epochs and steps, checked; None for no limit."""
    if epochs is None and steps is None:
        raise ValueError("fit: epochs or steps must be given; got None twice")
    if epochs is not None:
        epochs = check_integer("fit", "epochs", epochs, minimum=0)
    if steps is not None:
        steps = check_integer("fit", "steps", steps, minimum=1)
    return epochs, steps


def fit_sources(
    x: Any,
    y: Any,
    *,
    batch_size: int,
    validation_split: float,
    validation_data: Any,
    class_weight: dict[int, float] | None,
    sample_weight: Any,
    shuffle: bool,
    seed: int,
    finite: bool,
) -> tuple[Any, Any]:
    """The sources of training and validation batches; None for no validation."""
    batch_size = check_integer("fit", "batch_size", batch_size, minimum=1)
    if not 0 <= validation_split < 1:
        raise ValueError(
            f"fit: validation_split must lie in [0, 1); got {validation_split}"
        )
    if validation_split and validation_data is not None:
        raise ValueError(
            "fit: validation_split and validation_data exclude each other; got both"
        )
    if is_arrays(x, y):
        data = _arrays("fit", x, y, sample_weight, finite)
        if validation_split:
            data, validation_data = split_validation(data, validation_split)
        x, y, sample_weight = data
        weight = combine_weights("fit", y, sample_weight, class_weight)
        source: Any = ArraySource(
            x, y, weight, batch_size=batch_size, seed=seed, shuffle=shuffle
        )
    elif validation_split or sample_weight is not None:
        raise ValueError(
            "fit: validation_split and sample_weight need x and y as arrays; got an "
            "iterable (give validation_data, or weights in the batches)"
        )
    else:
        source = IterableSource(x, class_weight=class_weight)
    if validation_data is None:
        return source, None
    # Keras's rule: three at most in a tuple are arrays, anything else gives batches.
    parts = (validation_data, None)
    if isinstance(validation_data, tuple) and len(validation_data) in (2, 3):
        parts = validation_data
    validation = evaluation_source(
        "validation_data", *parts, batch_size=batch_size, finite=finite
    )
    return source, validation


def evaluation_source(
    function: str,
    x: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    batch_size: int,
    finite: bool,
) -> Any:
    """A source of batches in their own order."""
    batch_size = check_integer(function, "batch_size", batch_size, minimum=1)
    if not is_arrays(x, y):
        return IterableSource(x)
    x, y, sample_weight = _arrays(function, x, y, sample_weight, finite)
    weight = combine_weights(function, y, sample_weight, None)
    return ArraySource(x, y, weight, batch_size=batch_size, seed=0, shuffle=False)


def prediction_source(x: Any, *, batch_size: int) -> ArraySource:
    """A source of inputs in their own order."""
    batch_size = check_integer("predict", "batch_size", batch_size, minimum=1)
    x = _as_arrays(x)
    check_arrays("predict", x=x)
    return ArraySource(x, None, None, batch_size=batch_size, seed=0, shuffle=False)


def _arrays(function: str, x: Any, y: Any, weight: Any, finite: bool) -> Any:
    if y is None:
        raise TypeError(
            f"{function}: y must be given when x is an array; got None (or give an "
            "iterable of batches)"
        )
    x, y = _as_arrays(x), _as_arrays(y)
    weight = None if weight is None else np.asarray(weight)
    check_arrays(function, x=x, y=y, sample_weight=weight)
    if finite:
        check_finite(function, x=x, y=y)
    return x, y, weight


def _as_arrays(tree: Any) -> Any:
    # A list of numbers is an array here; a dict of arrays stays one.
    if isinstance(tree, list):
        return np.asarray(tree)
    return jax.tree.map(np.asarray, tree)

"""How libraries name and lay out the arrays of one layer.

| | jaxnets | torch | Keras |
|---|---|---|---|
| convolution | (*window, in, out) | (out, in, *window) | ours |
| dense | (in, out) | (out, in) | ours |
| dense behind a flattening | rows, columns, channels | channels, rows, columns | ours |
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxnets.interop._names import Names
from jaxnets.interop._weights_slots import Slot

TORCH_ROLES = {
    "conv": {"kernel": "weight", "bias": "bias"},
    "dense": {"kernel": "weight", "bias": "bias"},
    "norm": {
        "scale": "weight",
        "bias": "bias",
        "mean": "running_mean",
        "var": "running_var",
    },
}
KERAS_ROLES = {
    "conv": {"kernel": "kernel", "bias": "bias"},
    "dense": {"kernel": "kernel", "bias": "bias"},
    "norm": {
        "scale": "gamma",
        "bias": "beta",
        "mean": "moving_mean",
        "var": "moving_variance",
    },
}
Change = Callable[[np.ndarray], np.ndarray]


class Place(NamedTuple):
    """Where another library keeps the array of a slot, and how to bring it over."""

    name: str
    shape: tuple[int, ...]
    to_ours: Change
    to_theirs: Change


def place_of(function: str, slot: Slot, names: Names) -> Place | None:
    """The place of a slot, or None if the other library has no such layer.

    Raises:
        ValueError: if a dense layer cannot follow the flattened map that is stated.
    """
    if names.convention == "jaxnets":
        return Place(slot.name, slot.shape, _same, _same)
    roles = TORCH_ROLES if names.convention == "torch" else KERAS_ROLES
    role = roles.get(slot.kind, {}).get(slot.role)
    layer = names.layer(slot.layer)
    if role is None or layer is None:
        return None
    if names.convention == "keras":
        return Place(f"{layer}/{role}", slot.shape, _same, _same)
    name = f"{layer}.{role}" if layer else role
    if slot.role != "kernel":
        return Place(name, slot.shape, _same, _same)
    if slot.kind == "conv":
        return _torch_conv(name, slot.shape)
    window = names.flattened.get(slot.layer, (1, 1))
    rows, columns = window
    if slot.shape[0] % (rows * columns):
        raise ValueError(
            f"{function}: the {slot.shape[0]} inputs of the dense layer for {name!r} "
            f"are no multiple of {rows} x {columns} cells (check the rows and columns "
            "of the map that is flattened before it)"
        )
    return _torch_dense(name, slot.shape, window, slot.layer in names.dense_as_conv)


def _same(array: np.ndarray) -> np.ndarray:
    return array


def _torch_conv(name: str, shape: tuple[int, ...]) -> Place:
    """Also with groups: both keep in // groups channels of the input."""
    *window, inputs, out = shape
    axes = (len(shape) - 1, len(shape) - 2, *range(len(window)))
    back = tuple(int(axis) for axis in np.argsort(axes))
    return Place(
        name,
        (out, inputs, *window),
        lambda array: array.transpose(back),
        lambda array: array.transpose(axes),
    )


def _torch_dense(
    name: str, shape: tuple[int, ...], window: tuple[int, int], as_conv: bool
) -> Place:
    """Torch flattens (channels, rows, columns), we (rows, columns, channels)."""
    inputs, out = shape
    rows, columns = window
    channels = inputs // (rows * columns)
    maps = (out, channels, rows, columns)

    def to_ours(array: np.ndarray) -> np.ndarray:
        return array.reshape(maps).transpose(2, 3, 1, 0).reshape(inputs, out)

    def to_theirs(array: np.ndarray) -> np.ndarray:
        cells = array.reshape(rows, columns, channels, out)
        return cells.transpose(3, 2, 0, 1).reshape(theirs)

    theirs = maps if as_conv else (out, inputs)
    return Place(name, theirs, to_ours, to_theirs)

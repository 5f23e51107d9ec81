"""Modules, lists of layers and functions, all as a module to be looked into."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from flax import nnx

from jaxnets.functional._checks import check_choice, check_integers
from jaxnets.functional._shapes import DATA_FORMATS, DataFormat


class Wrapped(nnx.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[jax.Array], Any]):
        self.function = function

    def __call__(self, x: jax.Array) -> Any:
        """Call the function."""
        return self.function(x)


def as_module(function: str, model: Any) -> nnx.Module:
    """A module of a module, a list of layers, or a function."""
    if isinstance(model, nnx.Module):
        return model
    if isinstance(model, Sequence) and all(map(callable, model)):
        return nnx.Sequential(*model)
    if callable(model):
        return Wrapped(model)
    raise TypeError(
        f"{function}: model must be a module, a list of modules and functions, or a "
        f"function; got {model!r}"
    )


def run(
    function: str, model: Any, x: jax.Array, method: Callable[..., Any] | None
) -> jax.Array:
    """What is looked at: what the method gives, or the call."""
    y = model(x) if method is None else method(model, x)
    if not hasattr(y, "shape"):
        raise TypeError(
            f"{function}: the model must give one array; got {type(y).__name__} "
            "(choose with method, such as lambda model, x: model(x)[0])"
        )
    return y


def check_input_shape(
    function: str, shape: Sequence[int], data_format: DataFormat
) -> tuple[int, ...]:
    """The shape of an example with at least one spatial axis, channels last."""
    check_choice(function, "data_format", data_format, DATA_FORMATS)
    last = data_format == "channels_last"
    layout = "(*spatial, channels)" if last else "(channels, *spatial)"
    if len(shape) < 2:
        raise ValueError(
            f"{function}: input_shape must be {layout} with at least one "
            f"spatial axis; got {tuple(shape)}"
        )
    sizes = check_integers(function, "input_shape", shape, length=len(shape), minimum=1)
    return sizes if last else (*sizes[1:], sizes[0])

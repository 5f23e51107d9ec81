"""Whether layers read the axes of their input as the caller of an analysis means."""

from collections.abc import Sequence
from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name

from jaxnets.nn._metadata import path_name
from jaxnets.nn._reach import Reach
from jaxnets.nn._recording import Call

INPUT = "jaxnets_input_"


def mark_input(number: int, module: Any, x: Any) -> Any:
    """Name the input of call `number` if the layer has a `data_format`."""
    options = getattr(module, "options", {})  # of a layer without parameters
    layout = getattr(module, "data_format", None) or dict(options).get("data_format")
    if layout is None or not isinstance(x, jax.Array):
        return x
    return checkpoint_name(x, f"{INPUT}{layout}_{number}")


def check_layout(
    function: str,
    data_format: str,
    calls: Sequence[Call],
    name: str,
    reach: Reach,
    shape: tuple[int, ...],
) -> None:
    """Raise ValueError if a layer takes a spatial axis of the input for channels.

    A layer that is channels last may do so where the input is: `Conv` over exchanged
    axes mixes positions on purpose.

    Args:
        function: the public function's name, for messages.
        data_format: what the caller says of the input.
        calls: all calls of modules.
        name: that of an array, see `mark_input`; others are passed over.
        reach: what the array sees along a spatial axis of the input.
        shape: of the array.
    """
    layout, _, number = name.removeprefix(INPUT).rpartition("_")
    if not name.startswith(INPUT) or (layout, data_format) == ("channels_last",) * 2:
        return
    channels = 1 if layout == "channels_first" else len(shape) - 1
    if channels not in dict(reach.steps):
        return
    call = calls[int(number)]
    other = "first" if data_format == "channels_last" else "last"
    sizes = "(channels, *spatial)" if other == "first" else "(*spatial, channels)"
    raise ValueError(
        f"{function}: {call.kind.__name__} {path_name(call.path) or '(model)'} is "
        f"{layout} and takes a spatial axis of the input for its channels (pass "
        f"data_format='channels_{other}' and input_shape={sizes})"
    )

"""Arguments of `nnx.Conv` said in the terms of `jaxnets.functional.conv`."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxnets.functional._shapes import MOST_PIXELS, Padding, dilated_size

# Padding strings of nnx.Conv that say what stands in the padding, not how much.
FLAX_PADDINGS = {"CIRCULAR": "circular", "REFLECT": "reflect"}


def dilate_input(x: jax.Array, dilation: Sequence[int], data_format: str) -> jax.Array:
    """Put zeros between the cells of x; too few axes are left for `conv` to refuse."""
    rank = len(dilation)
    if x.ndim <= rank or max(dilation) == 1:
        return x
    first = x.ndim - rank - (data_format == "channels_last")
    for axis, (size, d) in enumerate(zip(x.shape[first:], dilation, strict=False)):
        if dilated_size(size, d) > MOST_PIXELS:
            raise ValueError(
                f"Conv: input_dilation must leave at most {MOST_PIXELS} pixels "
                f"along an axis; {d} makes {dilated_size(size, d)} of axis {axis} "
                f"(x.shape={x.shape})"
            )
    interior = [(0, 0, 0)] * x.ndim
    interior[first : first + rank] = [(0, 0, d - 1) for d in dilation]
    return jax.lax.pad(x, jnp.zeros((), x.dtype), interior)


def own_padding(
    padding: Padding,
    padding_mode: str,
    window: Sequence[int],
    dilation: Sequence[int],
) -> tuple[Padding, str]:
    """Flax's padding strings in the terms of `jaxnets.functional.conv`."""
    mode = FLAX_PADDINGS.get(padding) if isinstance(padding, str) else None
    if mode is not None:
        if padding_mode != "zeros":
            raise ValueError(
                f"Conv: padding {padding!r} already says what stands in the padding; "
                f"got padding_mode={padding_mode!r} (leave it out)"
            )
        reach = [dilated_size(*axis) - 1 for axis in zip(window, dilation, strict=True)]
        padding, padding_mode = tuple((n // 2, n - n // 2) for n in reach), mode
    return padding, padding_mode


def refuse(conv_general_dilated: Any, preferred_element_type: Any) -> None:
    """Raise for what `nnx.Conv` takes and `Conv` does not."""
    if conv_general_dilated is not None:
        raise TypeError(
            "Conv: conv_general_dilated cannot be replaced (choose the routine with "
            "algorithm=, or use nnx.Conv)"
        )
    if preferred_element_type is not None:
        raise TypeError(
            "Conv: preferred_element_type is not supported; half types are summed in "
            "float32 and rounded once (for another output dtype use dtype=)"
        )

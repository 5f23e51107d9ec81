"""Arguments of `nnx.ConvTranspose` in the terms of our `conv_transpose`."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxnets.functional._checks import check_choice
from jaxnets.functional._shapes import Padding, canonical_padding, dilated_size

_PADDINGS = ("SAME", "VALID", "CIRCULAR")


def transposed(kernel: jax.Array, groups: int) -> jax.Array:
    """A kernel `(*window, in // groups, out)` as that of the transposed convolution."""
    *window, fan_in, out = kernel.shape
    rank = len(window)
    kernel = jnp.flip(kernel, tuple(range(rank)))
    kernel = kernel.reshape(*window, fan_in, groups, out // groups)
    return jnp.swapaxes(kernel, -3, -1).reshape(*window, out // groups, groups * fan_in)


def checked_padding(
    padding: Padding, window: Sequence[int], output_padding: Sequence[int]
) -> Any:
    """A name in capitals, or (lo, hi) pairs."""
    if not isinstance(padding, str):
        ones = (1,) * len(window)
        return canonical_padding("ConvTranspose", padding, ones, window, ones, ones)
    check_choice("ConvTranspose", "padding", padding.upper(), _PADDINGS)
    if any(output_padding):
        raise ValueError(
            "ConvTranspose: output_padding needs padding in numbers; got "
            f"{tuple(output_padding)} with padding={padding!r}"
        )
    return padding.upper()


def cut_and_added(
    padding: Any,
    output_padding: tuple[int, ...],
    window: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
) -> tuple[Padding, tuple[int, ...], list[tuple[int, int, int]]]:
    """Flax's padding in the terms of `conv_transpose`.

    Args:
        padding: as `checked_padding` returns it.
        output_padding: cells added behind, an axis.
        window: taps an axis.
        strides: steps an axis.
        dilation: cells between taps, an axis.

    Returns:
        The padding and the output padding of `conv_transpose`, and the cells of zeros
        to put around its result, as `lax.pad` takes them.
    """
    spans = [dilated_size(*axis) for axis in zip(window, dilation, strict=True)]
    beside = [(0, 0, 0)] * len(spans)
    if padding == "SAME":
        return "SAME", output_padding, beside
    if isinstance(padding, str):
        # Flax's VALID has at least size · stride cells.
        short = (max(s - w, 0) for s, w in zip(strides, spans, strict=True))
        return "VALID", tuple(short), beside
    cut = [(w - 1 - lo, w - 1 - hi) for w, (lo, hi) in zip(spans, padding, strict=True)]
    beside = [(max(-lo, 0), max(-hi, 0), 0) for lo, hi in cut]
    return tuple((max(lo, 0), max(hi, 0)) for lo, hi in cut), output_padding, beside


def wrap(
    y: jax.Array, periods: Sequence[int], first: int, *, odd_behind: bool
) -> jax.Array:
    """Add up the cells that are a period apart, as Flax's CIRCULAR does."""
    for axis, period in enumerate(periods, start=first):
        # Whole periods with an even number of cells more, y in their middle.
        missing = -(y.shape[axis] - period) % (2 * period)
        small, large = missing // 2, missing - missing // 2
        around = [(0, 0, 0)] * y.ndim
        around[axis] = (small, large, 0) if odd_behind else (large, small, 0)
        y = jax.lax.pad(y, jnp.zeros((), y.dtype), around)
        turns = y.shape[axis] // period
        y = y.reshape(*y.shape[:axis], turns, period, *y.shape[axis + 1 :])
        y = jnp.sum(y, axis, dtype=y.dtype)
    return y

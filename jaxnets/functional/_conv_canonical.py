"""Checks of a convolution's sizes and options, and their canonical form."""

from collections.abc import Sequence
from typing import Any

import jax

from jaxnets.functional._checks import (
    check_integer,
    check_integers,
    check_min_rank,
)
from jaxnets.functional._shapes import (
    MOST_PIXELS,
    IntOrInts,
    Padding,
    canonical_padding,
    dilated_size,
)
from jaxnets.functional.conv_algorithms import ConvFacts, ConvSpec
from jaxnets.functional.conv_algorithms._trim import trim


def check_conv_ranks(
    function: str, x_shape: Sequence[int], kernel_shape: Sequence[int]
) -> None:
    """Raise unless the kernel has a window and x as many spatial axes."""
    layout = "(*window, in // groups, out)"
    check_min_rank(function, "kernel", kernel_shape, 3, layout)
    rank = len(kernel_shape) - 2
    layout = (
        f"(*batch, *spatial, in) with {rank} spatial for a kernel of {rank + 2} axes"
    )
    check_min_rank(function, "x", x_shape, rank + 1, layout)


def canonical_conv(
    function: str,
    x_shape: Sequence[int],
    kernel_shape: Sequence[int],
    strides: IntOrInts,
    padding: Padding,
    dilation: IntOrInts,
    groups: int,
    precision: Any,
) -> tuple[ConvSpec, tuple[int, ...]]:
    """Check everything about sizes; return the spec and the output's spatial sizes."""
    *window, fan_in, out = kernel_shape
    rank = len(window)
    spatial, channels = tuple(x_shape[-rank - 1 : -1]), x_shape[-1]
    strides = check_integers(function, "strides", strides, length=rank, minimum=1)
    dilation = check_integers(function, "dilation", dilation, length=rank, minimum=1)
    groups = check_integer(function, "groups", groups, minimum=1)
    shapes = f"x.shape={tuple(x_shape)}, kernel.shape={tuple(kernel_shape)}"
    check_integers(function, "kernel's window", window, length=rank, minimum=1)
    if fan_in * groups != channels:
        times = f"{groups} groups of {fan_in}" if groups > 1 else f"{fan_in}"
        raise ValueError(
            f"{function}: kernel has {times} input channels but x has {channels} "
            f"({shapes}, groups={groups})"
        )
    if out % groups:
        raise ValueError(
            f"{function}: groups must divide the output channels; got {out} channels "
            f"in {groups} groups ({shapes})"
        )
    pads = canonical_padding(function, padding, spatial, window, strides, dilation)
    spec = ConvSpec(strides, pads, dilation, groups, _precision(precision))
    positions = spec.positions(spatial, tuple(window))
    for axis, count in enumerate(positions):
        if count == 0:
            raise ValueError(
                f"{function}: the window spans "
                f"{dilated_size(window[axis], dilation[axis])} cells but spatial axis "
                f"{axis} has only {spatial[axis]}, with padding {pads[axis]}; pad more "
                "(padding='SAME') or take a smaller window or dilation "
                f"({shapes})"
            )
        if count > MOST_PIXELS:
            raise ValueError(
                f"{function}: spatial axis {axis} would have {count} outputs, more "
                f"than {MOST_PIXELS}; take a smaller padding or dilation or a larger "
                f"stride (padding {pads[axis]}, {shapes})"
            )
    check_reach(function, spec, spatial, tuple(window))
    return spec, positions


def check_reach(
    function: str, spec: ConvSpec, spatial: tuple[int, ...], window: tuple[int, ...]
) -> None:
    """Raise if windows that meet pixels reach farther than integers count."""
    left = trim(ConvFacts(1, spatial, window, spec.groups, spec.groups, spec, ""))
    if left is None:
        return
    for axis, (taps, positions, stride, dilation) in enumerate(
        zip(
            left.facts.window,
            left.facts.positions,
            left.facts.spec.strides,
            left.facts.spec.dilation,
            strict=True,
        )
    ):
        reach = dilated_size(positions, stride) + dilated_size(taps, dilation)
        if reach > MOST_PIXELS:
            raise ValueError(
                f"{function}: strides {spec.strides[axis]} and dilation "
                f"{spec.dilation[axis]} reach over {reach} pixels along spatial axis "
                f"{axis}, more than {MOST_PIXELS}; take smaller ones "
                f"(padding {spec.padding[axis]})"
            )


def _precision(precision: Any) -> Any:
    """`precision` as a static value, JAX's default filled in while it is in force."""
    if precision is None:
        return jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]
    return tuple(precision) if isinstance(precision, list) else precision

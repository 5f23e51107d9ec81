"""Sizes of a transposed convolution, checked: integers only."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxnets.functional._checks import (
    check_choice,
    check_integer,
    check_integers,
    check_min_rank,
)
from jaxnets.functional._conv_canonical import _precision
from jaxnets.functional._shapes import (
    DATA_FORMATS,
    MOST_PIXELS,
    DataFormat,
    IntOrInts,
    Padding,
    canonical_padding,
    dilated_size,
)
from jaxnets.functional.conv_algorithms import ConvSpec


class Scatter(NamedTuple):
    """What the cells of x are spread to along one spatial axis.

    Cell i of x adds to the cells stride · i + dilation · t of a line, t the taps; the
    output is `size` cells of that line from `lo` on, and zeros where it ends earlier.
    """

    lo: int
    size: int


def conv_transpose_output_shape(
    x_shape: Sequence[int],
    kernel_shape: Sequence[int],
    *,
    strides: IntOrInts = 1,
    padding: Padding = "SAME",
    output_padding: IntOrInts = 0,
    dilation: IntOrInts = 1,
    groups: int = 1,
    data_format: DataFormat = "channels_last",
) -> tuple[int, ...]:
    """The shape that `conv_transpose` returns for these shapes and options.

        positions = (size − 1) · stride − lo − hi + dilation · (window − 1) + 1
        + output_padding

    Args:
        x_shape: `(*batch, *spatial, in)` or `(*batch, in, *spatial)`.
        kernel_shape: `(*window, out // groups, in)`.
        strides: as in `conv_transpose`.
        padding: as in `conv_transpose`.
        output_padding: as in `conv_transpose`.
        dilation: as in `conv_transpose`.
        groups: as in `conv_transpose`.
        data_format: as in `conv_transpose`.

    Returns:
        `(*batch, *positions, out)` or `(*batch, out, *positions)` as a tuple of ints.

    Raises:
        TypeError: if an option has the wrong type.
        ValueError: as `conv_transpose` does.

    Example:
        >>> conv_transpose_output_shape((8, 7, 7, 16), (5, 5, 6, 16), strides=2)
        (8, 14, 14, 6)

    Source:
        Dumoulin and Visin, arXiv:1603.07285, relationship 14.
    """
    spec, scatters = transposed_geometry(
        x_shape,
        kernel_shape,
        strides,
        padding,
        output_padding,
        dilation,
        groups,
        data_format,
        None,
    )
    rank = len(kernel_shape) - 2
    batch = tuple(x_shape[: -rank - 1])
    positions = tuple(s.size for s in scatters)
    out = kernel_shape[-2] * spec.groups
    if data_format == "channels_first":
        return (*batch, out, *positions)
    return (*batch, *positions, out)


def transposed_geometry(
    x_shape: Sequence[int],
    kernel_shape: Sequence[int],
    strides: IntOrInts,
    padding: Padding,
    output_padding: IntOrInts,
    dilation: IntOrInts,
    groups: int,
    data_format: DataFormat,
    precision: Any,
) -> tuple[ConvSpec, list[Scatter]]:
    """Check everything about sizes; return the spec and where the output lies."""
    function = "conv_transpose"
    check_choice(function, "data_format", data_format, DATA_FORMATS)
    layout = "(*window, out // groups, in)"
    check_min_rank(function, "kernel", kernel_shape, 3, layout)
    *window, _, channels = kernel_shape
    rank = len(window)
    layout = (
        f"(*batch, *spatial, in) with {rank} spatial for a kernel of {rank + 2} axes"
    )
    check_min_rank(function, "x", x_shape, rank + 1, layout)
    *spatial, features = x_shape[-rank - 1 :]
    if data_format == "channels_first":
        features, *spatial = x_shape[-rank - 1 :]
    shapes = f"x.shape={tuple(x_shape)}, kernel.shape={tuple(kernel_shape)}"
    strides = check_integers(function, "strides", strides, length=rank, minimum=1)
    dilation = check_integers(function, "dilation", dilation, length=rank, minimum=1)
    check_integers(function, "kernel's window", window, length=rank, minimum=1)
    groups = check_integer(function, "groups", groups, minimum=1)
    if channels != features:
        raise ValueError(
            f"{function}: kernel has {channels} input channels but x has {features} "
            f"({shapes}; the kernel is (*window, out // groups, in))"
        )
    if channels % groups:
        raise ValueError(
            f"{function}: groups must divide the input channels; got {channels} "
            f"channels in {groups} groups ({shapes})"
        )
    more = check_integers(
        function, "output_padding", output_padding, length=rank, minimum=0
    )
    lines = [
        (size - 1) * stride + dilated_size(taps, step)
        for size, taps, stride, step in zip(
            spatial, window, strides, dilation, strict=True
        )
    ]
    name = padding.upper() if isinstance(padding, str) else ""
    if name == "CAUSAL":
        spans = [dilated_size(*axis) for axis in zip(window, dilation, strict=True)]
        late = tuple((0, max(w - s, 0)) for w, s in zip(spans, strides, strict=True))
        turned = tuple((w - 1, 0) for w in spans)
        raise ValueError(
            f"{function}: padding='CAUSAL' could mean two things (write {late} for "
            f"outputs that see no later cell, {turned} for the transpose of a causal "
            "convolution)"
        )
    if name.startswith("SAME") and any(more):
        raise ValueError(
            f"{function}: output_padding needs padding in numbers or 'VALID'; got "
            f"{output_padding} with padding={padding!r}, which says the size itself"
        )
    for axis, cells in enumerate(more):
        if cells >= max(strides[axis], dilation[axis]):
            raise ValueError(
                f"{function}: output_padding must be below the stride or the dilation "
                f"of its axis; got {cells} along spatial axis {axis} (stride="
                f"{strides[axis]}, dilation={dilation[axis]})"
            )
    wanted = [size * stride for size, stride in zip(spatial, strides, strict=True)]
    pads = canonical_padding(function, padding, wanted, window, strides, dilation)
    if name.startswith("SAME"):
        sizes = wanted
    else:
        sizes = [
            line - lo - hi + cells
            for line, (lo, hi), cells in zip(lines, pads, more, strict=True)
        ]
    for axis, size in enumerate(sizes):
        if size < 1 or spatial[axis] < 1:
            raise ValueError(
                f"{function}: the output must have at least one cell; {spatial[axis]} "
                f"cells of spatial axis {axis} are spread over {max(lines[axis], 0)}, "
                f"of which padding {pads[axis]} takes all (use less padding; {shapes})"
            )
        if size > MOST_PIXELS:
            raise ValueError(
                f"{function}: spatial axis {axis} would have {size} outputs, more than "
                f"{MOST_PIXELS}; take smaller strides or a smaller dilation ({shapes}, "
                f"strides={strides}, dilation={dilation})"
            )
    spec = ConvSpec(strides, ((0, 0),) * rank, dilation, groups, _precision(precision))
    scatters = [Scatter(lo, size) for (lo, _), size in zip(pads, sizes, strict=True)]
    return spec, scatters

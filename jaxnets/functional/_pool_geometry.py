"""Where the windows of a pool lie: arguments checked once, then integers an axis."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnets.functional._checks import (
    check_choice,
    check_integers,
    check_min_rank,
)
from jaxnets.functional._shapes import (
    DATA_FORMATS,
    DataFormat,
    IntOrInts,
    Padding,
    canonical_padding,
    dilated_size,
    output_size,
)

MOST_BEYOND, MOST_SEEN = 2**28, 2**30
"""Pixels along an axis: padding that is written out, and those of all windows."""

LONG_STEP = 2**16
"""Pixels of a step that is not kept where no second window, or tap, takes it."""


class AxisWindow(NamedTuple):
    """The windows along one spatial axis.

    Tap j of output o sees cell o · stride − lo + j · dilation.

    Attributes:
        size: cells of the input.
        taps: cells that a window looks at.
        stride: steps between windows.
        dilation: steps between taps.
        lo: padded cells before the data.
        hi: padded cells behind the data, as the caller wrote them.
        outputs: number of windows.
    """

    size: int
    taps: int
    stride: int
    dilation: int
    lo: int
    hi: int
    outputs: int

    def cells(self) -> np.ndarray:
        """The cell of the unpadded input that each tap sees: `(outputs, taps)`."""
        starts = np.arange(self.outputs)[:, None] * self.stride - self.lo
        return starts + np.arange(self.taps) * self.dilation

    def real(self) -> np.ndarray:
        """Which taps see data, not padding: `(outputs, taps)`, bool."""
        cells = self.cells()
        return (cells >= 0) & (cells < self.size)

    def idle(self) -> bool:
        """Whether every output is the cell in its own place."""
        return self.taps == 1 == self.stride and self.lo == 0 == self.hi

    def overlaps(self) -> int:
        """How many blocks of `stride` cells a window reaches over."""
        return -(-dilated_size(self.taps, self.dilation) // self.stride)

    def blocks(self) -> int:
        """How many blocks of `stride` cells all windows reach over together."""
        return self.outputs + self.overlaps() - 1

    def taps_in_block(self, block: int) -> np.ndarray:
        """Which tap of a window sees each cell of its `block`-th block, −1 for none."""
        offset = block * self.stride + np.arange(self.stride)
        tap, rest = np.divmod(offset, self.dilation)
        return np.where((rest == 0) & (tap < self.taps), tap, -1)

    def tap_slices(self, x: jax.Array, axis: int) -> list[jax.Array]:
        """What each tap sees, as strided slices of a fitted x: `taps` arrays."""
        reach = (self.outputs - 1) * self.stride + 1
        starts = range(0, self.taps * self.dilation, self.dilation)
        return [
            lax.slice_in_dim(x, start, start + reach, self.stride, axis)
            for start in starts
        ]


Geometry = tuple[AxisWindow, ...]


def pool_geometry(
    function: str,
    shape: Sequence[int],
    window: Sequence[int],
    *,
    strides: IntOrInts | None,
    padding: Padding,
    dilation: IntOrInts,
    ceil_mode: bool,
    data_format: DataFormat,
) -> Geometry:
    """Check a pool's arguments and place its windows.

    Args:
        function: the public function's name, for messages.
        shape: `(*batch, *spatial, channels)`, or channels before the spatial axes.
        window: taps, one entry a spatial axis.
        strides: steps between windows; None means the window.
        padding: any spelling of `canonical_padding`.
        dilation: steps between taps.
        ceil_mode: round the number of windows up (PyTorch's rule).
        data_format: where the channel axis stands.

    Returns:
        One `AxisWindow` a spatial axis.

    Raises:
        TypeError: if a size is not an integer.
        ValueError: if a rule is broken; the message names it.
    """
    taps = check_integers(function, "window", window, length=None, minimum=1)
    rank = len(taps)
    if rank == 0:
        raise ValueError(
            f"{function}: window must have at least one entry, one a spatial axis; "
            f"got {window!r}"
        )
    check_choice(function, "data_format", data_format, DATA_FORMATS)
    last = data_format == "channels_last"
    layout = "(*batch, *spatial, channels)" if last else "(*batch, channels, *spatial)"
    check_min_rank(function, "x", shape, rank + 1, f"{layout} for window={taps}")
    sizes = tuple(shape[-rank - 1 : -1] if last else shape[-rank:])
    steps = taps
    if strides is not None:
        steps = check_integers(function, "strides", strides, length=rank, minimum=1)
    spread = check_integers(function, "dilation", dilation, length=rank, minimum=1)
    pads = canonical_padding(function, padding, sizes, taps, steps, spread)
    geometry = tuple(
        _axis_window(n, k, s, d, pad, ceil_mode)
        for n, k, s, d, pad in zip(sizes, taps, steps, spread, pads, strict=True)
    )
    for axis, a in enumerate(geometry):
        if a.outputs == 0:
            span = dilated_size(a.taps, a.dilation)
            raise ValueError(
                f"{function}: window must fit into the padded input; along spatial "
                f"axis {axis} it spans {span} cells of {a.size + a.lo + a.hi} "
                f"(window={taps}, dilation={spread}, sizes={sizes}, padding={pads})"
            )
        reach = dilated_size(a.outputs, a.stride) + dilated_size(a.taps, a.dilation)
        if reach - a.size > MOST_BEYOND or a.outputs * a.taps > MOST_SEEN:
            raise ValueError(
                f"{function}: windows must reach at most {MOST_BEYOND} pixels beyond x "
                f"and see at most {MOST_SEEN} along an axis; along spatial axis {axis} "
                f"they reach over {reach} and see {a.outputs * a.taps} (window={taps}, "
                f"strides={steps}, dilation={spread}, sizes={sizes}, padding={pads}); "
                "take a smaller window, dilation or padding"
            )
    return geometry


def _axis_window(
    size: int,
    taps: int,
    stride: int,
    dilation: int,
    pad: tuple[int, int],
    ceil_mode: bool,
) -> AxisWindow:
    """The windows along an axis; long steps that none takes are shortened."""
    outputs = output_size(size, taps, stride, dilation, pad, ceil_mode=ceil_mode)
    if taps == 1 and dilation > LONG_STEP:
        dilation = 1
    if outputs == 1 and stride > LONG_STEP:
        stride = dilated_size(taps, dilation)
    return AxisWindow(size, taps, stride, dilation, *pad, outputs)


def check_no_empty_window(function: str, geometry: Geometry) -> None:
    """Raise ValueError if some window sees padding only, where that has no value."""
    for axis, a in enumerate(geometry):
        empty = np.flatnonzero(~a.real().any(axis=1))
        if empty.size:
            raise ValueError(
                f"{function}: every window must see at least one cell of x; window "
                f"{empty[0]} along spatial axis {axis} sees padding only "
                f"(size={a.size}, window={a.taps}, stride={a.stride}, "
                f"dilation={a.dilation}, padding=({a.lo}, {a.hi}); use less padding)"
            )


def to_channels_last(x: jax.Array, rank: int, data_format: DataFormat) -> jax.Array:
    """Move the channel axis behind the `rank` spatial axes."""
    return x if data_format == "channels_last" else jnp.moveaxis(x, -rank - 1, -1)


def from_channels_last(y: jax.Array, rank: int, data_format: DataFormat) -> jax.Array:
    """Move the channel axis back to where the caller has it."""
    return y if data_format == "channels_last" else jnp.moveaxis(y, -1, -rank - 1)


def fit(
    x: jax.Array, axis: int, a: AxisWindow, fill: jax.Array, cells: int | None = None
) -> jax.Array:
    """Pad with `fill`, or cut off cells, so that the windows cover x exactly.

    Args:
        x: an array with `a.size` cells along `axis`.
        axis: the axis to fit.
        a: the windows along it.
        fill: what padded cells hold.
        cells: size of the result along `axis`; None means what the windows reach over.

    Returns:
        x with `cells` cells along `axis`, the first window beginning at the first.
    """
    if cells is None:
        cells = (a.outputs - 1) * a.stride + dilated_size(a.taps, a.dilation)
    hi = cells - a.size - a.lo
    if a.lo == 0 and hi == 0:
        return x
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (a.lo, hi, 0)
    return lax.pad(x, fill, config)

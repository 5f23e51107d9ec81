"""Convolution as neural networks use it: checks, canonical form, algorithm, bias."""

from collections.abc import Sequence
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnets.functional import _conv_primitive
from jaxnets.functional._checks import (
    check_choice,
    check_integer,
    check_integers,
    check_min_rank,
    check_shape,
)
from jaxnets.functional._shapes import (
    DATA_FORMATS,
    DataFormat,
    IntOrInts,
    Padding,
    canonical_padding,
    dilated_size,
)
from jaxnets.functional.conv_algorithms import ALGORITHMS, ConvSpec

_NUMPY_PAD_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
_PADDING_MODES = ("zeros", *_NUMPY_PAD_MODES)


def conv(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    strides: IntOrInts = 1,
    padding: Padding = "SAME",
    dilation: IntOrInts = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    data_format: DataFormat = "channels_last",
    flip_kernel: bool = False,
    algorithm: str = "auto",
    precision: Any = None,
) -> jax.Array:
    """Convolve a batch of signals, images or volumes with a bank of kernels.

        y[n, p, o] = bias[o] + Σ_{t,c} x[n, s · p + d · t − lo, c] kernel[t, c, o]

    with s the strides, d the dilation and lo the padding before the data.

    This is the cross-correlation that neural networks call convolution;
    `flip_kernel=True` gives the true one, K[−t]. The rank of the kernel says how many
    spatial axes there are.

    Args:
        x: `(*batch, *spatial, in)`, any number of batch axes, none included; with
            `data_format="channels_first"` `(*batch, in, *spatial)`.
        kernel: `(*window, in // groups, out)` in either format.
        bias: `(out,)`, or None.
        strides: cells from one window to the next, for all axes or one an axis.
        padding: `"VALID"` (none), `"SAME"` (ceil(size / stride) outputs, an odd cell
            behind), `"SAME_LOWER"` (an odd cell before), `"FULL"` (every cell meets
            every tap), `"CAUSAL"` (no output sees a later cell), an int, or one int
            or (lo, hi) pair an axis.
        dilation: cells from one tap to the next, for all axes or one an axis.
        groups: the channels are cut into this many groups, convolved apart.
        padding_mode: what stands in the padding: `"zeros"`, `"reflect"` (mirrored at
            the border cell), `"replicate"` (the border cell) or `"circular"`.
        data_format: where the channels of x and y stand.
        flip_kernel: turn the window over along every axis first.
        algorithm: `"auto"` (the rule of `_conv_plan`), or `"direct"` (XLA's own) or
            `"gemm"` (patches and matrix products) for it and both gradients.
        precision: as in `jax.lax.conv_general_dilated`; None takes JAX's default.

    Returns:
        `(*batch, *positions, out)`, or `(*batch, out, *positions)`, in the promoted
        dtype of x and kernel; halves are summed in float32.

    Raises:
        TypeError: if an option has the wrong type.
        ValueError: if shapes or options do not fit together; the message says which.

    Example:
        >>> import jax.numpy as jnp
        >>> signal = jnp.array([1.0, 2.0, 3.0])[:, None]
        >>> kernel = jnp.array([4.0, 5.0, 6.0])[:, None, None]
        >>> conv(signal, kernel, padding="FULL", flip_kernel=True)[:, 0].tolist()
        [4.0, 13.0, 28.0, 27.0, 18.0]

    Source:
        Goodfellow, Bengio, Courville, Deep Learning (2016), chapter 9, with indices
        from 0; Dumoulin and Visin, arXiv:1603.07285, for the sizes.
    """
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    check_choice("conv", "data_format", data_format, DATA_FORMATS)
    check_choice("conv", "padding_mode", padding_mode, _PADDING_MODES)
    check_choice("conv", "algorithm", algorithm, ("auto", *ALGORITHMS))
    _check_ranks(x.shape, kernel.shape)
    rank = kernel.ndim - 2
    if data_format == "channels_first":
        x = jnp.moveaxis(x, -rank - 1, -1)
    spec, _ = _canonical(
        x.shape, kernel.shape, strides, padding, dilation, groups, precision
    )
    dtype = _common_dtype(x, kernel)
    x, kernel = x.astype(dtype), kernel.astype(dtype)

    if flip_kernel:
        kernel = jnp.flip(kernel, range(rank))
    batch = x.shape[: -rank - 1]
    x = x.reshape(prod(batch), *x.shape[-rank - 1 :])
    if padding_mode != "zeros":
        x = _pad(x, spec, padding_mode)
        spec = spec._replace(padding=((0, 0),) * rank)
    y = _conv_primitive.conv(x, kernel, spec, algorithm)
    y = y.reshape(*batch, *y.shape[1:])
    if bias is not None:
        bias = jnp.asarray(bias)
        check_shape(
            "conv", "bias", bias.shape, kernel.shape[-1:], "one an output channel"
        )
        y = y + jnp.broadcast_to(bias.astype(dtype), y.shape)
    return y if data_format == "channels_last" else jnp.moveaxis(y, -1, -rank - 1)


def conv_output_shape(
    x_shape: Sequence[int],
    kernel_shape: Sequence[int],
    *,
    strides: IntOrInts = 1,
    padding: Padding = "SAME",
    dilation: IntOrInts = 1,
    groups: int = 1,
    data_format: DataFormat = "channels_last",
) -> tuple[int, ...]:
    """The shape that `conv` returns for these shapes and options.

        positions = floor((size + lo + hi − dilation · (window − 1) − 1) / stride) + 1

    Args:
        x_shape: `(*batch, *spatial, in)` or `(*batch, in, *spatial)`.
        kernel_shape: `(*window, in // groups, out)`.
        strides: as in `conv`.
        padding: as in `conv`.
        dilation: as in `conv`.
        groups: as in `conv`.
        data_format: as in `conv`.

    Returns:
        `(*batch, *positions, out)` or `(*batch, out, *positions)` as a tuple of ints.

    Raises:
        TypeError: if an option has the wrong type.
        ValueError: as `conv` does.

    Example:
        >>> conv_output_shape((8, 28, 28, 1), (5, 5, 1, 6), strides=2, padding="VALID")
        (8, 12, 12, 6)

    Source:
        Dumoulin and Visin, arXiv:1603.07285, relationship 6.
    """
    check_choice("conv", "data_format", data_format, DATA_FORMATS)
    _check_ranks(x_shape, kernel_shape)
    rank = len(kernel_shape) - 2
    batch, image = tuple(x_shape[: -rank - 1]), tuple(x_shape[-rank - 1 :])
    if data_format == "channels_first":
        image = (*image[1:], image[0])
    _, positions = _canonical(
        (*batch, *image), kernel_shape, strides, padding, dilation, groups, None
    )
    out = kernel_shape[-1]
    if data_format == "channels_first":
        return (*batch, out, *positions)
    return (*batch, *positions, out)


def _check_ranks(x_shape: Sequence[int], kernel_shape: Sequence[int]) -> None:
    layout = "(*window, in // groups, out)"
    check_min_rank("conv", "kernel", kernel_shape, 3, layout)
    rank = len(kernel_shape) - 2
    layout = (
        f"(*batch, *spatial, in) with {rank} spatial for a kernel of {rank + 2} axes"
    )
    check_min_rank("conv", "x", x_shape, rank + 1, layout)


def _canonical(
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
    strides = check_integers("conv", "strides", strides, length=rank, minimum=1)
    dilation = check_integers("conv", "dilation", dilation, length=rank, minimum=1)
    groups = check_integer("conv", "groups", groups, minimum=1)
    shapes = f"x.shape={tuple(x_shape)}, kernel.shape={tuple(kernel_shape)}"
    check_integers("conv", "kernel's window", window, length=rank, minimum=1)
    if fan_in * groups != channels:
        times = f"{groups} groups of {fan_in}" if groups > 1 else f"{fan_in}"
        raise ValueError(
            f"conv: kernel has {times} input channels but x has {channels} "
            f"({shapes}, groups={groups})"
        )
    if out % groups:
        raise ValueError(
            f"conv: groups must divide the output channels; got {out} channels in "
            f"{groups} groups ({shapes})"
        )
    pads = canonical_padding("conv", padding, spatial, window, strides, dilation)
    spec = ConvSpec(strides, pads, dilation, groups, _precision(precision))
    positions = spec.positions(spatial, tuple(window))
    for axis, count in enumerate(positions):
        if count == 0:
            raise ValueError(
                f"conv: the window spans {dilated_size(window[axis], dilation[axis])} "
                f"cells but spatial axis {axis} has only {spatial[axis]}, with padding "
                f"{pads[axis]}; pad more (padding='SAME') or take a smaller window or "
                f"dilation ({shapes})"
            )
    return spec, positions


def _precision(precision: Any) -> Any:
    """`precision` as a static value, JAX's default filled in while it is in force."""
    if precision is None:
        return jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]
    return tuple(precision) if isinstance(precision, list) else precision


def _common_dtype(x: jax.Array, kernel: jax.Array) -> jnp.dtype:
    dtype = jnp.result_type(x, kernel)
    if dtype == jnp.bool_:
        raise TypeError("conv: x and kernel must be numbers; got booleans (cast one)")
    return dtype


def _pad(x: jax.Array, spec: ConvSpec, padding_mode: str) -> jax.Array:
    """Write the content of the padding out, for modes other than zeros."""
    for axis, size in enumerate(x.shape[1:-1]):
        if size == 0:
            raise ValueError(
                f"conv: padding_mode={padding_mode!r} needs cells to copy but spatial "
                f"axis {axis} is empty (x.shape={x.shape})"
            )
    widths, mode = (*spec.padding, (0, 0)), _NUMPY_PAD_MODES[padding_mode]
    # Image by image: `jnp.pad` slices axes that it does not pad, which a batch that is
    # cut over a mesh with explicit axes does not allow.
    return jax.vmap(lambda image: jnp.pad(image, widths, mode=mode))(x)

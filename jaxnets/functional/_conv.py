"""Convolution as neural networks use it: checks, canonical form, algorithm, bias."""

from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnets.functional import _conv_primitive
from jaxnets.functional._checks import check_choice, check_shape
from jaxnets.functional._conv_canonical import canonical_conv, check_conv_ranks
from jaxnets.functional._conv_plan import ConvPlan, make_plan, refusal
from jaxnets.functional._pad_modes import pad_by_copies
from jaxnets.functional._shapes import (
    DATA_FORMATS,
    DataFormat,
    IntOrInts,
    Padding,
)
from jaxnets.functional.conv_algorithms import ConvFacts, ConvSpec

_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


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
    algorithm: str | ConvPlan = "auto",
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
        algorithm: `"auto"` (see `conv_plan`), or for it and both gradients `"direct"`
            (XLA's own), `"gemm"` (patches and matrix products), `"shift"` (tap by
            tap), `"winograd"`, `"fft"` or `"overlap_add"` (FFT in blocks), or a
            `ConvPlan`.
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
    check_conv_ranks("conv", x.shape, kernel.shape)
    rank = kernel.ndim - 2
    if data_format == "channels_first":
        x = jnp.moveaxis(x, -rank - 1, -1)
    spec, _ = canonical_conv(
        "conv", x.shape, kernel.shape, strides, padding, dilation, groups, precision
    )
    dtype = _common_dtype(x, kernel)
    x, kernel = x.astype(dtype), kernel.astype(dtype)

    if flip_kernel:
        kernel = jnp.flip(kernel, range(rank))
    batch = x.shape[: -rank - 1]
    x = x.reshape(prod(batch), *x.shape[-rank - 1 :])
    plan = _plan(algorithm, x, kernel, spec)
    if padding_mode != "zeros":
        x = _pad(x, spec, padding_mode)
        spec = spec._replace(padding=((0, 0),) * rank)
    y = _conv_primitive.conv(x, kernel, spec, plan)
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
    check_conv_ranks("conv", x_shape, kernel_shape)
    rank = len(kernel_shape) - 2
    batch, image = tuple(x_shape[: -rank - 1]), tuple(x_shape[-rank - 1 :])
    if data_format == "channels_first":
        image = (*image[1:], image[0])
    _, positions = canonical_conv(
        "conv", (*batch, *image), kernel_shape, strides, padding, dilation, groups, None
    )
    out = kernel_shape[-1]
    if data_format == "channels_first":
        return (*batch, out, *positions)
    return (*batch, *positions, out)


def _plan(
    algorithm: str | ConvPlan, x: jax.Array, kernel: jax.Array, spec: ConvSpec
) -> ConvPlan:
    """The plan that an argument means, if it can run this convolution."""
    if not isinstance(algorithm, str | ConvPlan):
        raise TypeError(
            f"conv: algorithm must be a name or a ConvPlan; got {algorithm!r}"
        )
    plan = algorithm if isinstance(algorithm, ConvPlan) else make_plan([algorithm] * 3)
    batch, *spatial, channels = x.shape
    *window, _, out = kernel.shape
    facts = ConvFacts(
        batch, tuple(spatial), tuple(window), channels, out, spec, x.dtype.name
    )
    reason = refusal(plan, facts)
    if reason is not None:
        raise ValueError(f"conv: algorithm {reason}")
    return plan._replace(facts=None)


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
    # Image by image: `jnp.pad` slices axes that it does not pad, which a batch that is
    # cut over a mesh with explicit axes does not allow.
    pad = partial(pad_by_copies, "conv", padding=spec.padding, mode=padding_mode)
    return jax.vmap(pad)(x)

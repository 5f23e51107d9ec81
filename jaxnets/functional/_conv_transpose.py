"""Transposed convolution: the linear map that `conv` applies, turned round."""

from collections.abc import Sequence
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxnets.functional import _conv_primitive
from jaxnets.functional._checks import check_shape
from jaxnets.functional._conv_canonical import check_reach
from jaxnets.functional._conv_plan import ConvPlan, refusal
from jaxnets.functional._conv_transpose_shapes import Scatter, transposed_geometry
from jaxnets.functional._shapes import (
    DataFormat,
    IntOrInts,
    Padding,
    dilated_size,
)
from jaxnets.functional.conv_algorithms import ConvFacts, ConvSpec


def conv_transpose(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    strides: IntOrInts = 1,
    padding: Padding = "SAME",
    output_padding: IntOrInts = 0,
    dilation: IntOrInts = 1,
    groups: int = 1,
    data_format: DataFormat = "channels_last",
    flip_kernel: bool = False,
    algorithm: str | ConvPlan = "auto",
    precision: Any = None,
) -> jax.Array:
    """Apply the transpose of a convolution: spread every cell of x by the kernel.

        y[n, q, o] = bias[o] + Σ_{p, t: s · p + d · t − lo = q} Σ_c x[n, p, c]
        kernel[t, o, c]

    with s the strides, d the dilation and lo the padding before the data. Everything
    is said in terms of the convolution that is transposed, `conv(y, kernel)` with the
    same options, which takes y to the shape of x: ⟨conv(y, k), x⟩ = ⟨y,
    conv_transpose(x, k)⟩. So its padding cuts cells off here. It is also PyTorch's
    `ConvTranspose`, Keras's `Conv2DTranspose` and what is called deconvolution.

    Args:
        x: `(*batch, *spatial, in)`, any number of batch axes, none included; with
            `data_format="channels_first"` `(*batch, in, *spatial)`.
        kernel: `(*window, out // groups, in)` in either format.
        bias: `(out,)`, or None.
        strides: cells of y from one cell of x to the next.
        padding: `"SAME"` (y has size × stride cells, an odd cell is cut off behind),
            `"SAME_LOWER"` (an odd cell before), `"VALID"` (nothing is cut off),
            `"FULL"` (what a full convolution adds is cut off), an int, or one int or
            (lo, hi) pair an axis.
        output_padding: cells added behind y, fewer than the stride or the dilation:
            which of the sizes that the convolution takes to the size of x is meant.
            Not with `"SAME"`, which says the size.
        dilation: cells from one tap to the next.
        groups: the channels are cut into this many groups, convolved apart.
        data_format: where the channels of x and y stand.
        flip_kernel: turn the window over along every axis first.
        algorithm: as in `conv`, for the convolution that is transposed.
        precision: as in `conv`.

    Returns:
        `(*batch, *positions, out)`, or `(*batch, out, *positions)`, in the promoted
        dtype of x and kernel, with positions = (size − 1) · stride − lo − hi + dilation
        · (window − 1) + 1 + output_padding; halves are summed in float32.

    Raises:
        TypeError: if an option has the wrong type.
        ValueError: if shapes or options do not fit together; the message says which.

    Example:
        >>> import jax.numpy as jnp
        >>> signal, kernel = jnp.array([1.0, 2.0]), jnp.array([1.0, 10.0, 100.0])
        >>> y = conv_transpose(
        ...     signal[:, None], kernel[:, None, None], strides=2, padding="VALID"
        ... )
        >>> y[:, 0].tolist()
        [1.0, 10.0, 102.0, 20.0, 200.0]

    Source:
        Dumoulin and Visin, arXiv:1603.07285, chapter 4; Zeiler et al., Deconvolutional
        Networks (2010).
    """
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    spec, scatters = transposed_geometry(
        x.shape,
        kernel.shape,
        strides,
        padding,
        output_padding,
        dilation,
        groups,
        data_format,
        precision,
    )
    rank = kernel.ndim - 2
    if data_format == "channels_first":
        x = jnp.moveaxis(x, -rank - 1, -1)
    dtype = jnp.result_type(x, kernel)
    if dtype == jnp.bool_:
        raise TypeError(
            "conv_transpose: x and kernel must be numbers; got booleans (cast one)"
        )
    kernel = kernel.astype(dtype)
    if flip_kernel:
        kernel = jnp.flip(kernel, tuple(range(rank)))
    y = _spread(x.astype(dtype), kernel, spec, scatters, algorithm)
    if bias is not None:
        bias = jnp.asarray(bias)
        check_shape(
            "conv_transpose", "bias", bias.shape, y.shape[-1:], "one an output channel"
        )
        y = y + jnp.broadcast_to(bias.astype(dtype), y.shape)
    return y if data_format == "channels_last" else jnp.moveaxis(y, -1, -rank - 1)


def _spread(
    x: jax.Array,
    kernel: jax.Array,
    spec: ConvSpec,
    scatters: Sequence[Scatter],
    algorithm: str | ConvPlan,
) -> jax.Array:
    """Spread x by the kernel and keep what `scatters` says; `spec` has no padding yet.

    Args:
        x: `(*batch, *spatial, in)`.
        kernel: `(*window, out // groups, in)`, of the same dtype.
        spec: strides, dilation, groups and precision.
        scatters: where the output lies, one an axis.
        algorithm: as in `conv`.

    Returns:
        `(*batch, *sizes, out)`.
    """
    rank = kernel.ndim - 2
    batch, image = x.shape[: -rank - 1], x.shape[-rank - 1 :]
    behind, padding = [(0, 0, 0)] * len(batch), []
    for size, taps, stride, dilation, (lo, cells) in zip(
        image[:-1],
        kernel.shape[:-2],
        spec.strides,
        spec.dilation,
        scatters,
        strict=True,
    ):
        # An output that ends a stride or more behind the line that x is spread to
        # belongs to an x with zeros behind it, for which it does not.
        end = (size - 1) * stride + dilated_size(taps, dilation)
        more = max((lo + cells - end) // stride, 0)
        behind.append((0, more, 0))
        padding.append((lo, max(end + more * stride - lo - cells, 0)))
    if any(more for _, more, _ in behind):
        x = lax.pad(x, jnp.zeros((), x.dtype), [*behind, (0, 0, 0)])
    x = x.reshape(prod(batch), *x.shape[-rank - 1 :])
    spec = spec._replace(padding=tuple(padding))
    sizes = tuple(s.size for s in scatters)
    check_reach("conv_transpose", spec, sizes, kernel.shape[:-2])
    plan = _plan(algorithm, x, kernel, spec, sizes)
    y = _conv_primitive.input_grad(x, kernel, spec, sizes, plan)
    return y.reshape(*batch, *y.shape[1:])


def _plan(
    algorithm: str | ConvPlan,
    x: jax.Array,
    kernel: jax.Array,
    spec: ConvSpec,
    sizes: tuple[int, ...],
) -> ConvPlan:
    """The plan that an argument means, if it can run the convolution to x."""
    plan = algorithm
    if not isinstance(plan, ConvPlan):
        plan = ConvPlan(plan, plan, plan)
    *window, fan_in, out = kernel.shape
    channels = fan_in * spec.groups
    facts = ConvFacts(len(x), sizes, tuple(window), channels, out, spec, x.dtype.name)
    reason = refusal(plan, facts)
    if reason is not None:
        raise ValueError(f"conv_transpose: algorithm {reason}")
    return plan._replace(facts=None)

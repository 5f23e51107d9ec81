"""The two gradients of a convolution, as the convolutions that they are."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnets.functional._checks import (
    check_choice,
    check_integer,
    check_integers,
    check_min_rank,
)
from jaxnets.functional._conv import conv
from jaxnets.functional._conv_plan import ConvPlan
from jaxnets.functional._mesh import match_sharding
from jaxnets.functional._shapes import DATA_FORMATS, DataFormat, IntOrInts, Padding
from jaxnets.functional.conv_algorithms._varying import example_varying


def conv_input_grad(
    g: ArrayLike,
    kernel: ArrayLike,
    input_size: IntOrInts,
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
    accuracy: str | None = None,
) -> jax.Array:
    """The gradient of `conv` to its input: the transpose of conv in x.

        dL/dx[n, i, c] = Σ_{p,t: s · p + d · t − lo = i} Σ_o g[n, p, o] kernel[t, c, o]

    Every output p that cell i took part in sends its gradient back through the same
    tap. At stride 1 this is the full convolution of g with the kernel turned over,
    ⟨conv(x, k), g⟩ = ⟨x, conv_input_grad(g, k)⟩.

    Accuracy: as in `conv`, by default relative to the terms of each element.

    Args:
        g: `(*batch, *positions, out)`, the gradient to the output of `conv`; with
            `data_format="channels_first"` `(*batch, out, *positions)`.
        kernel: `(*window, in // groups, out)`.
        input_size: spatial sizes of the input; with strides several have the same
            output.
        strides: as in `conv`.
        padding: as in `conv`.
        dilation: as in `conv`.
        groups: as in `conv`.
        padding_mode: as in `conv`; what was copied into the padding sends its
            gradient back to where it came from.
        data_format: as in `conv`.
        flip_kernel: as in `conv`.
        algorithm: as in `conv`; a `ConvPlan` for the convolution itself.
        precision: as in `conv`.
        accuracy: as in `conv`.

    Returns:
        `(*batch, *input_size, in)`, or `(*batch, in, *input_size)`.

    Raises:
        TypeError: if an option has the wrong type.
        ValueError: as `conv` does, and if g is not of the shape that it returns.

    Example:
        >>> import jax.numpy as jnp
        >>> g, kernel = jnp.array([[1.0], [10.0]]), jnp.array([[[1.0]], [[2.0]]])
        >>> conv_input_grad(g, kernel, 3, padding="VALID")[:, 0].tolist()
        [1.0, 12.0, 20.0]

    Source:
        Goodfellow, Bengio, Courville, Deep Learning (2016), equation 9.13.
    """
    g, kernel = jnp.asarray(g), jnp.asarray(kernel)
    rank = _rank("conv_input_grad", g, "g", kernel.ndim - 2, kernel.shape)
    size = check_integers(
        "conv_input_grad", "input_size", input_size, length=rank, minimum=0
    )
    check_choice("conv_input_grad", "data_format", data_format, DATA_FORMATS)
    groups = check_integer("conv_input_grad", "groups", groups, minimum=1)
    channels = kernel.shape[-2] * groups
    shape = (*size, channels)
    if data_format == "channels_first":
        shape = (channels, *size)
    x = example_varying((*g.shape[: -rank - 1], *shape), g.dtype, g)

    def forward(x: jax.Array) -> jax.Array:
        return conv(
            x,
            kernel,
            strides=strides,
            padding=padding,
            dilation=dilation,
            groups=groups,
            padding_mode=padding_mode,
            data_format=data_format,
            flip_kernel=flip_kernel,
            algorithm=algorithm,
            precision=precision,
            accuracy=accuracy,
        )

    return _transpose("conv_input_grad", forward, x, g)


def conv_kernel_grad(
    x: ArrayLike,
    g: ArrayLike,
    window: IntOrInts,
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
    accuracy: str | None = None,
) -> jax.Array:
    """The gradient of `conv` to its kernel: the transpose of conv in the kernel.

        dL/dk[t, c, o] = Σ_{n,p} x[n, s · p + d · t − lo, c] g[n, p, o]

    Tap t has met one input cell for every output p, so this is the correlation of the
    input with the upstream gradient, ⟨conv(x, k), g⟩ = ⟨k, conv_kernel_grad(x, g)⟩.

    Accuracy: as in `conv`, by default relative to the terms of each element.

    Args:
        x: `(*batch, *spatial, in)`, or `(*batch, in, *spatial)`.
        g: `(*batch, *positions, out)`, or `(*batch, out, *positions)`.
        window: cells of the window, one entry a spatial axis.
        strides: as in `conv`.
        padding: as in `conv`.
        dilation: as in `conv`.
        groups: as in `conv`.
        padding_mode: as in `conv`.
        data_format: as in `conv`.
        flip_kernel: as in `conv`.
        algorithm: as in `conv`; a `ConvPlan` for the convolution itself.
        precision: as in `conv`.
        accuracy: as in `conv`.

    Returns:
        `(*window, in // groups, out)`, summed over the batch.

    Raises:
        TypeError: if an option has the wrong type.
        ValueError: as `conv` does, and if g is not of the shape that it returns.

    Example:
        >>> import jax.numpy as jnp
        >>> x, g = jnp.array([[1.0], [2.0], [3.0]]), jnp.array([[1.0], [10.0]])
        >>> conv_kernel_grad(x, g, (2,), padding="VALID")[:, 0, 0].tolist()
        [21.0, 32.0]

    Source:
        Goodfellow, Bengio, Courville, Deep Learning (2016), equation 9.11.
    """
    x, g = jnp.asarray(x), jnp.asarray(g)
    rank = 1 if isinstance(window, int) else len(window)
    window = check_integers(
        "conv_kernel_grad", "window", window, length=rank, minimum=1
    )
    check_choice("conv_kernel_grad", "data_format", data_format, DATA_FORMATS)
    for name, array in (("x", x), ("g", g)):
        _rank("conv_kernel_grad", array, name, rank, window)
    channel = -1 if data_format == "channels_last" else -rank - 1
    groups = check_integer("conv_kernel_grad", "groups", groups, minimum=1)
    if x.shape[channel] % groups:
        raise ValueError(
            f"conv_kernel_grad: groups must divide the channels of x; got "
            f"{x.shape[channel]} channels in {groups} groups (x.shape={x.shape})"
        )
    fan_in = x.shape[channel] // groups
    kernel = example_varying((*window, fan_in, g.shape[channel]), x.dtype, g)

    def forward(kernel: jax.Array) -> jax.Array:
        return conv(
            x,
            kernel,
            strides=strides,
            padding=padding,
            dilation=dilation,
            groups=groups,
            padding_mode=padding_mode,
            data_format=data_format,
            flip_kernel=flip_kernel,
            algorithm=algorithm,
            precision=precision,
            accuracy=accuracy,
        )

    return _transpose("conv_kernel_grad", forward, kernel, g)


def _rank(
    function: str, array: jax.Array, name: str, rank: int, of: tuple[int, ...]
) -> int:
    """The number of spatial axes, if the array has as many and channels."""
    if rank < 1:
        raise ValueError(
            f"{function}: kernel must be (*window, in // groups, out) with a window "
            f"of one axis at least; got kernel.shape={of}"
        )
    layout = f"(*batch, *spatial, channels) with {rank} spatial axes"
    check_min_rank(function, name, array.shape, rank + 1, layout)
    return rank


def _transpose(
    function: str,
    forward: Callable[[jax.Array], jax.Array],
    operand: jax.Array | jax.ShapeDtypeStruct,
    g: jax.Array,
) -> jax.Array:
    """The transpose of a function that is linear in `operand`, at g."""
    out = jax.eval_shape(forward, operand)
    if out.shape != g.shape:
        raise ValueError(
            f"{function}: g must have the shape of the convolution's output "
            f"{out.shape}; got g.shape={g.shape}"
        )
    g = match_sharding(g.astype(out.dtype), out)
    (result,) = jax.linear_transpose(forward, operand)(g)
    return result

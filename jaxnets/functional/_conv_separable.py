"""Separable convolutions: of channels from space, and of one axis from another."""

from collections.abc import Sequence
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jaxnets.functional._checks import check_choice, check_integers, check_min_rank
from jaxnets.functional._conv import conv
from jaxnets.functional._conv_canonical import common_dtype
from jaxnets.functional._shapes import DATA_FORMATS, DataFormat, IntOrInts, Padding


def separable_conv(
    x: ArrayLike,
    depthwise_kernel: ArrayLike,
    pointwise_kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    strides: IntOrInts = 1,
    padding: Padding = "SAME",
    dilation: IntOrInts = 1,
    padding_mode: str = "zeros",
    data_format: DataFormat = "channels_last",
    flip_kernel: bool = False,
    algorithm: Any = "auto",
    precision: Any = None,
    accuracy: str | None = None,
    preferred_element_type: DTypeLike | None = None,
) -> jax.Array:
    """Convolve every channel by itself, then mix the channels cell by cell.

        y = conv(conv(x, depthwise, groups=channels), pointwise) + bias

    With multiplier m this takes prod(window) · channels · m + channels · m · out
    weights in place of prod(window) · channels · out.

    Accuracy: each of the two convolutions as in `conv`.

    Args:
        x: `(*batch, *spatial, channels)`; with `data_format="channels_first"`
            `(*batch, channels, *spatial)`.
        depthwise_kernel: `(*window, 1, channels * multiplier)`, the kernels of one
            channel behind one another. That of Keras, `(*window, channels,
            multiplier)`, needs a reshape to this.
        pointwise_kernel: `(*ones, channels * multiplier, out)`, as many ones as the
            window has axes.
        bias: `(out,)`, or None.
        strides: of the first convolution, as in `conv`.
        padding: of the first convolution, as in `conv`.
        dilation: of the first convolution, as in `conv`.
        padding_mode: as in `conv`.
        data_format: as in `conv`.
        flip_kernel: turn the window of the first convolution over.
        algorithm: of the first convolution, as in `conv`.
        precision: of both, as in `conv`.
        accuracy: of both, as in `conv`.
        preferred_element_type: as in `conv`.

    Returns:
        `(*batch, *positions, out)`, or `(*batch, out, *positions)`, in the promoted
        dtype of the arrays.

    Raises:
        TypeError: if an option has the wrong type.
        ValueError: if shapes or options do not fit together; the message says which.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
        >>> both = jnp.ones((2, 1, 2))
        >>> mix = jnp.array([[[1.0], [1.0]]])
        >>> separable_conv(x, both, mix, padding="VALID")[:, 0].tolist()
        [33.0, 55.0]

    Source:
        Chollet, Xception, arXiv:1610.02357; Sifre, Rigid-Motion Scattering (2014).
    """
    x, depthwise = jnp.asarray(x), jnp.asarray(depthwise_kernel)
    pointwise = jnp.asarray(pointwise_kernel)
    check_choice("separable_conv", "data_format", data_format, DATA_FORMATS)
    shape = depthwise.shape
    layout = "(*window, 1, channels * multiplier)"
    check_min_rank("separable_conv", "depthwise_kernel", shape, 3, layout)
    rank = len(shape) - 2
    layout = f"{rank} spatial and one of channels"
    check_min_rank("separable_conv", "x", x.shape, rank + 1, layout)
    channels = x.shape[-1 if data_format == "channels_last" else -rank - 1]
    if shape[-2] != 1 or shape[-1] == 0 or channels == 0 or shape[-1] % channels:
        raise ValueError(
            "separable_conv: depthwise_kernel must be (*window, 1, channels * "
            f"multiplier) for x of {channels} channels; got depthwise_kernel.shape="
            f"{shape} (reshape a kernel (*window, channels, multiplier) to this)"
        )
    expected = (*(1,) * rank, shape[-1])
    if pointwise.ndim != rank + 2 or pointwise.shape[:-1] != expected:
        dims = ", ".join(map(str, expected))
        raise ValueError(
            f"separable_conv: pointwise_kernel must have shape ({dims}, out), one row "
            f"a channel of the first convolution; got {pointwise.shape}"
        )
    arrays = (x, depthwise, pointwise)
    dtype = common_dtype("separable_conv", arrays, preferred_element_type)
    y = conv(
        x.astype(dtype),
        depthwise.astype(dtype),
        strides=strides,
        padding=padding,
        dilation=dilation,
        groups=channels,
        padding_mode=padding_mode,
        data_format=data_format,
        flip_kernel=flip_kernel,
        algorithm=algorithm,
        precision=precision,
        accuracy=accuracy,
    )
    return conv(
        y,
        pointwise.astype(dtype),
        bias,
        padding="VALID",
        data_format=data_format,
        precision=precision,
        accuracy=accuracy,
    )


def spatially_separable_conv(
    x: ArrayLike,
    kernels: Sequence[ArrayLike],
    *,
    strides: IntOrInts = 1,
    padding: Padding = "SAME",
    dilation: IntOrInts = 1,
    padding_mode: str = "zeros",
    flip_kernel: bool = False,
    precision: Any = None,
    accuracy: str | None = None,
    preferred_element_type: DTypeLike | None = None,
) -> jax.Array:
    """Filter every channel along one spatial axis after the other.

    The depthwise convolution with the outer product of the kernels, kernel[t, u, ...] =
    kernels[0][t] · kernels[1][u] · ..., for the sum of their sizes in place of the
    product: Gaussian and box blurs, Sobel and Gabor filters along the axes.

    Accuracy: the convolution along each axis as in `conv`.

    Args:
        x: `(*batch, *spatial, channels)`.
        kernels: one a spatial axis, first axis first: `(taps,)` for all channels
            alike or `(taps, channels)`.
        strides: as in `conv`.
        padding: as in `conv`.
        dilation: as in `conv`.
        padding_mode: as in `conv`.
        flip_kernel: turn every kernel over.
        precision: as in `conv`.
        accuracy: as in `conv`.
        preferred_element_type: as in `conv`.

    Returns:
        `(*batch, *positions, channels)` in the promoted dtype of the arrays.

    Raises:
        TypeError: if an option has the wrong type.
        ValueError: if shapes or options do not fit together; the message says which.

    Example:
        >>> import jax.numpy as jnp
        >>> ramp = jnp.broadcast_to(jnp.arange(4.0), (4, 4))[..., None]
        >>> sobel = jnp.array([1.0, 2.0, 1.0]), jnp.array([-1.0, 0.0, 1.0])
        >>> spatially_separable_conv(ramp, sobel, padding="VALID")[..., 0].tolist()
        [[8.0, 8.0], [8.0, 8.0]]

    Source:
        Goodfellow, Bengio, Courville, Deep Learning (2016), section 9.8.
    """
    function = "spatially_separable_conv"
    x, kernels = jnp.asarray(x), [jnp.asarray(kernel) for kernel in kernels]
    rank = len(kernels)
    if rank == 0:
        raise ValueError(f"{function}: kernels must hold one kernel a spatial axis")
    check_min_rank(function, "x", x.shape, rank + 1, f"{rank} spatial and channels")
    channels = x.shape[-1]
    for axis, kernel in enumerate(kernels):
        if kernel.ndim not in (1, 2) or kernel.shape[1:] not in ((), (channels,)):
            raise ValueError(
                f"{function}: kernels must be (taps,) or (taps, channels) for x of "
                f"{channels} channels; got shape {kernel.shape} for spatial axis {axis}"
            )
    steps = check_integers(function, "strides", strides, length=rank, minimum=1)
    spread = check_integers(function, "dilation", dilation, length=rank, minimum=1)
    if isinstance(padding, Sequence) and not isinstance(padding, str):
        if len(padding) != rank:
            raise ValueError(
                f"{function}: padding must have {rank} entries, one a spatial axis; "
                f"got {len(padding)} in {tuple(padding)}"
            )
        pads = list(padding)
    else:
        pads = [padding] * rank
    dtype = common_dtype(function, (x, *kernels), preferred_element_type)
    y = x.astype(dtype)
    for i, kernel in enumerate(kernels):
        # Only this axis is spatial: those before it count as batch, those behind it
        # stand among the channels, each with the same kernel.
        axis = y.ndim - rank - 1 + i
        tail = y.shape[axis + 1 :]
        repeats = prod(tail[:-1])
        weights = kernel if kernel.ndim == 2 else kernel[:, None]
        weights = jnp.broadcast_to(weights, (len(weights), channels))
        weights = jnp.tile(weights, (1, repeats))[:, None]
        pad = pads[i]
        y = conv(
            y.reshape(*y.shape[: axis + 1], prod(tail)),
            weights.astype(dtype),
            strides=steps[i],
            padding=pad if isinstance(pad, str) else (pad,),
            dilation=spread[i],
            groups=prod(tail),
            padding_mode=padding_mode,
            flip_kernel=flip_kernel,
            precision=precision,
            accuracy=accuracy,
        )
        y = y.reshape(*y.shape[:-1], *tail)
    return y

"""Convolution with kernels that are not shared: one a position, or a few in turn."""

from typing import Any

import jax
from jax.typing import ArrayLike, DTypeLike

from jaxnets.functional._conv_unshared import unshared_conv
from jaxnets.functional._shapes import DataFormat, IntOrInts, Padding


def local_conv(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    strides: IntOrInts = 1,
    padding: Padding = "VALID",
    dilation: IntOrInts = 1,
    groups: int = 1,
    data_format: DataFormat = "channels_last",
    precision: Any = None,
    accuracy: str | None = None,
    preferred_element_type: DTypeLike | None = None,
) -> jax.Array:
    """Apply a kernel of its own at every position: a locally connected layer.

        y[n, p, o] = bias[p, o] + Σ_{t,c} x[n, s · p + d · t − lo, c] kernel[p, t, c, o]

    The windows of `conv` without its shared weights. The patches of x are multiplied
    by all kernels in one batched product, and take prod(window) / prod(strides) times
    the memory of x.

    Accuracy: as in `conv`.

    Args:
        x: `(*batch, *spatial, in)`, any number of batch axes, none included; with
            `data_format="channels_first"` `(*batch, in, *spatial)`.
        kernel: `(*positions, *window, in // groups, out)` in either format.
        bias: `(*positions, out)` or `(out,)`, or None.
        strides: as in `conv`.
        padding: as in `conv`.
        dilation: as in `conv`.
        groups: as in `conv`.
        data_format: where the channels of x and y stand.
        precision: as in `jax.lax.dot_general`.
        accuracy: as in `conv`; matters where there are at most four positions.
        preferred_element_type: as in `conv`.

    Returns:
        `(*batch, *positions, out)`, or `(*batch, out, *positions)`, in the promoted
        dtype of x and kernel; halves are summed in float32.

    Raises:
        TypeError: if an option has the wrong type.
        ValueError: if shapes or options do not fit together; the message says which.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.array([1.0, 2.0, 3.0])[:, None]
        >>> kernel = jnp.array([[1.0, 1.0], [10.0, 100.0]])[..., None, None]
        >>> local_conv(x, kernel)[:, 0].tolist()
        [3.0, 320.0]

    Source:
        Goodfellow, Bengio, Courville, Deep Learning (2016), equation 9.9; LeCun (1986).
    """
    return unshared_conv(
        "local_conv",
        (x, kernel, bias),
        (strides, padding, dilation),
        groups,
        data_format,
        precision,
        accuracy,
        preferred_element_type,
    )


def tiled_conv(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    strides: IntOrInts = 1,
    padding: Padding = "SAME",
    dilation: IntOrInts = 1,
    groups: int = 1,
    data_format: DataFormat = "channels_last",
    precision: Any = None,
    accuracy: str | None = None,
    preferred_element_type: DTypeLike | None = None,
) -> jax.Array:
    """Apply a few kernels in turn from one position to the next.

        y[n, p, o] = bias[p mod tiles, o]
        + Σ_{t,c} x[n, s · p + d · t − lo, c] kernel[p mod tiles, t, c, o]

    Neighbours have different kernels, as in `local_conv`, and memory does not grow with
    the image, as in `conv`. One tile an axis gives `conv`, as many as positions
    `local_conv`. Of more tiles than positions the first are used.

    Accuracy: as in `conv`.

    Args:
        x: `(*batch, *spatial, in)`, any number of batch axes, none included; with
            `data_format="channels_first"` `(*batch, in, *spatial)`.
        kernel: `(*tiles, *window, in // groups, out)` in either format.
        bias: `(*tiles, out)` or `(out,)`, or None.
        strides: as in `conv`.
        padding: as in `conv`.
        dilation: as in `conv`.
        groups: as in `conv`.
        data_format: where the channels of x and y stand.
        precision: as in `conv`.
        accuracy: as in `conv`; matters where there are at most four tiles.
        preferred_element_type: as in `conv`.

    Returns:
        `(*batch, *positions, out)`, or `(*batch, out, *positions)`, in the promoted
        dtype of x and kernel; halves are summed in float32.

    Raises:
        TypeError: if an option has the wrong type.
        ValueError: if shapes or options do not fit together; the message says which.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.array([1.0, 2.0, 3.0, 4.0])[:, None]
        >>> kernel = jnp.array([[1.0], [10.0]])[..., None, None]
        >>> tiled_conv(x, kernel)[:, 0].tolist()
        [1.0, 20.0, 3.0, 40.0]

    Source:
        Goodfellow, Bengio, Courville, Deep Learning (2016), equation 9.10; Gregor and
        LeCun, arXiv:1006.0448; Le et al., Tiled Convolutional Neural Networks (2010).
    """
    return unshared_conv(
        "tiled_conv",
        (x, kernel, bias),
        (strides, padding, dilation),
        groups,
        data_format,
        precision,
        accuracy,
        preferred_element_type,
    )

"""Normalisation over axes of one example: layer, RMS, group and instance."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnets.functional._checks import check_integer, check_shape
from jaxnets.functional._dropout import spatial_axes
from jaxnets.functional._dtypes import widen


def layer_norm(
    x: ArrayLike,
    scale: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    axis: int | Sequence[int] = -1,
    epsilon: ArrayLike = 1e-5,
) -> jax.Array:
    """Give every example mean 0 and variance 1 over some axes.

    y = (x − mean) / √(var + epsilon) · scale + bias; the variance is the mean square
    of x − mean, so it does not cancel when the mean is large.

    Args:
        x: any shape, floating.
        scale: the sizes of `axis` in the order of the array, or None.
        bias: as `scale`.
        axis: an axis, or several, that are normalised together.
        epsilon: added to the variance.

    Returns:
        The shape and dtype of `x`; half types are computed in float32.

    Raises:
        TypeError: if `x` is not floating.
        ValueError: if an axis does not exist or stands twice, or a shape does not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> layer_norm(jnp.asarray([[1.0, 3.0], [10.0, 10.0]]))
        Array([[-0.999995,  0.999995],
               [ 0.      ,  0.      ]], dtype=float32)

    Source:
        Ba, Kiros, Hinton 2016, "Layer normalization", equation 3.
    """
    x, wide = widen("layer_norm", x)
    axes = canonical_axes("layer_norm", axis, x.ndim)
    centred = wide - jnp.broadcast_to(wide.mean(axes, keepdims=True), wide.shape)
    y = _divide(centred, jnp.square(centred).mean(axes, keepdims=True), epsilon)
    return affine("layer_norm", y, scale, bias, axes).astype(x.dtype)


def rms_norm(
    x: ArrayLike,
    scale: ArrayLike | None = None,
    *,
    axis: int | Sequence[int] = -1,
    epsilon: ArrayLike = 1e-5,
) -> jax.Array:
    """Divide every example by its root mean square over some axes.

    y = x / √(mean(x²) + epsilon) · scale.

    Args:
        x: any shape, floating.
        scale: the sizes of `axis` in the order of the array, or None.
        axis: an axis, or several, that are normalised together.
        epsilon: added to the mean square.

    Returns:
        The shape and dtype of `x`; half types are computed in float32.

    Raises:
        TypeError: if `x` is not floating.
        ValueError: if an axis does not exist or stands twice, or a shape does not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> rms_norm(jnp.asarray([3.0, -3.0]), epsilon=0.0)
        Array([ 1., -1.], dtype=float32)

    Source:
        Zhang, Sennrich 2019, "Root mean square layer normalization", equation 4.
    """
    x, wide = widen("rms_norm", x)
    axes = canonical_axes("rms_norm", axis, x.ndim)
    y = _divide(wide, jnp.square(wide).mean(axes, keepdims=True), epsilon)
    return affine("rms_norm", y, scale, None, axes).astype(x.dtype)


def group_norm(
    x: ArrayLike,
    scale: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    num_groups: int,
    spatial_ndim: int | None = None,
    epsilon: ArrayLike = 1e-5,
) -> jax.Array:
    """Normalise over the positions and over groups of neighbouring channels.

    y = (x − mean) / √(var + epsilon) · scale + bias, mean and variance of one example
    and channels / num_groups channels. One group is layer normalisation over all axes
    of an example, one a channel is `instance_norm`.

    Args:
        x: `(*batch, *spatial, channels)`, floating.
        scale: `(channels,)`, or None.
        bias: `(channels,)`, or None.
        num_groups: how many groups; divides the channels.
        spatial_ndim: how many axes before the last are spatial; None means all but the
            first and the last.
        epsilon: added to the variance.

    Returns:
        The shape and dtype of `x`; half types are computed in float32.

    Raises:
        TypeError: if `x` is not floating.
        ValueError: if the groups do not divide the channels, or a shape does not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> group_norm(jnp.asarray([[1.0, 3.0, 10.0, 10.0]]), num_groups=2)
        Array([[-0.999995,  0.999995,  0.      ,  0.      ]], dtype=float32)

    Source:
        Wu, He 2018, "Group normalization", equations 1 to 7.
    """
    x, wide = widen("group_norm", x)
    spatial = spatial_axes("group_norm", x.shape, spatial_ndim)
    num_groups = check_integer("group_norm", "num_groups", num_groups, minimum=1)
    channels = x.shape[-1]
    if channels % num_groups:
        raise ValueError(
            f"group_norm: num_groups must divide the channels; got {num_groups} groups "
            f"for {channels} channels (x.shape={x.shape})"
        )
    grouped = wide.reshape(*x.shape[:-1], num_groups, channels // num_groups)
    axes = (*spatial, x.ndim)
    mean = grouped.mean(axes, keepdims=True)
    centred = grouped - jnp.broadcast_to(mean, grouped.shape)
    y = _divide(centred, jnp.square(centred).mean(axes, keepdims=True), epsilon)
    y = y.reshape(x.shape)
    return affine("group_norm", y, scale, bias, (x.ndim - 1,)).astype(x.dtype)


def instance_norm(
    x: ArrayLike,
    scale: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    spatial_ndim: int | None = None,
    epsilon: ArrayLike = 1e-5,
) -> jax.Array:
    """Normalise every channel of every example over its positions.

    y = (x − mean) / √(var + epsilon) · scale + bias, mean and variance over the
    spatial axes.

    Args:
        x: `(*batch, *spatial, channels)`, floating, at least one spatial axis.
        scale: `(channels,)`, or None.
        bias: `(channels,)`, or None.
        spatial_ndim: how many axes before the last are spatial; None means all but the
            first and the last.
        epsilon: added to the variance.

    Returns:
        The shape and dtype of `x`; half types are computed in float32.

    Raises:
        TypeError: if `x` is not floating.
        ValueError: if there is no spatial axis, or a shape does not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> instance_norm(jnp.asarray([[[1.0, 5.0], [3.0, 5.0]]]))
        Array([[[-0.999995,  0.      ],
                [ 0.999995,  0.      ]]], dtype=float32)

    Source:
        Ulyanov, Vedaldi, Lempitsky 2016, "Instance normalization", equation 4.
    """
    x, wide = widen("instance_norm", x)
    axes = spatial_axes("instance_norm", x.shape, spatial_ndim)
    if not axes:
        raise ValueError(
            "instance_norm: x must have at least one spatial axis, "
            f"(*batch, *spatial, channels); got x.shape={x.shape}"
        )
    centred = wide - jnp.broadcast_to(wide.mean(axes, keepdims=True), wide.shape)
    y = _divide(centred, jnp.square(centred).mean(axes, keepdims=True), epsilon)
    return affine("instance_norm", y, scale, bias, (x.ndim - 1,)).astype(x.dtype)


def canonical_axes(
    function: str, axis: int | Sequence[int], ndim: int
) -> tuple[int, ...]:
    """The axes as increasing numbers from 0."""
    given = axis if isinstance(axis, Sequence) else (axis,)
    for entry in given:
        if not -ndim <= entry < ndim:
            raise ValueError(
                f"{function}: axis {entry} does not exist in an array of {ndim} axes"
            )
    axes = tuple(sorted({entry % ndim for entry in given}))
    if len(axes) != len(given) or not axes:
        raise ValueError(
            f"{function}: axis must name one or more different axes; got {axis}"
        )
    return axes


def affine(
    function: str,
    y: jax.Array,
    scale: ArrayLike | None,
    bias: ArrayLike | None,
    axes: tuple[int, ...],
) -> jax.Array:
    """Multiply by scale and add bias, both laid along `axes`."""
    sizes = tuple(y.shape[axis] for axis in axes)
    why = f"the sizes of axes {axes} of x"

    def along(name: str, value: ArrayLike) -> jax.Array:
        value = jnp.asarray(value)
        check_shape(function, name, value.shape, sizes, why)
        return jax.lax.broadcast_in_dim(value.astype(y.dtype), y.shape, axes)

    if scale is not None:
        y = y * along("scale", scale)
    if bias is not None:
        y = y + along("bias", bias)
    return y


def _divide(x: jax.Array, square: jax.Array, epsilon: ArrayLike) -> jax.Array:
    return x * jnp.broadcast_to(jax.lax.rsqrt(square + epsilon), x.shape)

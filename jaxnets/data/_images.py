"""Pixel values and channels: scaled, grey, black and white, coloured."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

# ITU-R BT.601: what television and tf.image.rgb_to_grayscale weigh the colours by.
LUMA = (0.299, 0.587, 0.114)


def scale_images(images: np.ndarray) -> np.ndarray:
    """Turn bytes into float32 between 0 and 1, on the host.

    y = x / 255, rounded once.

    Args:
        images: any shape, uint8.

    Returns:
        The shape of `images`, float32.

    Raises:
        TypeError: if `images` is not uint8: pixels scaled already would end near 0.

    Example:
        >>> scale_images(np.array([0, 51, 255], np.uint8))
        array([0. , 0.2, 1. ], dtype=float32)
    """
    if images.dtype != np.uint8:
        raise TypeError(f"scale_images: images must be uint8; got {images.dtype}")
    return images.astype(np.float32) / np.float32(255)


def to_grayscale(x: ArrayLike) -> jax.Array:
    """Brightness of colour images.

    y = 0.299 R + 0.587 G + 0.114 B.

    Args:
        x: `(..., 3)`, floating; bytes go through `scale_images` first.

    Returns:
        `(..., 1)`, the dtype of `x`; half precision is summed in float32.

    Raises:
        TypeError: if `x` holds integers.
        ValueError: if the last axis is not 3 long.

    Example:
        >>> to_grayscale(np.array([[1.0, 0.5, 0.0]], np.float32)).round(4)
        Array([[0.5925]], dtype=float32)

    Source:
        Recommendation ITU-R BT.601-7, section 2.5.1.
    """
    x = jnp.asarray(x)
    check_floating("to_grayscale", x)
    if x.ndim == 0 or x.shape[-1] != 3:
        raise ValueError(
            f"to_grayscale: x must have 3 channels on its last axis; x.shape={x.shape}"
        )
    # jnp.promote_types refuses to answer under strict promotion.
    wide = x.astype(np.promote_types(x.dtype, np.float32))
    y = sum(wide[..., i : i + 1] * weight for i, weight in enumerate(LUMA))
    return jnp.asarray(y).astype(x.dtype)


def to_rgb(x: ArrayLike) -> jax.Array:
    """Colour images that show grey ones: the channel three times.

    Args:
        x: `(..., 1)`, any dtype.

    Returns:
        `(..., 3)`, the dtype of `x`.

    Raises:
        ValueError: if the last axis is not 1 long.

    Example:
        >>> to_rgb(np.array([[7]], np.uint8))
        Array([[7, 7, 7]], dtype=uint8)
    """
    x = jnp.asarray(x)
    if x.ndim == 0 or x.shape[-1] != 1:
        raise ValueError(
            f"to_rgb: x must have 1 channel on its last axis; x.shape={x.shape}"
        )
    return jnp.repeat(x, 3, axis=-1)


def to_binary(x: ArrayLike, *, threshold: ArrayLike = 0.5) -> jax.Array:
    """Black and white images.

    y = 1 where x > threshold, else 0.

    Args:
        x: any shape, floating.
        threshold: a number, or an array of as many axes as `x` that broadcasts.

    Returns:
        The shape and dtype of `x`.

    Raises:
        TypeError: if `x` holds integers.

    Example:
        >>> to_binary(np.array([0.0, 0.5, 0.75], np.float32))
        Array([0., 0., 1.], dtype=float32)
    """
    x = jnp.asarray(x)
    check_floating("to_binary", x)
    return (x > threshold).astype(x.dtype)


def check_floating(function: str, x: jax.Array) -> None:
    """Raise TypeError unless `x` is floating."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(
            f"{function}: x must be floating; got {x.dtype} (use scale_images first)"
        )

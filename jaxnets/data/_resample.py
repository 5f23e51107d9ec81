"""Pixels at places between pixels.

dm_pix.affine_transform weighs the channel axis as a third direction: 71 ms for
128 x 32 x 32 x 3 on 2 cores, where gathering whole pixels takes 1.4 ms.
"""

import jax
import jax.numpy as jnp
import numpy as np

PIXEL_MODES = ("bilinear", "nearest")
# Our names and those of jnp.pad.
PADDING_MODES = {
    "zeros": "constant",
    "replicate": "edge",
    "reflect": "reflect",
    "circular": "wrap",
}


def sample(
    image: jax.Array,
    row: jax.Array,
    column: jax.Array,
    *,
    mode: str,
    padding_mode: str,
) -> jax.Array:
    """The image at places counted in pixels from the centre of pixel (0, 0).

    Args:
        image: `(height, width, channels)`, floating.
        row: any shape, float32.
        column: the shape of `row`, float32.
        mode: "bilinear" or "nearest".
        padding_mode: what lies outside: "zeros", "replicate", "reflect" (about the
            centres of the outermost pixels) or "circular".

    Returns:
        `(*row.shape, channels)`, the dtype of `image`.
    """
    if mode == "nearest":
        half = jnp.float32(0.5)
        i, j = jnp.floor(row + half), jnp.floor(column + half)
        return _pixels(image, i.astype(jnp.int32), j.astype(jnp.int32), padding_mode)
    # jnp.promote_types refuses to answer under strict promotion.
    wide = image.astype(np.promote_types(image.dtype, np.float32))
    top, left = jnp.floor(row), jnp.floor(column)
    down = (row - top).astype(wide.dtype)[..., None]
    right = (column - left).astype(wide.dtype)[..., None]
    i, j = top.astype(jnp.int32), left.astype(jnp.int32)

    def line(i: jax.Array) -> jax.Array:
        first = _pixels(wide, i, j, padding_mode)
        return first + right * (_pixels(wide, i, j + 1, padding_mode) - first)

    upper = line(i)
    return (upper + down * (line(i + 1) - upper)).astype(image.dtype)


def _pixels(
    image: jax.Array, row: jax.Array, column: jax.Array, padding_mode: str
) -> jax.Array:
    height, width = image.shape[:2]
    pixels = image[
        _inside(row, height, padding_mode), _inside(column, width, padding_mode)
    ]
    if padding_mode != "zeros":
        return pixels
    seen = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return jnp.where(seen[..., None], pixels, jnp.zeros_like(pixels))


def _inside(index: jax.Array, size: int, padding_mode: str) -> jax.Array:
    """The pixel that stands for `index`, which may lie outside 0 ... size − 1."""
    if padding_mode == "circular":
        return index % size
    if padding_mode == "reflect":
        period = max(2 * (size - 1), 1)
        folded = index % period
        return jnp.minimum(folded, period - folded) if size > 1 else folded
    return jnp.clip(index, 0, size - 1)

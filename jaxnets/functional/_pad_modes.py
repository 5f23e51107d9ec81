"""Padding by copies of pixels: reflected, replicated or circular."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnets.functional._shapes import MOST_PIXELS, Pairs

_NUMPY_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def pad_by_copies(function: str, x: jax.Array, padding: Pairs, mode: str) -> jax.Array:
    """Pad the axes of an image, `(*spatial, channels)`, all but the last.

    Args:
        function: the public function's name, for messages.
        x: `(*spatial, channels)`, no axis empty.
        padding: (lo, hi) pixels, a spatial axis each.
        mode: `"reflect"`, `"replicate"` or `"circular"`.

    Raises:
        ValueError: if an axis would have more than `MOST_PIXELS` pixels.
    """
    for axis, (size, pair) in enumerate(zip(x.shape, padding, strict=False)):
        if size + sum(pair) > MOST_PIXELS:
            raise ValueError(
                f"{function}: padding_mode={mode!r} would write {size + sum(pair)} "
                f"pixels along spatial axis {axis}, more than {MOST_PIXELS}; take a "
                f"smaller padding, dilation or stride (padding {pair})"
            )
        if max(pair) > size:
            # `jnp.pad` copies the image once for every time that it fits.
            x = jnp.take(x, _sources(size, pair, mode), axis=axis)
        elif any(pair):
            widths = [(0, 0)] * x.ndim
            widths[axis] = pair
            x = jnp.pad(x, widths, mode=_NUMPY_MODES[mode])
    return x


def _sources(size: int, pair: tuple[int, int], mode: str) -> jax.Array:
    """Which pixel stands at every place of a padded axis."""
    at = lax.iota(np.int32, size + sum(pair)) - pair[0]
    if mode == "replicate":
        return jnp.clip(at, 0, size - 1)
    if mode == "circular":
        return at % size
    period = max(2 * (size - 1), 1)
    return (size - 1) - jnp.abs((at % period) - (size - 1))

"""Turning a kernel over: what tells convolution from cross-correlation."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnets.functional._checks import check_min_rank


def flip_kernel(kernel: ArrayLike) -> jax.Array:
    """Turn the window of a kernel over, along every one of its axes.

        flipped[t, c, o] = kernel[window − 1 − t, c, o]

    `conv(x, flip_kernel(kernel))` is `conv(x, kernel, flip_kernel=True)`: the
    convolution of mathematics. Twice gives the kernel back.

    Args:
        kernel: `(*window, in // groups, out)`.

    Returns:
        `(*window, in // groups, out)`.

    Raises:
        ValueError: if the kernel has fewer than 3 axes.

    Example:
        >>> import jax.numpy as jnp
        >>> kernel = jnp.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]])[..., None, None]
        >>> flip_kernel(kernel)[..., 0, 0].tolist()
        [[9, 8, 7], [6, 5, 4], [3, 2, 1]]

    Source:
        Goodfellow, Bengio, Courville, Deep Learning (2016), equations 9.4 to 9.6.
    """
    kernel = jnp.asarray(kernel)
    layout = "(*window, in // groups, out)"
    check_min_rank("flip_kernel", "kernel", kernel.shape, 3, layout)
    return jnp.flip(kernel, tuple(range(kernel.ndim - 2)))

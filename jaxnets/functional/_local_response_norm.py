"""Local response normalisation, the one between channels of AlexNet."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnets.functional._checks import check_integer, check_min_rank
from jaxnets.functional._dtypes import widen


def local_response_norm(
    x: ArrayLike,
    *,
    size: int,
    alpha: ArrayLike = 1e-4,
    beta: ArrayLike = 0.75,
    k: ArrayLike = 1.0,
) -> jax.Array:
    """Divide every channel by a power of the energy of its neighbours.

    y_c = x_c / (k + alpha / size · Σ_j x_j²)^beta, with j from c − size // 2 to
    c + (size − 1) // 2, channels outside counted as zero. The division by `size` is
    that of PyTorch and ONNX; AlexNet's paper has none (multiply alpha by size). For an
    even size ONNX looks one channel further up instead of down.

    Args:
        x: `(..., channels)`, floating.
        size: channels in a window, at least 1.
        alpha: factor of the mean square.
        beta: exponent.
        k: added to the mean square.

    Returns:
        The shape and dtype of `x`; half types are computed in float32.

    Raises:
        TypeError: if `x` is not floating or `size` no integer.
        ValueError: if `size` is below 1, or `x` has no axis.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.asarray([1.0, 2.0, 0.0])
        >>> local_response_norm(x, size=3, alpha=3.0, beta=1.0)
        Array([0.16666667, 0.33333334, 0.        ], dtype=float32)

    Source:
        Krizhevsky, Sutskever, Hinton 2012, "ImageNet classification with deep
        convolutional neural networks", section 3.3.
    """
    x, wide = widen("local_response_norm", x)
    check_min_rank("local_response_norm", "x", x.shape, 1, "(..., channels)")
    size = check_integer("local_response_norm", "size", size, minimum=1)
    channels = x.shape[-1]
    # Taps that only ever meet the padding are left out: a window may be wider than x.
    below = min(size // 2, channels - 1)
    above = min((size - 1) // 2, channels - 1)
    edges = [(0, 0)] * (x.ndim - 1) + [(below, above)]
    squares = jnp.pad(jnp.square(wide), edges)
    energy = sum(
        (squares[..., tap : tap + channels] for tap in range(1, below + above + 1)),
        start=squares[..., :channels],
    )
    return (wide / (k + alpha / size * energy) ** beta).astype(x.dtype)

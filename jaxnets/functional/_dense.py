"""The fully connected layer."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnets.functional._checks import check_min_rank, check_shape
from jaxnets.functional._dtypes import wide_dtype


def dense(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    precision: jax.lax.PrecisionLike = None,
) -> jax.Array:
    """Multiply the last axis by a matrix and add a bias.

    y[..., j] = Σ_i x[..., i] · kernel[i, j] + bias[j]. Sums of bfloat16 and float16
    are formed in float32, bias included, and rounded once.

    Args:
        x: `(*batch, in)`, any number of batch axes, none included.
        kernel: `(in, out)`.
        bias: `(out,)`, or None.
        precision: of the matrix product, as in `jax.lax.dot_general`.

    Returns:
        `(*batch, out)`.

    Raises:
        ValueError: if the kernel is no matrix or sizes do not match.

    Example:
        >>> import jax.numpy as jnp
        >>> kernel = jnp.asarray([[1.0, 0.0, 2.0], [0.0, 1.0, 1.0]])
        >>> dense(jnp.asarray([[3.0, 4.0]]), kernel, jnp.asarray([0.5, 0.0, 0.0]))
        Array([[ 3.5,  4. , 10. ]], dtype=float32)

    Source:
        Goodfellow, Bengio, Courville: Deep Learning, equation 6.36.
    """
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    check_min_rank("dense", "x", x.shape, 1, "(*batch, in)")
    if kernel.ndim != 2:
        raise ValueError(
            f"dense: kernel must be (in, out); got kernel.shape={kernel.shape}"
        )
    if x.shape[-1] != kernel.shape[0]:
        raise ValueError(
            f"dense: kernel has {kernel.shape[0]} input features but x has "
            f"{x.shape[-1]} (x.shape={x.shape}, kernel.shape={kernel.shape})"
        )
    dtype = jnp.result_type(x, kernel)
    wide = wide_dtype(dtype)
    y = jax.lax.dot_general(
        x.astype(dtype),
        kernel.astype(dtype),
        (((x.ndim - 1,), (0,)), ((), ())),
        precision=precision,
        preferred_element_type=wide,
    )
    if bias is not None:
        bias = jnp.asarray(bias)
        check_shape("dense", "bias", bias.shape, kernel.shape[1:], "one an output")
        y = y + jnp.broadcast_to(bias.astype(wide), y.shape)
    return y.astype(dtype)

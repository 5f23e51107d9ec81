"""Pools over all positions or to a given size, and Flatten, as modules.

All take `x (*batch, *spatial, channels)`, or `(*batch, channels, *spatial)` with
`data_format="channels_first"`. The options, values and errors are those of the function
of the same name in `jaxnets.functional`.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike

from jaxnets.functional import _pool_adaptive, _pool_global
from jaxnets.functional._checks import check_integer, check_min_rank
from jaxnets.functional._shapes import DataFormat
from jaxnets.nn._function import FunctionModule


class GlobalPool(FunctionModule):
    """What the pools over all positions share.

    Args:
        spatial_ndim: how many spatial axes there are; None means all but the first
            axis and the channels.
        keepdims: keep the spatial axes with size 1.
        data_format: `"channels_last"` or `"channels_first"`.

    Example:
        >>> GlobalMaxPool(keepdims=True)(jnp.ones((8, 5, 5, 3))).shape
        (8, 1, 1, 3)
    """

    def __init__(
        self,
        *,
        spatial_ndim: int | None = None,
        keepdims: bool = False,
        data_format: DataFormat = "channels_last",
    ):
        super().__init__(
            spatial_ndim=spatial_ndim, keepdims=keepdims, data_format=data_format
        )


class GlobalAvgPool(GlobalPool):
    """The mean of every channel; arguments of `GlobalPool`.

    Example:
        >>> GlobalAvgPool()(jnp.ones((8, 5, 5, 3))).shape
        (8, 3)
    """

    function = staticmethod(_pool_global.global_avg_pool)


class GlobalMaxPool(GlobalPool):
    """The largest cell of every channel; arguments of `GlobalPool`.

    Example:
        >>> GlobalMaxPool()(jnp.ones((8, 5, 5, 3))).shape
        (8, 3)
    """

    function = staticmethod(_pool_global.global_max_pool)


class GlobalMinPool(GlobalPool):
    """The smallest cell of every channel; arguments of `GlobalPool`.

    Example:
        >>> GlobalMinPool()(jnp.ones((8, 5, 5, 3))).shape
        (8, 3)
    """

    function = staticmethod(_pool_global.global_min_pool)


class GlobalSumPool(GlobalPool):
    """The sum of every channel; arguments of `GlobalPool`.

    Example:
        >>> GlobalSumPool()(jnp.ones((8, 5, 5, 3))).shape
        (8, 3)
    """

    function = staticmethod(_pool_global.global_sum_pool)


class GlobalLpPool(GlobalPool):
    """The power mean of every channel without its division: (Σ |x|ᵖ)^(1/p).

    Args:
        p: the power, at least 1.
        **options: those of `GlobalPool`.

    Example:
        >>> GlobalLpPool(p=2)(jnp.asarray([[[3.0], [4.0]]]))
        Array([[5.]], dtype=float32)
    """

    function = staticmethod(_pool_global.global_lp_pool)

    def __init__(self, *, p: int | float, **options: Any):
        super().__init__(**options)
        self.options += (("p", p),)


class AdaptivePool(FunctionModule):
    """What the pools to a given output size share.

    Args:
        output_size: how many windows there are, one entry a spatial axis; None keeps
            an axis as it is.
        data_format: `"channels_last"` or `"channels_first"`.

    Example:
        >>> AdaptiveMaxPool((2, None))(jnp.ones((8, 5, 5, 3))).shape
        (8, 2, 5, 3)
    """

    def __init__(
        self,
        output_size: Sequence[int | None],
        *,
        data_format: DataFormat = "channels_last",
    ):
        super().__init__(output_size, data_format=data_format)


class AdaptiveAvgPool(AdaptivePool):
    """The mean of windows sharing the input evenly; see `AdaptivePool`.

    Example:
        >>> AdaptiveAvgPool((3,))(jnp.ones((8, 5, 2))).shape
        (8, 3, 2)
    """

    function = staticmethod(_pool_adaptive.adaptive_avg_pool)


class AdaptiveMaxPool(AdaptivePool):
    """The largest cell of windows sharing the input evenly; see `AdaptivePool`.

    Example:
        >>> AdaptiveMaxPool((3,))(jnp.ones((8, 5, 2))).shape
        (8, 3, 2)
    """

    function = staticmethod(_pool_adaptive.adaptive_max_pool)


class Flatten(nnx.Module):
    """All axes but the batch axes as one, in row-major order.

    Args:
        batch_ndim: how many leading axes stay.

    Raises:
        TypeError: if `batch_ndim` is no integer.
        ValueError: if it is negative, or more than `x` has axes.

    Example:
        >>> Flatten()(jnp.ones((8, 5, 5, 3))).shape
        (8, 75)
    """

    def __init__(self, *, batch_ndim: int = 1):
        self.batch_ndim = check_integer("Flatten", "batch_ndim", batch_ndim, minimum=0)

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Flatten `(*batch, ...)` to `(*batch, features)`."""
        x = jnp.asarray(x)
        check_min_rank("Flatten", "x", x.shape, self.batch_ndim, "(*batch, ...)")
        batch, rest = x.shape[: self.batch_ndim], x.shape[self.batch_ndim :]
        return x.reshape(*batch, math.prod(rest))

"""Pools with a window as modules, for `nnx.Sequential`; they have no parameters.

All take `x (*batch, *spatial, channels)`, or `(*batch, channels, *spatial)` with
`data_format="channels_first"`. The options, values and errors are those of the function
of the same name in `jaxnets.functional`; sizes are checked when the module is called.
"""

from collections.abc import Sequence
from typing import Any

from jaxnets.functional import _pool, _pool_mean
from jaxnets.functional._shapes import DataFormat, IntOrInts, Padding
from jaxnets.nn._function import FunctionModule


class WindowPool(FunctionModule):
    """What the pools with a window share.

    Args:
        window: cells that a window looks at, one entry a spatial axis.
        strides: cells from one window to the next; None means the window.
        padding: a name, a number, or one number or (lo, hi) pair a spatial axis.
        dilation: cells from one tap of a window to the next.
        ceil_mode: keep a last window that reaches beyond the padded input.
        data_format: `"channels_last"` or `"channels_first"`.

    Example:
        >>> import jax.numpy as jnp
        >>> MaxPool((2, 2), padding="SAME")(jnp.ones((7, 7, 3))).shape
        (4, 4, 3)
    """

    def __init__(
        self,
        window: Sequence[int],
        *,
        strides: IntOrInts | None = None,
        padding: Padding = "VALID",
        dilation: IntOrInts = 1,
        ceil_mode: bool = False,
        data_format: DataFormat = "channels_last",
    ):
        super().__init__(
            window,
            strides=strides,
            padding=padding,
            dilation=dilation,
            ceil_mode=ceil_mode,
            data_format=data_format,
        )


class MaxPool(WindowPool):
    """The largest cell of every window; arguments of `WindowPool`.

    Example:
        >>> import jax.numpy as jnp
        >>> MaxPool((2, 2))(jnp.ones((8, 28, 28, 3))).shape
        (8, 14, 14, 3)
    """

    function = staticmethod(_pool.max_pool)


class MinPool(WindowPool):
    """The smallest cell of every window; arguments of `WindowPool`.

    Example:
        >>> import jax.numpy as jnp
        >>> MinPool((2,), strides=1)(jnp.ones((8, 28, 3))).shape
        (8, 27, 3)
    """

    function = staticmethod(_pool.min_pool)


class SumPool(WindowPool):
    """The sum of every window; arguments of `WindowPool`.

    Example:
        >>> import jax.numpy as jnp
        >>> SumPool((2, 2))(jnp.ones((8, 28, 28, 3))).shape
        (8, 14, 14, 3)
    """

    function = staticmethod(_pool.sum_pool)


class AvgPool(WindowPool):
    """The mean of every window.

    Args:
        window: as all pools with a window.
        count_include_pad: whether cells of the padding count as zeros.
        divisor_override: divide by this instead of the number of cells.
        **options: those of `WindowPool`.

    Example:
        >>> import jax.numpy as jnp
        >>> AvgPool((3, 3), strides=2, padding=1)(jnp.ones((8, 28, 28, 3))).shape
        (8, 14, 14, 3)
    """

    function = staticmethod(_pool_mean.avg_pool)

    def __init__(
        self,
        window: Sequence[int],
        *,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
        **options: Any,
    ):
        super().__init__(window, **options)
        own = ("count_include_pad", count_include_pad)
        self.options += (own, ("divisor_override", divisor_override))


class LpPool(WindowPool):
    """The power mean of every window without its division: (Σ |x|ᵖ)^(1/p).

    Args:
        window: as all pools with a window.
        p: the power, at least 1.
        **options: those of `WindowPool`.

    Example:
        >>> import jax.numpy as jnp
        >>> LpPool((2,), p=2)(jnp.asarray([[3.0], [4.0]]))
        Array([[5.]], dtype=float32)
    """

    function = staticmethod(_pool_mean.lp_pool)

    def __init__(self, window: Sequence[int], *, p: int | float, **options: Any):
        super().__init__(window, **options)
        self.options += (("p", p),)

"""Residual connections: what a branch adds to what goes past it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxnets.functional._checks import check_integer


def residual(
    x: ArrayLike,
    branch: Callable[[jax.Array], jax.Array],
    *,
    shortcut: Callable[[jax.Array], jax.Array] | None = None,
) -> jax.Array:
    """Add what a branch makes of x to x itself, or to what a shortcut makes of it.

    y = branch(x) + shortcut(x), with the identity where there is no shortcut. Its
    derivative is that of the branch plus that of the shortcut, so that with the
    identity a gradient comes through however small the branch's is.

    Args:
        x: any array.
        branch: F, a function of x.
        shortcut: a function of x whose result has the shape of the branch's, such as
            `pad_shortcut`, or a 1x1 convolution for a projection; None is the identity.

    Returns:
        The shape that the branch gives.

    Raises:
        ValueError: if branch and shortcut give different shapes.

    Example:
        >>> x = jnp.ones((2, 3))
        >>> residual(x, lambda x: 0.5 * x)[0].tolist()
        [1.5, 1.5, 1.5]

    Source:
        He, Zhang, Ren, Sun 2015, arXiv:1512.03385, equations 1 and 2.
    """
    x = jnp.asarray(x)
    added, past = branch(x), x if shortcut is None else shortcut(x)
    if added.shape != past.shape:
        way = "x itself" if shortcut is None else "the shortcut"
        raise ValueError(
            f"residual: the branch gives shape {added.shape} but {way} has "
            f"{past.shape} (x.shape={x.shape}); give a shortcut that makes them equal, "
            "such as pad_shortcut or a 1x1 convolution"
        )
    return added + past


def pad_shortcut(
    x: ArrayLike, features: int, *, strides: int = 1, spatial_ndim: int = 2
) -> jax.Array:
    """Take every so many cells and pad the channels with zeros: a shortcut for free.

    Option A of the paper. It has no parameters, unlike a projection (option B).

    Args:
        x: `(*batch, *spatial, channels)`.
        features: channels of the result, half of the new ones on either side.
        strides: cells from one to the next that is kept, along every spatial axis.
        spatial_ndim: how many axes before the channels are spatial.

    Returns:
        `(*batch, *ceil(spatial / strides), features)`.

    Raises:
        ValueError: if there are more channels than `features`, or too few axes.

    Example:
        >>> pad_shortcut(jnp.ones((8, 8, 16)), 32, strides=2).shape
        (4, 4, 32)

    Source:
        He, Zhang, Ren, Sun 2015, arXiv:1512.03385, section 3.3, option A.
    """
    x = jnp.asarray(x)
    strides = check_integer("pad_shortcut", "strides", strides, minimum=1)
    rank = check_integer("pad_shortcut", "spatial_ndim", spatial_ndim, minimum=0)
    if x.ndim < rank + 1:
        raise ValueError(
            f"pad_shortcut: x must have {rank} spatial axes and channels; got shape "
            f"{x.shape} (set spatial_ndim)"
        )
    added = features - x.shape[-1]
    if added < 0:
        raise ValueError(
            f"pad_shortcut: features must be at least the {x.shape[-1]} channels of x; "
            f"got {features} (project with a 1x1 convolution instead)"
        )
    first = x.ndim - rank - 1
    steps = (1,) * first + (strides,) * rank + (1,)
    kept = lax.slice(x, (0,) * x.ndim, x.shape, steps)
    widths = [(0, 0, 0)] * (x.ndim - 1) + [(added // 2, added - added // 2, 0)]
    return lax.pad(kept, jnp.zeros((), x.dtype), widths)

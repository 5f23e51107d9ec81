"""InceptionBlock: windows of several sizes side by side."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike

from jaxnets.functional._pool import max_pool
from jaxnets.nn._conv_block import ConvBlock, Norm, in_turn
from jaxnets.nn._parameters import Activation


class InceptionBlock(nnx.Module):
    """Branches of several windows and a pool, their channels put side by side.

    Before each large window, and after the pool, a 1x1 convolution reduces the
    channels. `x (*batch, *spatial, in_features)` gives `y (*batch, *spatial, total)`.

    Accuracy: `"relaxed"` by default, errors relative to the largest values; see
    `jaxnets.functional.conv_accuracy`.

    Args:
        in_features: channels of `x`.
        features: channels that the 1x1 branch gives.
        branches: for each further branch the cells of its window along every axis and
            the channels after the reduction and at the end: `((3, 96, 128), ...)`.
        pool_features: channels of the pooled branch, a max pool of 3 cells a side.
        spatial_ndim: how many axes before the channels are spatial.
        norm: makes a normalisation behind each convolution; None has none, and biases.
        activation: behind each convolution.
        rngs: where the initializers take their keys.
        options: further arguments of every `ConvBlock`.

    Example:
        >>> import jax.numpy as jnp
        >>> block = InceptionBlock(
        ...     192, 64, ((3, 96, 128), (5, 16, 32)), 32, rngs=nnx.Rngs(0)
        ... )
        >>> block(jnp.ones((1, 28, 28, 192))).shape
        (1, 28, 28, 256)

    Source:
        Szegedy et al. 2014, arXiv:1409.4842, figure 2 (b).
    """

    def __init__(
        self,
        in_features: int,
        features: int,
        branches: Sequence[tuple[int, int, int]],
        pool_features: int,
        *,
        spatial_ndim: int = 2,
        norm: Norm | None = None,
        activation: Activation = jax.nn.relu,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        block = partial(
            ConvBlock, norm=norm, activation=activation, rngs=rngs, **options
        )
        one = (1,) * spatial_ndim
        self.branches = nnx.List([nnx.List([block(in_features, features, one)])])
        for side, reduced, out in branches:
            reduce = block(in_features, reduced, one)
            window = block(reduced, out, (side,) * spatial_ndim)
            self.branches.append(nnx.List([reduce, window]))
        self.pooled = block(in_features, pool_features, one)
        outs = (out for _, _, out in branches)
        self.out_features = features + sum(outs) + pool_features
        self.spatial_ndim = spatial_ndim

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Apply to `(*batch, *spatial, in_features)`."""
        x = jnp.asarray(x)
        window = (3,) * self.spatial_ndim
        pooled = self.pooled(max_pool(x, window, strides=1, padding=1))
        parts = [in_turn(branch, x) for branch in self.branches]
        return jnp.concatenate([*parts, pooled], axis=-1)

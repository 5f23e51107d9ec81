"""The dense layers at the end of the networks of 2012 to 2014."""

import math
from collections.abc import Sequence
from itertools import pairwise

import jax
from flax import nnx

from jaxnets.functional._pool_adaptive import adaptive_avg_pool


class DenseHead(nnx.Module):
    """An adaptive mean, dense layers with relu and dropout, and logits.

    Args:
        in_features: channels of the map.
        hidden: units of the dense layers before the last.
        num_classes: logits.
        pooled: rows and columns that the mean makes of the map; its cells are then
            flattened, channels innermost.
        keep_prob: probability that a unit stays in training.
        dropout_first: drop before the hidden layers (AlexNet), not behind them (VGG).
        rngs: where the initializers take their keys, and dropout its draws.

    Example:
        >>> import jax.numpy as jnp
        >>> head = DenseHead(8, (16,), 5, pooled=2, rngs=nnx.Rngs(0))
        >>> head(jnp.ones((2, 7, 7, 8))).shape
        (2, 5)
    """

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int],
        num_classes: int,
        *,
        pooled: int,
        keep_prob: float = 0.5,
        dropout_first: bool = False,
        rngs: nnx.Rngs,
    ):
        sizes = [in_features * pooled**2, *hidden]
        self.layers = nnx.List(
            [nnx.Linear(inputs, units, rngs=rngs) for inputs, units in pairwise(sizes)]
        )
        self.out = nnx.Linear(sizes[-1], num_classes, rngs=rngs)
        self.dropout = nnx.Dropout(1 - keep_prob, rngs=rngs)
        self.pooled = pooled
        self.dropout_first = dropout_first

    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits of a map `(*batch, height, width, in_features)`."""
        y = adaptive_avg_pool(x, (self.pooled, self.pooled))
        y = y.reshape(*y.shape[:-3], math.prod(y.shape[-3:]))
        for layer in self.layers:
            y = self.dropout(y) if self.dropout_first else y
            y = jax.nn.relu(layer(y))
            y = y if self.dropout_first else self.dropout(y)
        return self.out(y)

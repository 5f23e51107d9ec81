"""GoogLeNet: nine Inception blocks, with two auxiliary heads for training."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import ArrayLike

from jaxnets.functional._local_response_norm import local_response_norm
from jaxnets.functional._pool import max_pool
from jaxnets.functional._pool_adaptive import adaptive_avg_pool
from jaxnets.functional._pool_global import global_avg_pool
from jaxnets.models._head import DenseHead
from jaxnets.nn._conv_block import ConvBlock, Norm, batch_norm
from jaxnets.nn._inception import InceptionBlock

# Table 1 of the paper: 1x1; reduction and channels of 3x3; the same of 5x5; pooled.
STAGES = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
# The auxiliary heads look at what blocks 4a and 4d give, counted from 0 in stage 4.
AUXILIARY = (0, 3)
# From ImageNet's means and deviations to a mean and a deviation of one half.
SCALE = np.array([0.229, 0.224, 0.225]) / 0.5
SHIFT = (np.array([0.485, 0.456, 0.406]) - 0.5) / 0.5
# torchvision's figures; elsewhere epsilon is 1e-5.
NORM = partial(batch_norm, epsilon=1e-3)


class GoogLeNet(nnx.Module):
    """The first Inception network.

    `x (*batch, height, width, in_features)` gives logits `(*batch, num_classes)`.

    Accuracy: convolutions are `"relaxed"` unless `jaxnets.functional.conv_accuracy`
    sets another class.

    Args:
        in_features: channels of `x`.
        num_classes: logits.
        auxiliary: whether there are the two heads for training, see
            `with_auxiliary`.
        large_window: cells a side of the largest window of a block: 5 in the paper, 3
            in torchvision.
        last_pool: cells a side of the window before the last stage: 3 in the paper, 2
            in torchvision.
        normalise: normalise the first two maps by their neighbours, as in the paper.
        transform_input: take images normalised by ImageNet's means and deviations, as
            for torchvision's other networks, and bring them to the ±1 that its
            published GoogLeNet weights were trained on.
        keep_prob: probability that a feature stays in training.
        norm: makes a normalisation behind every convolution; None has none.
        rngs: where the initializers take their keys, and dropout its draws.
        options: further arguments of every `ConvBlock`.

    Raises:
        ValueError: if `transform_input` meets other than three channels.

    Example:
        >>> import jax.numpy as jnp
        >>> model = nnx.eval_shape(lambda: GoogLeNet(num_classes=10, rngs=nnx.Rngs(0)))
        >>> len(model.stages), model.head.out_features
        (3, 10)

    Source:
        Szegedy et al. 2014, arXiv:1409.4842, table 1.
    """

    def __init__(
        self,
        *,
        in_features: int = 3,
        num_classes: int = 1000,
        auxiliary: bool = False,
        large_window: int = 3,
        last_pool: int = 2,
        normalise: bool = False,
        transform_input: bool = False,
        keep_prob: float = 0.8,
        norm: Norm | None = NORM,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        if transform_input and in_features != 3:
            raise ValueError(
                "GoogLeNet: transform_input is for red, green and blue; got "
                f"in_features={in_features}"
            )
        block = partial(ConvBlock, norm=norm, rngs=rngs, **options)
        self.conv1 = block(in_features, 64, (7, 7), strides=2)
        self.conv2 = block(64, 64, (1, 1))
        self.conv3 = block(64, 192, (3, 3))
        self.stages = nnx.List()
        inputs = 192
        widths = []
        for stage in STAGES:
            blocks = nnx.List()
            for one, less3, three, less5, five, pooled in stage:
                branches = ((3, less3, three), (large_window, less5, five))
                inception = InceptionBlock(
                    inputs, one, branches, pooled, norm=norm, rngs=rngs, **options
                )
                inputs = inception.out_features
                blocks.append(inception)
            widths.append([b.out_features for b in blocks])
            self.stages.append(blocks)
        self.dropout = nnx.Dropout(1 - keep_prob, rngs=rngs)
        self.head = nnx.Linear(inputs, num_classes, rngs=rngs)
        self.auxiliary = nnx.List()
        for place in AUXILIARY if auxiliary else ():
            reduce = block(widths[1][place], 128, (1, 1))
            dense = DenseHead(
                128, (1024,), num_classes, pooled=4, keep_prob=0.3, rngs=rngs
            )
            self.auxiliary.append(nnx.List([reduce, dense]))
        self.normalise = normalise
        self.transform_input = transform_input
        self.last_pool = last_pool

    def features(self, x: ArrayLike) -> list[jax.Array]:
        """The maps `(*batch, height, width, channels)` that the three stages give."""
        return self._maps(x)[0]

    def with_auxiliary(
        self, x: ArrayLike
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        """The logits, and those of the two auxiliary heads.

        The paper trains on the sum of the three losses, the auxiliary ones times 0.3.

        Args:
            x: `(*batch, height, width, in_features)`.

        Returns:
            `(*batch, num_classes)`, and two more of this shape.

        Raises:
            ValueError: if the network was made without them.
        """
        if not self.auxiliary:
            raise ValueError(
                "GoogLeNet: there are no auxiliary heads (make it with auxiliary=True)"
            )
        maps, between = self._maps(x)
        first, second = (
            dense(reduce(adaptive_avg_pool(y, (4, 4))))
            for (reduce, dense), y in zip(self.auxiliary, between, strict=True)
        )
        return self._logits(maps[-1]), (first, second)

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Logits `(*batch, num_classes)` of `(*batch, height, width, in_features)`."""
        return self._logits(self.features(x)[-1])

    def _logits(self, y: jax.Array) -> jax.Array:
        return self.head(self.dropout(global_avg_pool(y, spatial_ndim=2)))

    def _maps(self, x: ArrayLike) -> tuple[list[jax.Array], list[jax.Array]]:
        if self.transform_input:
            x = jnp.asarray(x)
            scale, shift = (jnp.asarray(v, x.dtype) for v in (SCALE, SHIFT))
            x = x * _along(scale, x) + _along(shift, x)
        y = _lower(self.conv1(x))
        y = self.conv3(self.conv2(self._normalised(y)))
        y = _lower(self._normalised(y))
        maps, between = [], []
        for number, blocks in enumerate(self.stages):
            for place, block in enumerate(blocks):
                y = block(y)
                if number == 1 and place in AUXILIARY:
                    between.append(y)
            maps.append(y)
            if number < 2:
                y = _lower(y, 3 if number == 0 else self.last_pool)
        return maps, between

    def _normalised(self, y: jax.Array) -> jax.Array:
        if not self.normalise:
            return y
        return local_response_norm(y, size=5, alpha=1e-4, beta=0.75, k=1.0)


def _lower(y: jax.Array, side: int = 3) -> jax.Array:
    return max_pool(y, (side, side), strides=2, ceil_mode=True)


def _along(values: jax.Array, x: jax.Array) -> jax.Array:
    return values.reshape((1,) * (x.ndim - 1) + (-1,))


PRESETS: dict[str, tuple[Any, dict[str, Any]]] = {
    "googlenet": (GoogLeNet, {}),
    "googlenet_2014": (
        GoogLeNet,
        {"norm": None, "large_window": 5, "last_pool": 3, "normalise": True},
    ),
}

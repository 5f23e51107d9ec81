"""AlexNet: as published, on two groups of channels, and as torchvision has it."""

from typing import Any

import jax
from flax import nnx
from jax.typing import ArrayLike

from jaxnets.functional._local_response_norm import local_response_norm
from jaxnets.functional._pool import max_pool
from jaxnets.models._head import DenseHead
from jaxnets.nn._conv_block import ConvBlock

WINDOWS = (11, 5, 3, 3, 3)
POOLED = (0, 1, 4)
"""Convolutions that a max pool of 3 cells, two apart, follows."""


class AlexNet(nnx.Module):
    """Five convolutions, three overlapping pools, three dense layers.

    `x (*batch, height, width, in_features)` gives logits `(*batch, num_classes)`.

    Accuracy: convolutions are `"relaxed"` unless `jaxnets.functional.conv_accuracy`
    sets another class.

    Args:
        widths: channels of the five convolutions.
        groups: of the second, fourth and fifth convolution: 2 in the paper, which ran
            each group on a GPU of its own.
        normalise: normalise the first two maps by their neighbours (local response
            normalisation, n = 5, α = 1e-4, β = 0.75, k = 2).
        first_padding: cells around the image; 2 takes images of 224, 0 those of 227.
        in_features: channels of `x`.
        num_classes: logits.
        hidden: units of the two dense layers before the last.
        pooled: rows and columns that an adaptive mean makes of the last map.
        keep_prob: probability that a unit of the dense layers stays in training.
        rngs: where the initializers take their keys, and dropout its draws.
        options: further arguments of every `ConvBlock`.

    Example:
        >>> import jax.numpy as jnp
        >>> small = {"widths": (8, 8, 8, 8, 8), "hidden": 16, "num_classes": 5}
        >>> AlexNet(**small, rngs=nnx.Rngs(0))(jnp.ones((2, 64, 64, 3))).shape
        (2, 5)

    Source:
        Krizhevsky, Sutskever, Hinton 2012; the default widths: Krizhevsky 2014,
        arXiv:1404.5997.
    """

    def __init__(
        self,
        *,
        widths: tuple[int, ...] = (64, 192, 384, 256, 256),
        groups: int = 1,
        normalise: bool = False,
        first_padding: int = 2,
        in_features: int = 3,
        num_classes: int = 1000,
        hidden: int = 4096,
        pooled: int = 6,
        keep_prob: float = 0.5,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        self.blocks = nnx.List()
        inputs = in_features
        for number, (width, side) in enumerate(zip(widths, WINDOWS, strict=True)):
            self.blocks.append(
                ConvBlock(
                    inputs,
                    width,
                    (side, side),
                    strides=4 if number == 0 else 1,
                    padding=first_padding if number == 0 else None,
                    feature_group_count=groups if number in (1, 3, 4) else 1,
                    norm=None,
                    rngs=rngs,
                    **options,
                )
            )
            inputs = width
        self.head = DenseHead(
            inputs,
            (hidden, hidden),
            num_classes,
            pooled=pooled,
            keep_prob=keep_prob,
            dropout_first=True,
            rngs=rngs,
        )
        self.normalise = normalise

    def features(self, x: ArrayLike) -> list[jax.Array]:
        """The maps `(*batch, height, width, channels)` behind the three pools."""
        maps, y = [], x
        for number, block in enumerate(self.blocks):
            y = block(y)
            if self.normalise and number < 2:
                # The paper does not divide α by the size, as this function does.
                y = local_response_norm(y, size=5, alpha=5e-4, beta=0.75, k=2.0)
            if number in POOLED:
                y = max_pool(y, (3, 3), strides=2)
                maps.append(y)
        return maps

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Logits `(*batch, num_classes)` of `(*batch, height, width, in_features)`."""
        return self.head(self.features(x)[-1])


PRESETS: dict[str, tuple[Any, dict[str, Any]]] = {
    "alexnet": (AlexNet, {}),
    "alexnet_2012": (
        AlexNet,
        {
            "widths": (96, 256, 384, 384, 256),
            "groups": 2,
            "normalise": True,
            "first_padding": 0,
        },
    ),
}

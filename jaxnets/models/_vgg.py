"""VGG: 3x3 convolutions, and nothing but, in five stages."""

from typing import Any

import jax
from flax import nnx
from jax.typing import ArrayLike

from jaxnets.functional._pool import max_pool
from jaxnets.models._head import DenseHead
from jaxnets.nn._conv_block import ConvBlock, Norm, batch_norm


class VGG(nnx.Module):
    """A VGG network: stages of 3x3 convolutions, each ended by a max pool.

    `x (*batch, height, width, in_features)` gives logits `(*batch, num_classes)`.

    Accuracy: convolutions are `"relaxed"` unless `jaxnets.functional.conv_accuracy`
    sets another class.

    Args:
        depths: convolutions of every stage.
        widths: their channels.
        in_features: channels of `x`.
        num_classes: logits.
        hidden: units of the two dense layers before the last.
        pooled: rows and columns that an adaptive mean makes of the last map, whatever
            the size of the image.
        keep_prob: probability that a unit of the dense layers stays in training.
        norm: makes a normalisation behind every convolution; None has none.
        rngs: where the initializers take their keys, and dropout its draws.
        options: further arguments of every `ConvBlock`.

    Example:
        >>> import jax.numpy as jnp
        >>> model = VGG((1, 1), (8, 16), hidden=32, num_classes=5, rngs=nnx.Rngs(0))
        >>> model(jnp.ones((2, 32, 32, 3))).shape
        (2, 5)

    Source:
        Simonyan, Zisserman 2014, arXiv:1409.1556, table 1.
    """

    def __init__(
        self,
        depths: tuple[int, ...],
        widths: tuple[int, ...] = (64, 128, 256, 512, 512),
        *,
        in_features: int = 3,
        num_classes: int = 1000,
        hidden: int = 4096,
        pooled: int = 7,
        keep_prob: float = 0.5,
        norm: Norm | None = None,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        self.stages = nnx.List()
        inputs = in_features
        for depth, width in zip(depths, widths, strict=True):
            stage = nnx.List()
            for _ in range(depth):
                # With a bias also before a normalisation, as torchvision has it.
                stage.append(
                    ConvBlock(
                        inputs,
                        width,
                        (3, 3),
                        norm=norm,
                        use_bias=True,
                        rngs=rngs,
                        **options,
                    )
                )
                inputs = width
            self.stages.append(stage)
        self.head = DenseHead(
            inputs,
            (hidden, hidden),
            num_classes,
            pooled=pooled,
            keep_prob=keep_prob,
            dropout_first=False,
            rngs=rngs,
        )

    def features(self, x: ArrayLike) -> list[jax.Array]:
        """The maps `(*batch, height, width, channels)` that the stages give."""
        maps, y = [], x
        for stage in self.stages:
            for block in stage:
                y = block(y)
            y = max_pool(y, (2, 2))
            maps.append(y)
        return maps

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Logits `(*batch, num_classes)` of `(*batch, height, width, in_features)`."""
        return self.head(self.features(x)[-1])


DEPTHS = {
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
PRESETS: dict[str, tuple[Any, dict[str, Any]]] = {
    f"{name}{ending}": (VGG, {"depths": depths, "norm": norm})
    for name, depths in DEPTHS.items()
    for ending, norm in (("", None), ("_bn", batch_norm))
}

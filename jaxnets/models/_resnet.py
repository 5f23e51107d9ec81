"""ResNet, ResNeXt and wide ResNet for large images, and ResNet for CIFAR's."""

from functools import partial
from typing import Any

import jax
from flax import nnx
from jax.typing import ArrayLike

from jaxnets.functional._checks import check_choice
from jaxnets.functional._pool import max_pool
from jaxnets.functional._pool_global import global_avg_pool
from jaxnets.models._repeated import Repeated
from jaxnets.nn._conv_block import ConvBlock, Norm, batch_norm
from jaxnets.nn._parameters import Activation
from jaxnets.nn._residual import BottleneckBlock, ResidualBlock


class ResNet(nnx.Module):
    """A residual network: a stem, stages of equal blocks, a mean, a dense head.

    `x (*batch, height, width, in_features)` gives logits `(*batch, num_classes)`.

    Accuracy: convolutions are `"relaxed"` unless `jaxnets.functional.conv_accuracy`
    sets another class.

    Args:
        depths: blocks of every stage.
        bottleneck: take `BottleneckBlock`s, whose outputs have four times the width.
        width: channels of the first stage; each further stage has twice as many, and
            all but the first begin with a stride of 2.
        groups: of the convolution in the middle of a bottleneck (ResNeXt).
        group_width: channels of each group in the first stage; None takes `width`.
            With one group it is the width of the middle (128 gives a wide ResNet-50).
        stem: `"large"` is a 7x7 convolution and a max pool, both of stride 2;
            `"small"` a 3x3 convolution for images as small as CIFAR's.
        in_features: channels of `x`.
        num_classes: logits; 0 leaves the head out and gives features.
        shortcut: as in `ResidualBlock`; `"none"` makes the plain twin.
        preactivation: as in `ResidualBlock`; the last stage is then normalised and
            activated once more.
        keep_prob: chance of the last block to be taken, from which that of the others
            rises to 1 in equal steps (stochastic depth).
        scan: run equal blocks of a stage as one loop, which is compiled once: a deep
            network then compiles as fast as a shallow one. Needs `keep_prob` 1.
        remat: compute what is inside a block again in the backward pass.
        use_bias: whether the convolutions have biases, as in keras.applications.
        padding: None pads as many cells behind as in front, as PyTorch and
            keras.applications do; `"SAME"` pads one less in front where it strides, as
            `padding="same"` of Keras and TensorFlow does.
        norm: makes a normalisation, `norm(features, rngs=rngs)`.
        activation: of all blocks.
        rngs: where the initializers take their keys.
        options: further arguments of every block, such as `squeeze` or `zero_init`.

    Raises:
        ValueError: if an option is out of range, or `scan` meets stochastic depth.

    Example:
        >>> import jax.numpy as jnp
        >>> small = {"width": 8, "stem": "small", "num_classes": 5}
        >>> model = ResNet((1, 1), **small, rngs=nnx.Rngs(0))
        >>> model(jnp.ones((2, 8, 8, 3))).shape
        (2, 5)

    Source:
        He, Zhang, Ren, Sun 2015, arXiv:1512.03385, with the stride of a bottleneck in
        its 3x3 convolution, as torchvision has it.
    """

    def __init__(
        self,
        depths: tuple[int, ...],
        *,
        bottleneck: bool = False,
        width: int = 64,
        groups: int = 1,
        group_width: int | None = None,
        stem: str = "large",
        in_features: int = 3,
        num_classes: int = 1000,
        shortcut: str = "projection",
        preactivation: bool = False,
        keep_prob: float = 1.0,
        scan: bool = False,
        remat: bool = False,
        use_bias: bool = False,
        padding: str | None = None,
        norm: Norm = batch_norm,
        activation: Activation = jax.nn.relu,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        if stem not in ("large", "small"):
            raise ValueError(f"ResNet: stem must be 'large' or 'small'; got {stem!r}")
        if scan and keep_prob < 1:
            raise ValueError(
                "ResNet: scan needs blocks that are equal, and with stochastic depth "
                f"each has a chance of its own; got keep_prob={keep_prob} (scan=False)"
            )
        check_choice("ResNet", "padding", padding, (None, "SAME"))
        if padding is not None:
            options["padding"] = padding
        large = stem == "large"
        self.stem = ConvBlock(
            in_features,
            width,
            (7, 7) if large else (3, 3),
            strides=2 if large else 1,
            padding=padding,
            use_bias=use_bias,
            norm=norm,
            activation=activation,
            rngs=rngs,
        )
        if preactivation:
            # The first block normalises and activates what the stem gives.
            self.stem.norm, self.stem.activation = nnx.data(None), None
        self.pool_stem = large
        self.padding = padding
        self.stages = nnx.List()
        inputs, number = width, 0
        for stage, depth in enumerate(depths):
            middle = width * 2**stage
            kind: Any = partial(ResidualBlock, features=middle)
            if bottleneck:
                inner = middle * (group_width or width) // width * groups
                kind = partial(
                    BottleneckBlock, features=4 * middle, width=inner, groups=groups
                )
            kind = partial(
                kind,
                shortcut=shortcut,
                preactivation=preactivation,
                use_bias=use_bias,
                norm=norm,
                activation=activation,
                rngs=rngs,
                **options,
            )
            blocks = nnx.List()
            for place in range(min(depth, 1) if scan else depth):
                number += 1
                chance = 1 - (1 - keep_prob) * number / sum(depths)
                strides = 2 if place == 0 and stage > 0 else 1
                blocks.append(kind(inputs, strides=strides, keep_prob=chance))
                inputs = blocks[-1].features
            if scan and depth > 1:
                equal = partial(kind, inputs)
                blocks.append(Repeated(equal, depth - 1, remat=remat, rngs=rngs))
            self.stages.append(blocks)
        self.final_norm = nnx.data(norm(inputs, rngs=rngs) if preactivation else None)
        head = nnx.Linear(inputs, num_classes, rngs=rngs) if num_classes else None
        self.head = nnx.data(head)
        self.activation = activation
        self.remat = remat

    def features(self, x: ArrayLike) -> list[jax.Array]:
        """The maps `(*batch, height, width, channels)` that the stages give."""
        y = self.stem(x)
        if self.pool_stem:
            y = max_pool(y, (3, 3), strides=2, padding=self.padding or 1)
        maps = []
        for blocks in self.stages:
            for block in blocks:
                again = self.remat and not isinstance(block, Repeated)
                y = nnx.remat(lambda b, y: b(y))(block, y) if again else block(y)
            maps.append(y)
        if self.final_norm is not None:
            maps[-1] = self.activation(self.final_norm(maps[-1]))
        return maps

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Logits `(*batch, num_classes)` of `(*batch, height, width, in_features)`."""
        y = global_avg_pool(self.features(x)[-1], spatial_ndim=2)
        return y if self.head is None else self.head(y)


LARGE = {
    "resnet18": {"depths": (2, 2, 2, 2)},
    "resnet34": {"depths": (3, 4, 6, 3)},
    "resnet50": {"depths": (3, 4, 6, 3), "bottleneck": True},
    "resnet101": {"depths": (3, 4, 23, 3), "bottleneck": True},
    "resnet152": {"depths": (3, 8, 36, 3), "bottleneck": True},
}
GROUPED = {
    "resnext50_32x4d": ("resnet50", 32, 4),
    "resnext101_32x8d": ("resnet101", 32, 8),
    "resnext101_64x4d": ("resnet101", 64, 4),
    "wide_resnet50_2": ("resnet50", 1, 128),
    "wide_resnet101_2": ("resnet101", 1, 128),
}
# keras.applications: biases, other figures, the stride in the first 1x1.
KERAS = {
    f"{name}_keras": {
        **LARGE[name],
        "stride_first": True,
        "use_bias": True,
        "norm": partial(batch_norm, momentum=0.99, epsilon=1.001e-5),
    }
    for name in ("resnet50", "resnet101", "resnet152")
}
# 6n + 2 layers, counted as in the paper, section 4.2.
SMALL = {
    f"{kind}{6 * n + 2}_cifar": {
        "depths": (n, n, n),
        "width": 16,
        "stem": "small",
        "shortcut": shortcut,
        "num_classes": 10,
    }
    for kind, shortcut in (("resnet", "pad"), ("plain", "none"))
    for n in (3, 5, 7, 9, 18, 200)
}
PRESETS: dict[str, tuple[Any, dict[str, Any]]] = {
    name: (ResNet, options)
    for name, options in {
        **LARGE,
        **{
            name: {**LARGE[base], "groups": groups, "group_width": group_width}
            for name, (base, groups, group_width) in GROUPED.items()
        },
        **KERAS,
        **SMALL,
    }.items()
}

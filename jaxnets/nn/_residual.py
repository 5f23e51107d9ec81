"""Residual blocks: two or three convolutions beside a shortcut."""

from typing import Any

import jax
from flax import nnx

from jaxnets.nn._conv_block import Norm, batch_norm
from jaxnets.nn._parameters import Activation
from jaxnets.nn._residual_parts import Block, Step


class ResidualBlock(Block):
    """Two convolutions beside a shortcut, y = relu(x + F(x)).

    F(x) = norm(conv(relu(norm(conv(x))))). With `preactivation` y = x + F(x) and
    F(x) = conv(relu(norm(conv(relu(norm(x)))))). The channels go from `in_features` to
    `features`; the first convolution strides.

    Accuracy: `"relaxed"` by default, errors relative to the largest values; see
    `jaxnets.functional.conv_accuracy`.

    Args:
        in_features: channels of `x`.
        features: channels of `y`.
        kernel_size: window of both convolutions, one entry a spatial axis.
        strides: cells from one window of the first convolution to the next.
        shortcut: where x changes its shape `"pad"` pads with zeros (option A of the
            paper) and `"projection"` convolves by 1x1 (B); `"always"` convolves in
            every block (C); `"none"` has no shortcut: the plain network's block.
        preactivation: normalise and activate before each convolution, not after it.
        zero_init: let the last scale begin at 0, so that the block begins as its
            shortcut.
        keep_prob: probability that a training example takes the branch, which is
            scaled by its inverse (stochastic depth).
        squeeze: reduction of a squeeze-excitation at the end of the branch, or None.
        norm: makes a normalisation, `norm(features, rngs=rngs)`.
        activation: the relu of the formula.
        use_bias: whether the convolutions have biases.
        rngs: where the initializers take their keys, and stochastic depth its draws.
        options: further arguments of every `Conv`, such as `padding`, which else is
            (k - 1) // 2 cells on both sides.

    Raises:
        ValueError: if an option is unknown or out of range, or `zero_init` meets
            `preactivation`.

    Example:
        >>> import jax.numpy as jnp
        >>> block = ResidualBlock(16, 32, strides=2, rngs=nnx.Rngs(0))
        >>> block(jnp.ones((2, 8, 8, 16))).shape
        (2, 4, 4, 32)

    Source:
        He, Zhang, Ren, Sun: arXiv:1512.03385 and arXiv:1603.05027 (pre-activation);
        Huang et al. 2016, arXiv:1603.09382 (stochastic depth).
    """

    def __init__(
        self,
        in_features: int,
        features: int,
        *,
        kernel_size: tuple[int, ...] = (3, 3),
        strides: int = 1,
        shortcut: str = "projection",
        preactivation: bool = False,
        zero_init: bool = False,
        keep_prob: float = 1.0,
        squeeze: int | None = None,
        norm: Norm = batch_norm,
        activation: Activation = jax.nn.relu,
        use_bias: bool = False,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        window = tuple(kernel_size)
        super().__init__(
            [
                Step(in_features, features, window, strides),
                Step(features, features, window),
            ],
            shortcut=shortcut,
            preactivation=preactivation,
            zero_init=zero_init,
            keep_prob=keep_prob,
            squeeze=squeeze,
            norm=norm,
            activation=activation,
            use_bias=use_bias,
            rngs=rngs,
            options=options,
        )


class BottleneckBlock(Block):
    """A convolution between two by 1x1, beside a shortcut.

    The first 1x1 takes the channels down to `width`, the second up to `features`. All
    arguments that are not listed are those of `ResidualBlock`.

    Accuracy: `"relaxed"` by default, errors relative to the largest values; see
    `jaxnets.functional.conv_accuracy`.

    Args:
        in_features: channels of `x`.
        features: channels of `y`.
        width: channels in between; None takes a quarter of `features`.
        kernel_size: window of the convolution in the middle.
        strides: cells from one of its windows to the next.
        groups: groups of its channels (ResNeXt).
        stride_first: let the first 1x1 stride, as in the paper and in Keras, in place
            of the convolution in the middle, as in torchvision.
        shortcut: as in `ResidualBlock`, and so are the arguments behind it.
        preactivation: normalise and activate before each convolution.
        zero_init: let the last scale begin at 0.
        keep_prob: probability that a training example takes the branch.
        squeeze: reduction of a squeeze-excitation, or None.
        norm: makes a normalisation.
        activation: between the convolutions and at the end.
        use_bias: whether the convolutions have biases.
        rngs: where keys come from.
        options: further arguments of every `Conv`.

    Example:
        >>> import jax.numpy as jnp
        >>> block = BottleneckBlock(64, 256, groups=4, rngs=nnx.Rngs(0))
        >>> block(jnp.ones((2, 8, 8, 64))).shape
        (2, 8, 8, 256)

    Source:
        He, Zhang, Ren, Sun 2015, arXiv:1512.03385, figure 5; Xie et al. 2017,
        arXiv:1611.05431 (groups).
    """

    def __init__(
        self,
        in_features: int,
        features: int,
        *,
        width: int | None = None,
        kernel_size: tuple[int, ...] = (3, 3),
        strides: int = 1,
        groups: int = 1,
        stride_first: bool = False,
        shortcut: str = "projection",
        preactivation: bool = False,
        zero_init: bool = False,
        keep_prob: float = 1.0,
        squeeze: int | None = None,
        norm: Norm = batch_norm,
        activation: Activation = jax.nn.relu,
        use_bias: bool = False,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        width = features // 4 if width is None else width
        window, one = tuple(kernel_size), (1,) * len(kernel_size)
        first, middle = (strides, 1) if stride_first else (1, strides)
        super().__init__(
            [
                Step(in_features, width, one, first),
                Step(width, width, window, middle, groups),
                Step(width, features, one),
            ],
            shortcut=shortcut,
            preactivation=preactivation,
            zero_init=zero_init,
            keep_prob=keep_prob,
            squeeze=squeeze,
            norm=norm,
            activation=activation,
            use_bias=use_bias,
            rngs=rngs,
            options=options,
        )

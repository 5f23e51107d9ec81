"""Convolution, normalisation and activation as one module, and channel weights."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike

from jaxnets.functional._checks import check_choice, check_integers
from jaxnets.functional._pool_global import global_avg_pool
from jaxnets.functional._shapes import IntOrInts, Padding
from jaxnets.nn._conv import Conv
from jaxnets.nn._conv_sizes import window_of
from jaxnets.nn._parameters import Activation, Initializer

Norm = Callable[..., nnx.Module]
"""Makes a normalisation: `norm(features, rngs=rngs)`, as Flax's classes do."""

# PyTorch's figures: its momentum of 0.1 is the share of the new value. Flax's default
# variance, E[x²] − E[x]², has no correct digit in float32 where the mean is some
# thousand deviations; two passes do not cancel.
batch_norm = partial(nnx.BatchNorm, momentum=0.9, epsilon=1e-5, use_fast_variance=False)
# Keeps the variance of gradients through a relu, as in He et al. 2015.
he_fan_out = jax.nn.initializers.variance_scaling(2.0, "fan_out", "normal")

ORDERS = ("conv-norm-activation", "norm-activation-conv", "conv-activation-norm")


class ConvBlock(nnx.Module):
    """A convolution with its normalisation and its activation, in any order.

    `x (*batch, *spatial, in_features)` gives `y (*batch, *positions, out_features)`.

    Accuracy: `"relaxed"` by default, errors relative to the largest values; see
    `jaxnets.functional.conv_accuracy`.

    Args:
        in_features: channels of `x`.
        out_features: channels of `y`.
        kernel_size: cells of the window, one entry a spatial axis.
        strides: cells from one window to the next.
        padding: as in `jaxnets.functional.conv`; None pads (k - 1) // 2 dilated cells
            on both sides, as PyTorch's networks do (`"SAME"` pads one cell less in
            front when it strides).
        norm: makes the normalisation, `norm(features, rngs=rngs)`; None leaves it out.
            Flax's own need `use_fast_variance=False`, as the default here has it,
            wherever the mean may be large.
        activation: function of the sums, such as `jax.nn.relu`; None leaves it out.
        order: `"conv-norm-activation"`, `"norm-activation-conv"` (pre-activation) or
            `"conv-activation-norm"`.
        use_bias: whether the convolution has a bias; None gives it one unless a
            normalisation follows at once, which would take it away again.
        kernel_init: initializer of the kernel.
        options: further arguments of `Conv`, such as `feature_group_count`.
        rngs: where the initializers take their keys.

    Raises:
        ValueError: if the order is unknown.

    Example:
        >>> import jax.numpy as jnp
        >>> block = ConvBlock(3, 8, (3, 3), strides=2, rngs=nnx.Rngs(0))
        >>> block(jnp.ones((2, 28, 28, 3))).shape
        (2, 14, 14, 8)

    Source:
        Ioffe, Szegedy 2015, arXiv:1502.03167; He et al. 2016, arXiv:1603.05027.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: IntOrInts,
        *,
        strides: IntOrInts = 1,
        padding: Padding | None = None,
        norm: Norm | None = batch_norm,
        activation: Activation | None = jax.nn.relu,
        order: str = "conv-norm-activation",
        use_bias: bool | None = None,
        kernel_init: Initializer = he_fan_out,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        check_choice("ConvBlock", "order", order, ORDERS)
        if padding is None:
            dilation = options.get("kernel_dilation", 1)
            padding = centred_padding("ConvBlock", kernel_size, dilation)
        if use_bias is None:
            use_bias = norm is None or order != "conv-norm-activation"
        self.conv = Conv(
            in_features,
            out_features,
            kernel_size,
            strides,
            padding=padding,
            use_bias=use_bias,
            kernel_init=kernel_init,
            rngs=rngs,
            **options,
        )
        first = order.startswith("norm")
        features = in_features if first else out_features
        self.norm = nnx.data(None if norm is None else norm(features, rngs=rngs))
        self.activation = activation
        self.order = order

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Apply the three, `(*batch, *spatial, in_features)`, in their order."""
        for step in self.order.split("-"):
            function = getattr(self, step)
            x = x if function is None else function(x)
        return x  # type: ignore[return-value]


def centred_padding(
    layer: str, kernel_size: IntOrInts, dilation: IntOrInts = 1
) -> tuple[int, ...]:
    """(k - 1) // 2 dilated cells on both sides of every axis."""
    window = window_of(layer, kernel_size)
    steps = check_integers(
        layer, "kernel_dilation", dilation, length=len(window), minimum=1
    )
    return tuple((k - 1) // 2 * d for k, d in zip(window, steps, strict=True))


class SqueezeExcitation(nnx.Module):
    """Weigh every channel by what its mean over all positions tells.

    y = x · σ(W2 · relu(W1 · mean(x) + b1) + b2), the mean over the spatial axes.

    Args:
        features: channels of `x`.
        reduction: the hidden layer has features // reduction units, at least one.
        spatial_ndim: how many axes before the channels are spatial.
        activation: of the hidden layer.
        gate: the σ of the formula.
        rngs: where the initializers take their keys.

    Example:
        >>> import jax.numpy as jnp
        >>> SqueezeExcitation(32, rngs=nnx.Rngs(0))(jnp.ones((2, 7, 7, 32))).shape
        (2, 7, 7, 32)

    Source:
        Hu, Shen, Sun 2018, arXiv:1709.01507, equations 2 to 4.
    """

    def __init__(
        self,
        features: int,
        *,
        reduction: int = 16,
        spatial_ndim: int = 2,
        activation: Activation = jax.nn.relu,
        gate: Activation = jax.nn.sigmoid,
        rngs: nnx.Rngs,
    ):
        hidden = max(1, features // reduction)
        self.reduce = nnx.Linear(features, hidden, rngs=rngs)
        self.expand = nnx.Linear(hidden, features, rngs=rngs)
        self.spatial_ndim = spatial_ndim
        self.activation = activation
        self.gate = gate

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Apply to `(*batch, *spatial, features)`."""
        x = jnp.asarray(x)
        mean = global_avg_pool(x, spatial_ndim=self.spatial_ndim, keepdims=True)
        return x * self.gate(self.expand(self.activation(self.reduce(mean))))


def in_turn(layers: Sequence[Callable], x: jax.Array) -> jax.Array:
    """What comes out of one layer after the other."""
    for layer in layers:
        x = layer(x)
    return x

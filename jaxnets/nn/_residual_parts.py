"""What residual blocks share: the branch, the shortcut, and how they meet."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike

from jaxnets.functional._checks import check_choice
from jaxnets.functional._residual import pad_shortcut, residual
from jaxnets.nn._conv import Conv
from jaxnets.nn._conv_block import (
    Norm,
    SqueezeExcitation,
    centred_padding,
    he_fan_out,
)
from jaxnets.nn._parameters import Activation

SHORTCUTS = ("pad", "projection", "always", "none")


class Step(NamedTuple):
    """One convolution of the branch: channels in and out, window, strides, groups."""

    inputs: int
    features: int
    kernel_size: tuple[int, ...]
    strides: int = 1
    groups: int = 1


class Block(nnx.Module):
    """A branch of convolutions, given as steps, beside a shortcut.

    The arguments are those of `ResidualBlock`.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        *,
        shortcut: str,
        preactivation: bool,
        zero_init: bool,
        keep_prob: float,
        squeeze: int | None,
        norm: Norm,
        activation: Activation,
        use_bias: bool,
        rngs: nnx.Rngs,
        options: dict[str, Any],
    ):
        layer = type(self).__name__
        check_choice(layer, "shortcut", shortcut, SHORTCUTS)
        if not 0 < keep_prob <= 1:
            raise ValueError(f"{layer}: keep_prob must lie in (0, 1]; got {keep_prob}")
        if zero_init and preactivation:
            raise ValueError(
                f"{layer}: zero_init needs a normalisation at the end of the branch, "
                "which preactivation=True does not have (choose one)"
            )
        self.convs, self.norms = nnx.List(), nnx.List()
        for step in steps:
            conv = _conv(step, use_bias=use_bias, rngs=rngs, options=options)
            self.convs.append(conv)
            last = zero_init and step is steps[-1]
            scale = {"scale_init": jax.nn.initializers.zeros} if last else {}
            width = step.inputs if preactivation else step.features
            self.norms.append(norm(width, rngs=rngs, **scale))
        first, last = steps[0], steps[-1]
        self.features, self.strides = last.features, max(s.strides for s in steps)
        changes = self.strides > 1 or first.inputs != last.features
        self.shortcut = shortcut
        self.rank = rank = len(first.kernel_size)
        self.project = self.project_norm = nnx.data(None)
        if shortcut == "always" or (shortcut == "projection" and changes):
            step = Step(first.inputs, last.features, (1,) * rank, self.strides)
            conv = _conv(step, use_bias=use_bias, rngs=rngs, options=options)
            self.project = nnx.data(conv)
            if not preactivation:
                self.project_norm = nnx.data(norm(last.features, rngs=rngs))
        self.squeeze = nnx.data(None)
        if squeeze is not None:
            gates = SqueezeExcitation(
                last.features, reduction=squeeze, spatial_ndim=rank, rngs=rngs
            )
            self.squeeze = nnx.data(gates)
        self.drop = nnx.data(None)
        if keep_prob < 1:
            # One draw an example, for all of its cells.
            cells = tuple(range(-rank - 1, 0))
            drop = nnx.Dropout(1 - keep_prob, broadcast_dims=cells, rngs=rngs)
            self.drop = nnx.data(drop)
        self.preactivation = preactivation
        self.activation = activation

    def branch(self, x: jax.Array) -> jax.Array:
        """F(x), what the block adds to its shortcut."""
        layers = list(zip(self.convs, self.norms, strict=True))
        for number, (conv, norm) in enumerate(layers):
            if self.preactivation:
                # The first is applied before the paths part.
                x = conv(x if number == 0 else self.activation(norm(x)))
                continue
            x = norm(conv(x))
            if number < len(layers) - 1:
                x = self.activation(x)
        if self.squeeze is not None:
            x = self.squeeze(x)
        return x if self.drop is None else self.drop(x)

    def past(self, x: jax.Array) -> jax.Array:
        """What the shortcut makes of x."""
        if self.project is not None:
            x = self.project(x)
            return x if self.project_norm is None else self.project_norm(x)
        if self.shortcut == "pad":
            return pad_shortcut(
                x, self.features, strides=self.strides, spatial_ndim=self.rank
            )
        return x

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Apply the block to `(*batch, *spatial, in_features)`."""
        x = jnp.asarray(x)
        if self.preactivation:
            active = self.activation(self.norms[0](x))
            if self.shortcut == "none":
                return self.branch(active)
            past = self.past(x if self.project is None else active)
            return residual(active, self.branch, shortcut=lambda _: past)
        if self.shortcut == "none":
            return self.activation(self.branch(x))
        return self.activation(residual(x, self.branch, shortcut=self.past))


def _conv(step: Step, *, use_bias: bool, rngs: nnx.Rngs, options: dict) -> Conv:
    centred = centred_padding("residual block", step.kernel_size)
    return Conv(
        step.inputs,
        step.features,
        step.kernel_size,
        step.strides,
        feature_group_count=step.groups,
        use_bias=use_bias,
        kernel_init=he_fan_out,
        rngs=rngs,
        **{"padding": centred, **options},
    )

"""The table of cases: residual connections and blocks of layers."""

import jax
import jax.numpy as jnp
from flax import nnx

from jaxnets import nn
from tests.case_kinds import Case, function, module, normal

# Flax's normalisations promote half types, which the strict mode of the laws refuses.
NO_HALVES: tuple[str, ...] = ()
BLOCK = {"norm": nnx.LayerNorm, "activation": jax.nn.tanh}

BLOCK_CASES: list[Case] = [
    function("residual", "tanh", normal((4, 5)), sizes=(jnp.tanh,)),
    function("pad_shortcut", "strided", normal((4, 6, 5, 3)), sizes=(6,), strides=2),
    module(
        "pre-activation",
        lambda rngs: nn.ConvBlock(
            3, 4, (3, 2), order="norm-activation-conv", rngs=rngs, **BLOCK
        ),
        5,
        4,
        3,
    )._replace(dtypes=NO_HALVES),
    module(
        "projection",
        lambda rngs: nn.ResidualBlock(3, 4, strides=2, rngs=rngs, **BLOCK),
        5,
        4,
        3,
    )._replace(dtypes=NO_HALVES),
    module(
        "groups",
        lambda rngs: nn.BottleneckBlock(4, 8, width=4, groups=2, rngs=rngs, **BLOCK),
        4,
        3,
        4,
    )._replace(dtypes=NO_HALVES),
    module(
        "two windows",
        lambda rngs: nn.InceptionBlock(
            3, 2, ((3, 2, 2), (5, 2, 2)), 1, activation=jax.nn.tanh, rngs=rngs
        ),
        4,
        3,
        3,
    ),
    module(
        "tanh",
        lambda rngs: nn.SqueezeExcitation(
            4, reduction=2, activation=jax.nn.tanh, rngs=rngs
        ),
        3,
        2,
        4,
    ),
]

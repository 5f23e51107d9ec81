"""The networks of spatial_transformer.py, all with the same number of parameters."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from distortions import SIZES
from flax import nnx

from jaxnets import functional as F
from jaxnets import nn

# Keeps the variance through a relu: images of strokes are mostly zeros as it is.
HE = jax.nn.initializers.he_normal()


def make_network(name: str, config: Any, hidden: int, rngs: nnx.Rngs) -> nnx.Sequential:
    """One of the networks of a configuration; `hidden` sets its parameters."""
    size, layers = SIZES[config.distortion], []
    dense = partial(nn.Dense, activation=jax.nn.relu, kernel_init=HE, rngs=rngs)
    if name.startswith("st_"):
        if config.localization == "places" and name == "st_cnn":
            look, features = localization_by_places(rngs)
        else:
            look, features = localization(
                size, convolutional=name == "st_cnn", rngs=rngs
            )
        transformer = nn.SpatialTransformer(
            look,
            features,
            transform=config.transform,
            output_size=(28, 28),
            samples=config.samples,
            rngs=rngs,
        )
        # The identity's bias has zeros for the moves: the window shrinks, centred.
        transformer.last.bias[...] *= config.window
        layers.append(transformer)
        size = 28
    if name.endswith("fcn"):
        layers += [nn.Flatten(), dense(size * size, hidden)]
        return nnx.Sequential(*layers, nn.Dense(hidden, 10, rngs=rngs))
    strided = 2 if name == "cnn_stride" else 1
    conv = partial(
        nn.Conv,
        kernel_size=(5, 5),
        strides=strided,
        padding="SAME",
        activation=jax.nn.relu,
        kernel_init=HE,
        rngs=rngs,
    )
    first, second = config.channels
    for channels in ((1, first), (first, second)):
        layers.append(conv(*channels, algorithm=plan(channels[0])))
        if strided == 1:
            layers.append(nn.MaxPool((2, 2), padding="SAME"))
        size = -(-size // 2)
    # A canvas of 60 takes one pool more: 37 % errors instead of 46 after an epoch.
    for _ in range(2 if size > 14 else 1):
        layers.append(nn.MaxPool((2, 2), padding="SAME"))
        size = -(-size // 2)
    layers += [nn.Flatten(), dense(size**2 * second, hidden)]
    return nnx.Sequential(*layers, nn.Dense(hidden, 10, rngs=rngs))


def plan(in_features: int) -> str | F.ConvPlan:
    """How to convolve: with one channel patches and a product are the fastest."""
    # Forward, 128 x 60 x 60 x 1 by 5x5 to 8 channels, CPU time: 15 ms, direct 40.
    return F.ConvPlan("gemm", "direct", "direct") if in_features == 1 else "auto"


def localization(
    size: int, *, convolutional: bool, rngs: nnx.Rngs
) -> tuple[nnx.Sequential, int]:
    """The network that looks at the image, and how many features it gives."""
    options = {"activation": jax.nn.relu, "kernel_init": HE, "rngs": rngs}
    if not convolutional:
        return nnx.Sequential(nn.Flatten(), nn.Dense(size * size, 32, **options)), 32
    conv = partial(nn.Conv, kernel_size=(5, 5), **options)
    half = -(-size // 2)
    for _ in range(2):
        size = half
        half = -(-size // 2)
    layers = [
        nn.AvgPool((2, 2), padding="SAME"),
        conv(1, 8, algorithm=plan(1)),
        nn.MaxPool((2, 2), padding="SAME"),
        conv(8, 16),
        nn.MaxPool((2, 2), padding="SAME"),
        nn.Flatten(),
        nn.Dense(half * half * 16, 32, **options),
    ]
    return nnx.Sequential(*layers), 32


def localization_by_places(rngs: nnx.Rngs) -> tuple[nnx.Sequential, int]:
    """A network whose features are places in the image, and how many they are.

    It has no dense layer: what it learns of one place holds at all, and its features
    stay inside the frame.
    """
    options = {"kernel_size": (5, 5), "kernel_init": HE, "rngs": rngs}
    maps = 4
    layers = [
        nn.AvgPool((2, 2), padding="SAME"),
        nn.Conv(1, 8, activation=jax.nn.relu, algorithm=plan(1), **options),
        nn.MaxPool((2, 2), padding="SAME"),
        nn.Conv(8, 16, activation=jax.nn.relu, **options),
        # With it a cell of the maps sees 44 pixels, more than a digit.
        nn.Conv(16, 16, activation=jax.nn.relu, **options),
        nn.Conv(16, maps, **(options | {"kernel_size": (1, 1)})),
        mean_places,
    ]
    return nnx.Sequential(*layers), 2 * maps


def mean_places(maps: jax.Array) -> jax.Array:
    """Where maps `(n, height, width, k)` are great: x and y of each, `(n, 2 k)`.

    The mean place, in the transformer's coordinates, under the softmax of a map.
    """
    n, height, width, k = maps.shape
    shares = jax.nn.softmax(maps.reshape(n, height * width, k), axis=1)
    y, x = ((2 * jnp.arange(size) + 1) / size - 1 for size in (height, width))
    places = jnp.stack(jnp.broadcast_arrays(x, y[:, None]), axis=-1).reshape(-1, 2)
    return jnp.einsum("npk,pc->nkc", shares, places).reshape(n, 2 * k)


def count(model: nnx.Module) -> int:
    """How many parameters a network has."""
    return sum(a.size for a in jax.tree.leaves(nnx.state(model, nnx.Param)))


def fit_hidden(name: str, config: Any) -> int:
    """Units of the hidden layer that bring the parameters closest to their number."""

    def parameters(hidden: int) -> int:
        make = partial(make_network, name, config, hidden)
        return count(nnx.eval_shape(lambda: make(nnx.Rngs(0))))

    each = parameters(2) - parameters(1)
    return max(1, round((config.parameters - parameters(1)) / each) + 1)

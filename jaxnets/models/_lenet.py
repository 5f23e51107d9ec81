"""LeNet-5: as published in 1998, and in the form that textbooks give it."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import ArrayLike

from jaxnets.functional._pool import max_pool
from jaxnets.functional._pool_mean import avg_pool
from jaxnets.nn._conv import Conv
from jaxnets.nn._dense import Dense

# Table I of the paper: which of the six maps of S2 each of the sixteen of C3 sees.
CONNECTIONS = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5),
)  # fmt: skip


def scaled_tanh(x: jax.Array) -> jax.Array:
    """1.7159 tanh(2x / 3), which is about ±1 at ±1 (appendix A of the paper)."""
    return 1.7159 * jnp.tanh(2 / 3 * x)


def fan_in_uniform(key: jax.Array, shape: tuple[int, ...], dtype: Any = None):
    """Uniform between ±2.4 / fan-in, as in the paper."""
    fan_in = math.prod(shape[:-1])
    bound = 2.4 / fan_in
    return jax.random.uniform(key, shape, dtype or jnp.float32, -bound, bound)


class Subsampling(nnx.Module):
    """Means of 2x2 cells, times one trainable number a channel, plus another.

    y = activation(scale · Σ of the four cells + bias).

    Args:
        features: channels.

    Example:
        >>> Subsampling(6)(jnp.ones((2, 28, 28, 6))).shape
        (2, 14, 14, 6)

    Source:
        LeCun, Bottou, Bengio, Haffner 1998, section II.B.
    """

    def __init__(self, features: int):
        # A quarter: it begins as the mean.
        self.scale = nnx.Param(jnp.full((features,), 0.25))
        self.bias = nnx.Param(jnp.zeros((features,)))

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Apply to `(*batch, height, width, features)`."""
        total = 4 * avg_pool(x, (2, 2))
        shape = (1,) * (total.ndim - 1) + (-1,)
        scale, bias = (v[...].reshape(shape) for v in (self.scale, self.bias))
        return scaled_tanh(total * scale + bias)


class RBFHead(nnx.Module):
    """Minus the squared distance to a fixed code of ±1 for each class: logits.

    Args:
        in_features: length of the codes.
        num_classes: how many.
        rngs: draws the codes; the paper draws small bitmaps of the characters, or says
            to choose the bits at random.

    Example:
        >>> RBFHead(84, 10, rngs=nnx.Rngs(0))(jnp.ones((2, 84))).shape
        (2, 10)

    Source:
        LeCun, Bottou, Bengio, Haffner 1998, equation 7.
    """

    def __init__(self, in_features: int, num_classes: int, *, rngs: nnx.Rngs):
        bits = jax.random.bernoulli(rngs.params(), shape=(num_classes, in_features))
        self.codes = nnx.Param(jnp.where(bits, 1.0, -1.0), trainable=False)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply to `(*batch, in_features)`."""
        codes = jax.lax.stop_gradient(self.codes[...])
        codes = jnp.expand_dims(codes, tuple(range(x.ndim - 1)))
        return -jnp.sum((x[..., None, :] - codes) ** 2, axis=-1)


class LeNet5(nnx.Module):
    """LeNet-5 of 1998: trained subsampling, a table of connections, 60,000 weights.

    `x (*batch, 32, 32, in_features)` gives logits `(*batch, num_classes)`; smaller
    images, such as the 28x28 of MNIST, are put in the middle of zeros.

    Accuracy: convolutions are `"relaxed"` unless `jaxnets.functional.conv_accuracy`
    sets another class.

    Args:
        in_features: channels of `x`.
        num_classes: logits.
        head: `"rbf"`, minus the distances to fixed codes, or `"dense"`.
        connections: for each map of C3 the maps of S2 that it sees; None is the
            paper's table, an empty tuple lets every map see all.
        rngs: where the initializers take their keys.
        options: further arguments of every `Conv`.

    Raises:
        ValueError: if the head is unknown or the image larger than 32x32.

    Example:
        >>> model = LeNet5(rngs=nnx.Rngs(0))
        >>> model(jnp.ones((2, 28, 28, 1))).shape
        (2, 10)

    Source:
        LeCun, Bottou, Bengio, Haffner 1998, "Gradient-based learning applied to
        document recognition", section II.B.
    """

    def __init__(
        self,
        *,
        in_features: int = 1,
        num_classes: int = 10,
        head: str = "rbf",
        connections: tuple[tuple[int, ...], ...] | None = None,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        if head not in ("rbf", "dense"):
            raise ValueError(f"LeNet5: head must be 'rbf' or 'dense'; got {head!r}")
        table = CONNECTIONS if connections is None else connections
        settings = {
            "padding": "VALID",
            "kernel_init": fan_in_uniform,
            "activation": scaled_tanh,
            "rngs": rngs,
        }
        settings |= options
        self.c1 = Conv(in_features, 6, (5, 5), **settings)
        self.s2 = Subsampling(6)
        mask = _connection_mask(table) if table else None
        self.c3 = Conv(6, 16, (5, 5), mask=mask, **settings)
        self.s4 = Subsampling(16)
        self.c5 = Conv(16, 120, (5, 5), **settings)
        dense = {"kernel_init": fan_in_uniform, "rngs": rngs}
        self.f6 = Dense(120, 84, activation=scaled_tanh, **dense)
        if head == "rbf":
            self.head: Any = RBFHead(84, num_classes, rngs=rngs)
        else:
            self.head = Dense(84, num_classes, **dense)

    def features(self, x: ArrayLike) -> list[jax.Array]:
        """The maps behind S2, S4 and C5."""
        s2 = self.s2(self.c1(_in_the_middle(jnp.asarray(x))))
        s4 = self.s4(self.c3(s2))
        return [s2, s4, self.c5(s4)]

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Logits `(*batch, num_classes)` of `(*batch, height, width, in_features)`."""
        c5 = self.features(x)[-1]
        return self.head(self.f6(c5[..., 0, 0, :]))


class ModernLeNet(nnx.Module):
    """LeNet with relu, max pools, dense connections and a softmax's logits.

    `x (*batch, 28, 28, in_features)` gives logits `(*batch, num_classes)`; other sizes
    give another number of inputs to the first dense layer, so `input_size` says them.

    Accuracy: convolutions are `"relaxed"` unless `jaxnets.functional.conv_accuracy`
    sets another class.

    Args:
        in_features: channels of `x`.
        num_classes: logits.
        input_size: rows and columns of `x`.
        rngs: where the initializers take their keys.
        options: further arguments of both `Conv`s.

    Example:
        >>> ModernLeNet(rngs=nnx.Rngs(0))(jnp.ones((2, 28, 28, 1))).shape
        (2, 10)

    Source:
        Zhang et al., Dive into Deep Learning, section 7.6.
    """

    def __init__(
        self,
        *,
        in_features: int = 1,
        num_classes: int = 10,
        input_size: tuple[int, int] = (28, 28),
        rngs: nnx.Rngs,
        **options: Any,
    ):
        settings: dict[str, Any] = {"activation": jax.nn.relu, "rngs": rngs}
        settings["kernel_init"] = jax.nn.initializers.he_normal()
        self.conv1 = Conv(in_features, 6, (5, 5), **settings | options)
        valid = {**settings, "padding": "VALID", **options}
        self.conv2 = Conv(6, 16, (5, 5), **valid)
        rows, columns = ((size // 2 - 4) // 2 for size in input_size)
        self.flattened = (rows, columns)
        if min(input_size) < 12:
            raise ValueError(
                "ModernLeNet: input_size must be at least (12, 12), so that two pools "
                f"and a 5x5 window fit; got {input_size}"
            )
        self.dense1 = Dense(rows * columns * 16, 120, **settings)
        self.dense2 = Dense(120, 84, **settings)
        self.head = Dense(84, num_classes, rngs=rngs)

    def features(self, x: ArrayLike) -> list[jax.Array]:
        """The maps behind the two pools."""
        first = max_pool(self.conv1(x), (2, 2))
        return [first, max_pool(self.conv2(first), (2, 2))]

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Logits `(*batch, num_classes)` of `(*batch, height, width, in_features)`."""
        y = self.features(x)[-1]
        y = y.reshape(*y.shape[:-3], math.prod(y.shape[-3:]))
        return self.head(self.dense2(self.dense1(y)))


def _connection_mask(table: tuple[tuple[int, ...], ...]) -> np.ndarray:
    mask = np.zeros((5, 5, 6, len(table)), np.float32)
    for out, seen in enumerate(table):
        mask[:, :, list(seen), out] = 1
    return mask


def _in_the_middle(x: jax.Array) -> jax.Array:
    """The image in the middle of 32x32 cells."""
    missing = [32 - size for size in x.shape[-3:-1]]
    if min(missing) < 0:
        raise ValueError(
            f"LeNet5: x must be at most 32x32 cells; got shape {x.shape} (shrink it)"
        )
    around = [(m // 2, m - m // 2) for m in missing]
    return jnp.pad(x, [(0, 0)] * (x.ndim - 3) + around + [(0, 0)])


PRESETS: dict[str, tuple[Any, dict[str, Any]]] = {
    "lenet5": (LeNet5, {}),
    "lenet5_modern": (ModernLeNet, {}),
}

"""Small networks, data and trainers that the tests of the trainer share."""

from typing import Any

import jax
import numpy as np
import optax
from flax import nnx

from jaxnets import train


class Small(nnx.Module):
    """Batch norm, dropout, a list of layers and a layer used twice: all kinds of state.

    The layer before the batch norm has no bias: its gradient would be rounding noise,
    which Adam blows up to full steps.
    """

    def __init__(self, rngs: nnx.Rngs, features: int = 4, classes: int = 3):
        self.body = nnx.Sequential(
            nnx.Linear(features, 8, use_bias=False, rngs=rngs),
            nnx.BatchNorm(8, rngs=rngs),
            jax.nn.relu,
            nnx.Dropout(0.5, rngs=rngs),
            nnx.Linear(8, classes, rngs=rngs),
        )
        self.first = nnx.Linear(classes, classes, rngs=rngs)
        self.second = self.first

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.second(self.first(self.body(x)))


def small_trainer(optimizer: Any = None, **options: Any) -> train.Trainer:
    """A trainer of `Small` with Adam, accuracy and a confusion matrix."""
    return train.Trainer(
        Small(nnx.Rngs(0)),
        optimizer=optax.adam(1e-2) if optimizer is None else optimizer,
        loss=optax.softmax_cross_entropy_with_integer_labels,
        metrics={"acc": train.accuracy, "confusion": train.ConfusionMatrix(3)},
        **options,
    )


def linear_trainer(optimizer: Any = None, **options: Any) -> train.Trainer:
    """A trainer of softmax regression with plain gradient descent."""
    options = {
        "optimizer": optax.sgd(0.1) if optimizer is None else optimizer,
        "loss": optax.softmax_cross_entropy_with_integer_labels,
        **options,
    }
    return train.Trainer(nnx.Linear(4, 3, rngs=nnx.Rngs(0)), **options)


def blobs(size: int = 50, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points of three classes: `(size, 4)` float32 and `(size,)` int64."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, size)
    x = rng.normal(size=(size, 4)) + 1.5 * np.eye(3, 4)[y]
    return x.astype(np.float32), y


def assert_same_bits(actual: Any, expected: Any) -> None:
    """Compare two pytrees bit for bit, PRNG keys by their words."""
    leaves, tree = jax.tree.flatten(actual)
    expected_leaves, expected_tree = jax.tree.flatten(expected)
    assert tree == expected_tree
    for got, want in zip(leaves, expected_leaves, strict=True):
        if jax.numpy.issubdtype(got.dtype, jax.dtypes.prng_key):
            got, want = jax.random.key_data(got), jax.random.key_data(want)
        got, want = np.asarray(got), np.asarray(want)
        assert got.dtype == want.dtype
        assert got.tobytes() == want.tobytes()


def figures(history: train.History) -> dict[str, Any]:
    """What of a history must be repeatable: everything but the time it took."""
    columns = {n: np.stack(v) for n, v in history.values.items() if n != "seconds"}
    return {"epochs": np.asarray(history.epochs), **columns}

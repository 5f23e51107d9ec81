"""The parts of transfer learning: a network in two, few labels, one way to train."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxnets import functional as F
from jaxnets import models, train


class Classifier(nnx.Module):
    """A trunk that gives features, and a dense head.

    The features are the means of the maps of all stages: the last one alone knows what
    tells the old classes apart and little else.

    Args:
        trunk: a `models.ResNet`; its own head, if it has one, is left aside.
        head: takes the features.
        keep_averages: run the trunk with its running averages in training too, and
            leave them as they are.
    """

    def __init__(self, trunk: models.ResNet, head: nnx.Module, *, keep_averages: bool):
        self.trunk, self.head, self.keep_averages = trunk, head, keep_averages

    def train(self, **attributes: Any) -> None:
        """Go to training mode, the trunk only where its averages may change."""
        super().train(**attributes)
        if self.keep_averages:
            self.trunk.eval()

    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits of a batch of images."""
        return self.head(features(self.trunk, x))


def features(trunk: models.ResNet, x: jax.Array) -> jax.Array:
    """The means of the maps of all stages, side by side."""
    means = [F.global_avg_pool(y, spatial_ndim=2) for y in trunk.features(x)]
    return jnp.concatenate(means, axis=-1)


class Part:
    """Images and labels of some of the classes, counted from 0."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, classes: range):
        chosen = np.isin(labels, classes)
        self.x, self.y = images[chosen], (labels[chosen] - classes.start)

    def labelled(self, share: float, rng: np.random.Generator) -> np.ndarray:
        """A random share of the examples of each class, at least one, as indices."""
        each = [rng.permutation(np.flatnonzero(self.y == c)) for c in np.unique(self.y)]
        return np.concatenate([i[: max(1, round(share * len(i)))] for i in each])


def draws(
    x: np.ndarray, y: np.ndarray, steps: int, size: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of one size however few examples there are, pass after pass."""
    order = np.empty(0, np.int64)
    for _ in range(steps):
        while len(order) < size:
            order = np.concatenate([order, rng.permutation(len(x))])
        now, order = order[:size], order[size:]
        yield x[now], y[now]


class Method:
    """One way to train, compiled once and begun anew for every seed and share."""

    def __init__(self, model: nnx.Module, optimizer: Any):
        self.trainer = train.Trainer(
            model,
            optimizer=optimizer,
            loss=optax.softmax_cross_entropy_with_integer_labels,
            metrics={"acc": train.accuracy},
        )
        self.start = jax.tree.map(jnp.copy, self.trainer.state)

    def begin(self, model: nnx.Module) -> None:
        """Take over another model's parameters and averages."""
        _, params, rest = nnx.split(model, nnx.Param, ...)
        params, rest = nnx.to_pure_dict(params), nnx.to_pure_dict(rest)
        fresh = self.start._replace(params=params, model_state=rest)
        self.trainer.set_state(jax.tree.map(jnp.copy, fresh))

    def run(self, batches: Iterator) -> nnx.Module:
        """Train on the batches; the model in evaluation mode."""
        self.trainer.fit(batches, epochs=1, verbose=False)
        return self.trainer.model


def accuracy(method: Method, part: Part) -> float:
    """Share of right answers in evaluation mode."""
    return float(method.trainer.evaluate(part.x, part.y, batch_size=500)["acc"])

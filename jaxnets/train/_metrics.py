"""Metrics as sums: what one batch adds, and what an epoch's sums amount to."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxnets.functional._checks import check_integer
from jaxnets.functional._mesh import match_sharding


class Mean(NamedTuple):
    """A mean in two parts that add up over batches: total / count.

    Attributes:
        total: the weighted sum of the values, a scalar.
        count: the number of values, a scalar.

    Example:
        >>> a, b = Mean(6.0, 3.0), Mean(1.0, 1.0)
        >>> jax.tree.map(lambda x, y: x + y, a, b).compute()
        1.75
    """

    total: Any
    count: Any

    def compute(self) -> float:
        """The mean, NaN if nothing was counted."""
        return float(self.total) / float(self.count) if self.count else float("nan")


@runtime_checkable
class Metric(Protocol):
    """A metric that is no mean over examples, such as `ConfusionMatrix`."""

    def update(self, predictions: Any, targets: Any, mask: Any) -> Any:
        """What one batch adds: a pytree of arrays; sums of them are meaningful."""
        ...

    def compute(self, sums: Any) -> Any:
        """The metric, as NumPy arrays or numbers, from the sums over all batches."""
        ...


def mean(values: ArrayLike, mask: ArrayLike) -> Mean:
    """The masked mean of a batch as a `Mean`.

    total = Σᵢ maskᵢ vᵢ and count = Σᵢ maskᵢ, where vᵢ is the mean over all axes of
    `values` but the first.

    Args:
        values: `(batch, ...)`, one value or several an example.
        mask: `(batch,)`, 1 for a row that counts and 0 for one that does not.

    Returns:
        A `Mean` of two float32 scalars (float64 for float64 values).

    Raises:
        ValueError: if `values` has no batch axis or not that of `mask`.

    Example:
        >>> mean(jnp.array([1.0, 3.0, 100.0]), jnp.array([1.0, 1.0, 0.0])).compute()
        2.0
    """
    rows = per_example("mean", values, jnp.shape(mask)[0])
    mask = match_sharding(jnp.asarray(mask).astype(rows.dtype), rows)
    # Before the product: the derivative of the mask would be 0 · NaN behind it.
    counted = jnp.where(mask != 0, rows, jnp.zeros_like(rows))
    return Mean(jnp.sum(counted * mask), jnp.sum(mask))


def per_example(function: str, values: ArrayLike, size: int) -> jax.Array:
    """One float32 (or float64) value an example: the mean over the other axes."""
    values = jnp.asarray(values)
    if values.ndim == 0 or values.shape[0] != size:
        raise ValueError(
            f"{function}: values must have the batch axis ({size}) first, one value an "
            f"example; got shape {values.shape} (leave out the mean over the batch)"
        )
    if values.dtype != jnp.float64:
        values = values.astype(jnp.float32)
    return values.reshape(size, -1).mean(axis=1)


def accuracy(predictions: ArrayLike, targets: ArrayLike) -> jax.Array:
    """Whether the largest output is that of the right class.

    aᵢ = 1 if argmaxₖ predictionsᵢₖ = targetsᵢ, else 0; the first of equal outputs wins.

    Args:
        predictions: `(..., classes)` logits or probabilities.
        targets: `(...)` integer classes, or `(..., classes)` one-hot rows.

    Returns:
        `(...)` float32 of ones and zeros.

    Raises:
        ValueError: if the shapes do not fit each other.

    Example:
        >>> accuracy(jnp.array([[0.1, 0.9], [0.8, 0.2]]), jnp.array([1, 1]))
        Array([1., 0.], dtype=float32)
    """
    predictions, labels = jnp.asarray(predictions), jnp.asarray(targets)
    labels = _classes("accuracy", predictions, labels)
    chosen = jnp.argmax(predictions, axis=-1)
    return (chosen == labels.astype(chosen.dtype)).astype(jnp.float32)


def top_k(k: int) -> Callable[[ArrayLike, ArrayLike], jax.Array]:
    """Whether the right class is among the k largest outputs.

    Args:
        k: how many outputs count.

    Returns:
        A function `(predictions, targets) -> (...)` as `accuracy`, which is `top_k(1)`.

    Raises:
        TypeError: if `k` is not an integer.
        ValueError: if `k` is below 1 or, when called, above the number of classes.

    Example:
        >>> top_k(2)(jnp.array([[0.1, 0.5, 0.4], [0.8, 0.15, 0.05]]), jnp.array([2, 2]))
        Array([1., 0.], dtype=float32)
    """
    k = check_integer("top_k", "k", k, minimum=1)

    def among_top(predictions: ArrayLike, targets: ArrayLike) -> jax.Array:
        predictions, labels = jnp.asarray(predictions), jnp.asarray(targets)
        labels = _classes("top_k", predictions, labels)
        if k > predictions.shape[-1]:
            raise ValueError(
                f"top_k: k must be at most the number of classes, "
                f"{predictions.shape[-1]}; got {k}"
            )
        _, best = jax.lax.top_k(predictions, k)
        hits = best == labels[..., None].astype(best.dtype)
        return jnp.any(hits, axis=-1).astype(jnp.float32)

    return among_top


class ConfusionMatrix:
    """How often each class was taken for each other, counted on the device.

    Mₐᵦ is the number of examples of class a whose largest output is that of class b.

    Args:
        num_classes: how many classes there are.

    Raises:
        TypeError: if `num_classes` is not an integer.
        ValueError: if it is below 1.

    Example:
        >>> metric = ConfusionMatrix(2)
        >>> logits = jnp.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
        >>> metric.compute(metric.update(logits, jnp.array([0, 1, 1]), jnp.ones(3)))
        array([[1, 0],
               [1, 1]], dtype=int32)
    """

    def __init__(self, num_classes: int):
        self.num_classes = check_integer(
            "ConfusionMatrix", "num_classes", num_classes, minimum=1
        )

    def update(
        self, predictions: ArrayLike, targets: ArrayLike, mask: ArrayLike
    ) -> jax.Array:
        """Count one batch.

        Args:
            predictions: `(batch, ..., num_classes)`.
            targets: `(batch, ...)` integer classes, or one-hot rows.
            mask: `(batch,)`, 0 for rows that do not count.

        Returns:
            `(num_classes, num_classes)` int32 counts.

        Raises:
            ValueError: if the shapes do not fit each other or `num_classes`.
        """
        predictions, labels = jnp.asarray(predictions), jnp.asarray(targets)
        labels = _classes("ConfusionMatrix", predictions, labels)
        if predictions.shape[-1] != self.num_classes:
            raise ValueError(
                f"ConfusionMatrix: predictions must have num_classes="
                f"{self.num_classes} outputs; got {predictions.shape[-1]}"
            )
        chosen = jnp.argmax(predictions, axis=-1)
        cell = labels.astype(chosen.dtype) * self.num_classes + chosen
        mask = jnp.asarray(mask).reshape(-1, *(1,) * (labels.ndim - 1))
        counted = jnp.broadcast_to(mask != 0, labels.shape).astype(jnp.int32)
        counts = jnp.zeros(self.num_classes**2, jnp.int32)
        # A scatter of examples that are cut over a mesh has no layout of its own.
        cell, counted = (match_sharding(a.reshape(-1), counts) for a in (cell, counted))
        counts = counts.at[cell].add(counted)
        return counts.reshape(self.num_classes, self.num_classes)

    def compute(self, sums: ArrayLike) -> np.ndarray:
        """The counts as a NumPy array, rows the true classes."""
        return np.asarray(sums)


def _classes(function: str, predictions: jax.Array, targets: jax.Array) -> jax.Array:
    if targets.shape == predictions.shape[:-1] and predictions.ndim > 0:
        return targets
    if targets.shape == predictions.shape and predictions.ndim > 0:
        return jnp.argmax(targets, axis=-1)
    raise ValueError(
        f"{function}: targets must have the shape of predictions without the classes "
        f"(integers) or with them (one-hot); got targets.shape={targets.shape}, "
        f"predictions.shape={predictions.shape}"
    )

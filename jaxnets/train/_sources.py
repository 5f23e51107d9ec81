"""Where the batches come from: arrays in memory, or any iterable of batches."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnets.data import batches, steps_per_epoch
from jaxnets.train._data_checks import check_arrays, check_labels
from jaxnets.train._facts import describe_arrays
from jaxnets.train._fingerprint import describe


class Batch(NamedTuple):
    """What one step sees.

    Attributes:
        x: the inputs, a pytree of arrays `(batch, ...)`.
        y: the targets, likewise; None where there are none (prediction).
        mask: `(batch,)` float32, 1 for a row that counts and 0 for filling.
        weight: `(batch,)` float32 weights of the examples, or None for all 1.
    """

    x: Any
    y: Any
    mask: Any
    weight: Any


class ArraySource:
    """Batches of arrays, in an order that is a function of (seed, epoch, step)."""

    def __init__(
        self, x: Any, y: Any, weight: Any, *, batch_size: int, seed: int, shuffle: bool
    ):
        self.arrays = (x, y, weight)
        self.size = check_arrays("fit", arrays=self.arrays)
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.steps: int | None = steps_per_epoch(self.size, batch_size)
        self._data: dict[str, Any] | None = None

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        """The batches of `epoch` (from 0) from step `start` on."""
        rows = batches(
            self.arrays,
            batch_size=self.batch_size,
            seed=self.seed,
            epoch=epoch,
            start_step=start,
            shuffle=self.shuffle,
        )
        for (x, y, weight), mask in rows:
            yield Batch(x, y, mask, weight)

    def facts(self) -> dict[str, Any]:
        """What must not change when a fit is resumed."""
        if self._data is None:
            x, y, weight = self.arrays
            self._data = {
                "data": describe_arrays((x, y)),
                "weights": describe_arrays(weight),
            }
        return {
            "data size": self.size,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "shuffle": self.shuffle,
            **self._data,
        }


class IterableSource:
    """Batches of any iterable; short ones are filled up to the size of the first.

    An item is `(x, y)`, `(x, y, weight)`, or `((x, y), mask)` as `data.batches` gives.
    """

    def __init__(self, iterable: Any, *, class_weight: dict[int, float] | None = None):
        self.iterable = iterable
        self.class_weight = class_weight
        self.width = 0
        self.outputs: Any = None
        self.steps: int | None = None
        self._data: dict[str, Any] | None = None
        if hasattr(iterable, "__len__"):
            self.steps = len(iterable)

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        """The items of one pass; the first `start` are taken and left aside.

        Nothing is taken in vain of what can be indexed, such as a list.
        """
        if isinstance(self.iterable, Sequence):
            if start and not self.width:
                self._batch(self.iterable[0])
            for number in range(start, len(self.iterable)):
                yield self._batch(self.iterable[number])
            return
        for number, item in enumerate(self.iterable):
            batch = self._batch(item)
            if number >= start:
                yield batch

    def facts(self) -> dict[str, Any]:
        """What must not change when a fit is resumed: of a list, some batches."""
        if self._data is None:
            some = None
            # Reading anything else may change what it gives next.
            if type(self.iterable) in (list, tuple):
                last = len(self.iterable) - 1
                numbers = {last * part // 7 for part in range(8)} if last >= 0 else ()
                some = describe_arrays([self.iterable[n] for n in sorted(numbers)])
            self._data = {"data": some, "weights": describe(self.class_weight)}
        return {"data size": None, **self._data}

    def _batch(self, item: Any) -> Batch:
        x, y, mask, weight = unpack(item)
        size = check_arrays("fit", x=x, y=y, mask=mask, sample_weight=weight)
        if mask is None:
            mask = np.ones(size, np.float32)
        x, y, weight = fill_masked(mask, (x, y, weight))
        if self.outputs is not None:
            check_labels("fit", y, self.outputs)
        weight = combine_weights("fit", y, weight, self.class_weight)
        self.width = self.width or size
        if size < self.width:
            rows = np.resize(np.arange(size), self.width)
            real = np.arange(self.width) < size
            x, y, mask, weight = jax.tree.map(
                lambda leaf: np.take(leaf, rows, axis=0), (x, y, mask, weight)
            )
            mask = mask * real.astype(np.float32)
        return Batch(x, y, mask, weight)


def fill_masked(mask: Any, arrays: Any) -> Any:
    """The arrays with the rows of mask 0 replaced by rows that count, in turn.

    Such rows may hold anything: NaN, labels that are no classes. Left as they are they
    would reach the gradients as 0 · NaN. Real rows, not zeros, so that batch statistics
    see what they see where a short batch is filled up. Zeros if no row counts.
    """
    counted = np.asarray(mask) != 0
    if counted.all():
        return arrays
    real = np.flatnonzero(counted)
    if not len(real):
        return jax.tree.map(np.zeros_like, arrays)
    rows = np.arange(len(counted))
    rows = np.where(counted, rows, real[rows % len(real)])
    return jax.tree.map(lambda leaf: np.take(leaf, rows, axis=0), arrays)


def unpack(item: Any) -> tuple[Any, Any, Any, Any]:
    """The parts `(x, y, mask, weight)` of an iterable's item, as NumPy arrays."""
    if not isinstance(item, tuple | list) or len(item) not in (2, 3):
        raise TypeError(
            "fit: an iterable must give (x, y), (x, y, sample_weight) or ((x, y), "
            f"mask); got {type(item).__name__}"
            + (f" of {len(item)}" if isinstance(item, tuple | list) else "")
        )
    mask = None
    if len(item) == 2 and isinstance(item[0], tuple | list):
        item, mask = item
        if len(item) not in (2, 3):
            raise TypeError(
                "fit: a masked batch must be ((x, y), mask) or ((x, y, sample_weight), "
                f"mask); got {len(item)} parts before the mask"
            )
    x, y = item[:2]
    weight = item[2] if len(item) == 3 else None
    # Copies: a pipeline may fill one buffer again and again, and the step that reads it
    # runs while the next batch is made.
    return *jax.tree.map(np.array, (x, y)), mask, weight


def combine_weights(
    function: str, y: Any, sample_weight: Any, class_weight: dict[int, float] | None
) -> np.ndarray | None:
    """sample_weight · class_weight[y] as float32, None if there are neither.

    A class that `class_weight` does not name has weight 1, as in Keras.
    """
    weight = None
    if sample_weight is not None:
        weight = np.asarray(sample_weight, np.float32)
        if weight.ndim != 1 or not np.isfinite(weight).all():
            raise ValueError(
                f"{function}: sample_weight must be finite numbers, one an "
                f"example; got shape {weight.shape}"
            )
    if class_weight is not None:
        labels = np.asarray(y)
        if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(
                f"{function}: class_weight needs integer targets, one an example; got "
                f"{labels.dtype}{list(labels.shape)} (give sample_weight instead)"
            )
        table = np.ones(max(int(labels.max()), *class_weight) + 1, np.float32)
        for label, value in class_weight.items():
            table[label] = value
        by_class = table[labels]
        weight = by_class if weight is None else weight * by_class
    return weight


def is_arrays(x: Any, y: Any) -> bool:
    """Whether x and y are arrays rather than x an iterable of batches."""
    return y is not None or not isinstance(x, Iterable) or hasattr(x, "shape")

"""Batches of arrays held in memory: one gather each, the last one padded and masked."""

import math
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from jaxnets.data._order import epoch_order, steps_per_epoch
from jaxnets.functional._checks import check_integer


def batches(
    arrays: Any,
    *,
    batch_size: int,
    seed: int = 0,
    epoch: int = 0,
    start_step: int = 0,
    shuffle: bool = True,
    pad_last: bool = True,
    drop_last: bool = False,
) -> Iterator[tuple[Any, np.ndarray]]:
    """The batches of one epoch, each with a mask of the rows that count.

    Batch s holds the rows `batch_indices(seed, epoch, s)`. A short last batch is filled
    up with its own rows again and the mask is 0 there, so that every batch has one
    shape (one compile) and sum(mask · value) / sum(mask) is the mean over the epoch's
    rows alone.

    Args:
        arrays: a pytree of arrays with the same number of rows (first axis).
        batch_size: how many rows a batch has.
        seed: see `epoch_order`.
        epoch: see `epoch_order`.
        start_step: the first batch to give, to go on in the middle of an epoch.
        shuffle: visit the rows in random order, else in their own.
        pad_last: fill up a short last batch; else it stays short.
        drop_last: leave out a short last batch.

    Returns:
        An iterator of `(batch, mask)`: `batch` has the structure of `arrays` and leaves
        `(batch_size, ...)` of the same dtypes, fresh arrays each time; `mask` is
        `(batch_size,)` float32 of ones and zeros.

    Raises:
        TypeError: if a number is not an integer.
        ValueError: if there are no arrays or no rows, the numbers of rows differ, a
            number is out of range, or `start_step` lies beyond the epoch's end.

    Example:
        >>> x = np.arange(10, 15)
        >>> for batch, mask in batches(x, batch_size=2, shuffle=False):
        ...     print(batch, mask)
        [10 11] [1. 1.]
        [12 13] [1. 1.]
        [14 14] [1. 0.]
    """
    size = count_rows("batches", arrays)
    if size == 0:
        raise ValueError("batches: arrays must have rows; got an empty data set")
    batch_size = check_integer("batches", "batch_size", batch_size, minimum=1)
    start_step = check_integer("batches", "start_step", start_step, minimum=0)
    steps = steps_per_epoch(size, batch_size, drop_last=drop_last)
    # start_step == steps is the end of an epoch: nothing left, and no mistake.
    if start_step > steps:
        raise ValueError(
            f"batches: start_step must be at most the {steps} steps of an epoch; "
            f"got {start_step} (size={size}, batch_size={batch_size})"
        )
    order = epoch_order(seed, epoch, size) if shuffle else np.arange(size)
    arrays = jax.tree.map(np.asarray, arrays)
    return _generate(arrays, order, batch_size, range(start_step, steps), pad_last)


def split_validation(arrays: Any, fraction: int | float) -> tuple[Any, Any]:
    """Split off the last rows for validation, before any shuffling.

    The first floor(n · (1 − fraction)) rows train, the others validate, as in Keras's
    `validation_split`.

    Args:
        arrays: a pytree of arrays with the same number n of rows (first axis).
        fraction: the share of the rows to validate on, in (0, 1).

    Returns:
        `(train, validation)`, two pytrees of views of the arrays.

    Raises:
        ValueError: if `fraction` is not in (0, 1), a part would be empty, or the
            numbers of rows differ.

    Example:
        >>> train, validation = split_validation(np.arange(10), 0.25)
        >>> train, validation
        (array([0, 1, 2, 3, 4, 5, 6]), array([7, 8, 9]))
    """
    size = count_rows("split_validation", arrays)
    if not 0 < fraction < 1:
        raise ValueError(
            f"split_validation: fraction must lie between 0 and 1; got {fraction}"
        )
    first = math.floor(size * (1.0 - fraction))
    if first in (0, size):
        raise ValueError(
            f"split_validation: both parts need a row, and fraction {fraction} of "
            f"{size} rows leaves {first} and {size - first}"
        )
    train = jax.tree.map(lambda leaf: leaf[:first], arrays)
    return train, jax.tree.map(lambda leaf: leaf[first:], arrays)


def process_slice(
    batch: Any, *, process_index: int | None = None, process_count: int | None = None
) -> Any:
    """The rows of a batch that one of several processes feeds to its devices.

    With b rows and p processes, process i takes the rows i·b/p ... (i + 1)·b/p − 1.
    Every process draws the same order, so together they hold the batch exactly once.

    Args:
        batch: a pytree of arrays with the same number of rows (first axis).
        process_index: which process; None asks JAX.
        process_count: how many processes there are; None asks JAX.

    Returns:
        A pytree of views, `(rows / process_count, ...)` each.

    Raises:
        TypeError: if a number is not an integer.
        ValueError: if the rows cannot be shared out evenly, there is no such process,
            or the numbers of rows differ.

    Example:
        >>> process_slice(np.arange(6), process_index=1, process_count=3)
        array([2, 3])
    """
    rows = count_rows("process_slice", batch)
    if process_count is None:
        process_count = jax.process_count()
    if process_index is None:
        process_index = jax.process_index()
    count = check_integer("process_slice", "process_count", process_count, minimum=1)
    index = check_integer("process_slice", "process_index", process_index, minimum=0)
    if index >= count:
        raise ValueError(
            f"process_slice: process_index must be below process_count; "
            f"got {index} of {count}"
        )
    if rows % count:
        raise ValueError(
            f"process_slice: {rows} rows cannot be shared evenly by {count} processes "
            f"(choose a batch_size that {count} divides)"
        )
    share = rows // count
    return jax.tree.map(lambda leaf: leaf[index * share : (index + 1) * share], batch)


def count_rows(function: str, arrays: Any) -> int:
    """The number of rows that all leaves of `arrays` share; raise if they differ."""
    leaves = jax.tree_util.tree_leaves_with_path(arrays)
    if not leaves:
        raise ValueError(f"{function}: arrays must hold an array; got {arrays!r}")
    sizes = {}
    for path, leaf in leaves:
        name = f"arrays{jax.tree_util.keystr(path)}"
        if np.ndim(leaf) == 0:
            raise ValueError(
                f"{function}: every array must have a first axis, one row an example; "
                f"got {name}={leaf!r} (a list is a structure: use np.array of it)"
            )
        sizes[name] = np.shape(leaf)[0]
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{size} in {name}" for name, size in sizes.items())
        raise ValueError(
            f"{function}: all arrays must have the same number of rows; got {listed}"
        )
    return next(iter(sizes.values()))


def _generate(
    arrays: Any, order: np.ndarray, batch_size: int, steps: range, pad_last: bool
) -> Iterator[tuple[Any, np.ndarray]]:
    for step in steps:
        rows = order[step * batch_size : (step + 1) * batch_size]
        width = batch_size if pad_last else len(rows)
        mask = (np.arange(width) < len(rows)).astype(np.float32)
        taken = np.resize(rows, width)
        yield jax.tree.map(lambda leaf: np.take(leaf, taken, axis=0), arrays), mask  # noqa: B023

"""The order of the examples: a pure function of (seed, epoch, step)."""

import numpy as np

from jaxnets.functional._checks import check_integer


def epoch_order(seed: int, epoch: int, size: int) -> np.ndarray:
    """The order in which an epoch visits its examples.

    order = argsort(w), where w are the first `size` 64-bit words of the Philox4x64-10
    stream with the key (seed, epoch). The words are those of the published algorithm
    and no library's choice of shuffle stands between, so the order stays the same for
    good. Costs one sort: about 5 ms for 60 000 examples.

    Args:
        seed: an integer in [0, 2^64).
        epoch: an integer in [0, 2^64).
        size: how many examples there are.

    Returns:
        `(size,)` int64, a permutation of 0 ... size − 1.

    Raises:
        TypeError: if an argument is not an integer.
        ValueError: if an argument is out of range.

    Example:
        >>> epoch_order(0, 0, 6)
        array([0, 2, 1, 5, 4, 3])
        >>> epoch_order(0, 1, 6)
        array([5, 3, 2, 4, 1, 0])

    Source:
        Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3.
    """
    return _order("epoch_order", seed, epoch, size)


def steps_per_epoch(size: int, batch_size: int, *, drop_last: bool = False) -> int:
    """How many batches an epoch has.

    ceil(size / batch_size), or floor(size / batch_size) with `drop_last`.

    Args:
        size: how many examples there are.
        batch_size: how many examples a full batch has.
        drop_last: leave out a last batch that is not full.

    Returns:
        The number of batches.

    Raises:
        TypeError: if `size` or `batch_size` is not an integer.
        ValueError: if `size` is negative or `batch_size` is not positive.

    Example:
        >>> steps_per_epoch(10, 4), steps_per_epoch(10, 4, drop_last=True)
        (3, 2)
    """
    size = check_integer("steps_per_epoch", "size", size, minimum=0)
    batch_size = check_integer("steps_per_epoch", "batch_size", batch_size, minimum=1)
    return size // batch_size if drop_last else -(-size // batch_size)


def batch_indices(
    seed: int,
    epoch: int,
    step: int,
    *,
    size: int,
    batch_size: int,
    shuffle: bool = True,
) -> np.ndarray:
    """Which examples one batch holds.

    order[step · batch_size : (step + 1) · batch_size], where order is
    `epoch_order(seed, epoch, size)`, or 0 ... size − 1 without `shuffle`. Every call
    sorts the whole epoch; `batches` sorts it once.

    Args:
        seed: an integer in [0, 2^64).
        epoch: an integer in [0, 2^64).
        step: which batch of the epoch, from 0.
        size: how many examples there are.
        batch_size: how many examples a full batch has.
        shuffle: visit the examples in random order.

    Returns:
        `(batch_size,)` int64; the last batch of an epoch may be shorter.

    Raises:
        TypeError: if an argument is not an integer.
        ValueError: if an argument is out of range, or the epoch has no such step.

    Example:
        >>> batch_indices(0, 0, 1, size=6, batch_size=4)
        array([4, 3])
        >>> batch_indices(0, 0, 1, size=6, batch_size=4, shuffle=False)
        array([4, 5])
    """
    step = check_integer("batch_indices", "step", step, minimum=0)
    size = check_integer("batch_indices", "size", size, minimum=0)
    batch_size = check_integer("batch_indices", "batch_size", batch_size, minimum=1)
    steps = steps_per_epoch(size, batch_size)
    if step >= steps:
        raise ValueError(
            f"batch_indices: step must be below the {steps} steps of an epoch; "
            f"got {step} (size={size}, batch_size={batch_size})"
        )
    first, last = step * batch_size, min((step + 1) * batch_size, size)
    if not shuffle:
        return np.arange(first, last, dtype=np.int64)
    return _order("batch_indices", seed, epoch, size)[first:last]


def _order(function: str, seed: int, epoch: int, size: int) -> np.ndarray:
    size = check_integer(function, "size", size, minimum=0)
    key = np.array(
        [_word(function, "seed", seed), _word(function, "epoch", epoch)], np.uint64
    )
    words = np.random.Philox(key=key).random_raw(size)
    # Stable, so that two equal words would not leave the order to the sort's whim.
    return np.argsort(words, kind="stable").astype(np.int64, copy=False)


def _word(function: str, name: str, value: int) -> int:
    value = check_integer(function, name, value, minimum=0)
    if value >= 2**64:
        raise ValueError(f"{function}: {name} must be below 2^64; got {value}")
    return value

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxnets.data import batch_indices, epoch_order, steps_per_epoch
from tests.data.oracles import philox_words

PINNED = [0, 2, 9, 1, 8, 5, 4, 3, 6, 7]
PINNED_SHA256 = "368804a8fa8096ee50edc0cdb658d6a09902d965f486f4e67873e83d4406aae6"
SEEDS = st.integers(0, 2**64 - 1)


@given(seed=SEEDS, epoch=SEEDS, size=st.integers(0, 70))
def test_order_is_that_of_the_published_generator(seed, epoch, size):
    words = philox_words((seed, epoch), size)
    expected = sorted(range(size), key=words.__getitem__)
    order = epoch_order(seed, epoch, size)
    assert order.dtype == np.int64
    assert order.tolist() == expected


def test_order_never_changes():
    # Values of the first version: a run that resumes must meet its old order.
    assert epoch_order(0, 0, 10).tolist() == PINNED
    digest = hashlib.sha256(epoch_order(42, 7, 60_000).astype("<i8").tobytes())
    assert digest.hexdigest() == PINNED_SHA256


@given(seed=SEEDS, epoch=st.integers(0, 100), size=st.integers(20, 200))
def test_every_epoch_and_seed_has_its_own_order(seed, epoch, size):
    order = epoch_order(seed, epoch, size)
    assert not np.array_equal(order, epoch_order(seed, epoch + 1, size))
    assert not np.array_equal(order, epoch_order((seed + 1) % 2**64, epoch, size))
    # The seed and the epoch do not stand for one another.
    if seed != epoch:
        assert not np.array_equal(order, epoch_order(epoch, seed, size))


def test_positions_are_uniform():
    """Each example meets each position equally often: chi-squared, 81 freedoms."""
    counts = np.zeros((10, 10))
    for epoch in range(5000):
        counts[np.arange(10), epoch_order(3, epoch, 10)] += 1
    statistic = ((counts - 500) ** 2 / 500).sum()
    # 150 is beyond the 99.999th percentile.
    assert statistic < 150


@given(
    seed=SEEDS,
    epoch=st.integers(0, 9),
    size=st.integers(1, 60),
    batch_size=st.integers(1, 70),
    shuffle=st.booleans(),
)
def test_the_steps_of_an_epoch_visit_everything_once(
    seed, epoch, size, batch_size, shuffle
):
    steps = steps_per_epoch(size, batch_size)
    parts = [
        batch_indices(
            seed, epoch, step, size=size, batch_size=batch_size, shuffle=shuffle
        )
        for step in range(steps)
    ]
    assert all(part.dtype == np.int64 for part in parts)
    assert [len(part) for part in parts[:-1]] == [batch_size] * (steps - 1)
    whole = np.concatenate(parts)
    assert sorted(whole.tolist()) == list(range(size))
    expected = epoch_order(seed, epoch, size) if shuffle else np.arange(size)
    assert np.array_equal(whole, expected)


@given(size=st.integers(0, 100), batch_size=st.integers(1, 120))
def test_steps_are_counted(size, batch_size):
    starts = range(0, size, batch_size)
    assert steps_per_epoch(size, batch_size) == len(starts)
    full = sum(start + batch_size <= size for start in starts)
    assert steps_per_epoch(size, batch_size, drop_last=True) == full


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: epoch_order(-1, 0, 3),
            ValueError,
            "epoch_order: seed must be at least 0; got -1",
        ),
        (
            lambda: epoch_order(2**64, 0, 3),
            ValueError,
            r"epoch_order: seed must be below 2\^64; got 18446744073709551616",
        ),
        (
            lambda: epoch_order(0, -2, 3),
            ValueError,
            "epoch_order: epoch must be at least 0; got -2",
        ),
        (
            lambda: epoch_order(0, 0, -3),
            ValueError,
            "epoch_order: size must be at least 0; got -3",
        ),
        (
            lambda: epoch_order(True, 0, 3),
            TypeError,
            "epoch_order: seed must be an integer; got True",
        ),
        (
            lambda: steps_per_epoch(3, 0),
            ValueError,
            "steps_per_epoch: batch_size must be at least 1; got 0",
        ),
        (
            lambda: steps_per_epoch(-3, 1),
            ValueError,
            "steps_per_epoch: size must be at least 0; got -3",
        ),
        (
            lambda: batch_indices(0, 0, 2, size=4, batch_size=2),
            ValueError,
            "batch_indices: step must be below the 2 steps of an epoch; "
            r"got 2 \(size=4, batch_size=2\)",
        ),
        (
            lambda: batch_indices(0, 0, -1, size=4, batch_size=2),
            ValueError,
            "batch_indices: step must be at least 0; got -1",
        ),
        (
            lambda: batch_indices(0, 0, 0, size=4, batch_size=-2),
            ValueError,
            "batch_indices: batch_size must be at least 1; got -2",
        ),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()

import math

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxnets.data import (
    batch_indices,
    batches,
    process_slice,
    split_validation,
    steps_per_epoch,
)
from tests.helpers import assert_close

SIZES = st.integers(1, 40)
BATCH_SIZES = st.integers(1, 45)
SEEDS = st.integers(0, 2**32)


def rows_of(stream):
    return np.concatenate([batch[mask == 1] for batch, mask in stream])


@given(size=SIZES, batch_size=BATCH_SIZES, seed=SEEDS, epoch=st.integers(0, 5))
def test_each_row_counts_exactly_once_an_epoch(size, batch_size, seed, epoch):
    stream = list(
        batches(np.arange(size), batch_size=batch_size, seed=seed, epoch=epoch)
    )
    assert len(stream) == steps_per_epoch(size, batch_size)
    assert sorted(rows_of(stream).tolist()) == list(range(size))
    for step, (batch, mask) in enumerate(stream):
        assert batch.shape == mask.shape == (batch_size,)
        assert mask.dtype == np.float32
        expected = batch_indices(seed, epoch, step, size=size, batch_size=batch_size)
        assert np.array_equal(batch[: len(expected)], expected)
        # Ones, then zeros; what fills the batch up are rows of the batch itself.
        assert mask.tolist() == [1] * len(expected) + [0] * (batch_size - len(expected))
        assert set(batch.tolist()) == set(expected.tolist())


@given(
    size=SIZES,
    batch_size=BATCH_SIZES,
    seed=SEEDS,
    start=st.integers(0, 40),
    shuffle=st.booleans(),
)
def test_resuming_at_any_step_gives_the_rest(size, batch_size, seed, start, shuffle):
    start = min(start, steps_per_epoch(size, batch_size))
    options = {"batch_size": batch_size, "seed": seed, "epoch": 3, "shuffle": shuffle}
    whole = list(batches(np.arange(size), **options))
    rest = list(batches(np.arange(size), start_step=start, **options))
    jax.tree.map(np.testing.assert_array_equal, rest, whole[start:])


@given(values=st.lists(st.integers(-100, 100), min_size=1), batch_size=BATCH_SIZES)
def test_masked_means_over_padded_batches_are_exact(values, batch_size):
    total = count = 0.0
    for batch, mask in batches(np.array(values, np.float32), batch_size=batch_size):
        total += float(np.sum(batch * mask))
        count += float(np.sum(mask))
    # Sums of small integers are exact in float32, so equality is meant.
    assert total / count == math.fsum(values) / len(values)


@given(size=SIZES, batch_size=BATCH_SIZES)
def test_a_short_last_batch_may_stay_short_or_be_dropped(size, batch_size):
    x = np.arange(size)
    short = list(batches(x, batch_size=batch_size, pad_last=False))
    assert [len(batch) for batch, _ in short] == [
        min(batch_size, size - first) for first in range(0, size, batch_size)
    ]
    assert all((mask == 1).all() and len(mask) == len(batch) for batch, mask in short)
    full = list(batches(x, batch_size=batch_size, drop_last=True))
    assert len(full) == size // batch_size
    jax.tree.map(np.testing.assert_array_equal, full, short[: len(full)])


def test_without_shuffling_rows_come_in_their_order():
    stream = batches(np.arange(7), batch_size=3, seed=5, epoch=2, shuffle=False)
    assert rows_of(stream).tolist() == list(range(7))


def test_structure_dtypes_and_pairing_are_kept(rng):
    arrays = {
        "x": rng.standard_normal((11, 2, 3)),
        "y": (np.arange(11, dtype=np.int8), np.arange(11) % 2 == 0),
        "half": np.arange(11).astype(jax.numpy.bfloat16),
        "device": jax.numpy.arange(11.0),
        "nothing": None,
    }
    for batch, mask in batches(arrays, batch_size=4, seed=1):
        rows = batch["y"][0].astype(int)
        expected = jax.tree.map(lambda leaf, at=rows: np.asarray(leaf)[at], arrays)
        assert_close(batch, expected)
        assert mask.sum() in (3, 4)


def test_batches_do_not_share_memory_with_the_data():
    x = np.arange(8.0)
    for shuffle in (True, False):
        for batch, _ in batches(x, batch_size=4, shuffle=shuffle):
            batch[:] = -1
    assert x.tolist() == list(range(8))


def test_a_file_on_disk_serves(tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, np.arange(12).reshape(6, 2))
    rows = np.load(path, mmap_mode="r", allow_pickle=False)
    seen = rows_of(batches(rows, batch_size=4))
    assert sorted(seen[:, 0].tolist()) == [0, 2, 4, 6, 8, 10]


def test_arguments_are_checked_before_the_first_batch():
    x = np.arange(6)
    with pytest.raises(ValueError, match="batch_size must be at least 1; got 0"):
        batches(x, batch_size=0)
    with pytest.raises(TypeError, match="batch_size must be an integer; got True"):
        batches(x, batch_size=True)
    with pytest.raises(
        ValueError,
        match=r"batches: start_step must be at most the 3 steps of an epoch; got 4 "
        r"\(size=6, batch_size=2\)",
    ):
        batches(x, batch_size=2, start_step=4)
    with pytest.raises(ValueError, match="start_step must be at least 0; got -1"):
        batches(x, batch_size=2, start_step=-1)
    with pytest.raises(ValueError, match="seed must be at least 0; got -1"):
        batches(x, batch_size=2, seed=-1)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (np.zeros((0, 3)), "batches: arrays must have rows; got an empty data set"),
        ({}, r"batches: arrays must hold an array; got \{\}"),
        (
            (np.zeros((3, 2)), np.zeros(4)),
            r"same number of rows; got 3 in arrays\[0\], 4 in arrays\[1\]",
        ),
        (
            {"x": np.zeros(3), "y": [1, 2, 3]},
            r"first axis, one row an example; got arrays\['y'\]\[0\]=1 \(a list",
        ),
    ],
)
def test_arrays_that_do_not_fit(arrays, message):
    with pytest.raises(ValueError, match=message):
        batches(arrays, batch_size=2)


@given(size=st.integers(2, 200), fraction=st.floats(0.01, 0.99))
def test_validation_is_the_last_part_as_in_keras(size, fraction):
    first = math.floor(size * (1.0 - fraction))
    x, y = np.arange(size), np.arange(size) * 2
    if first == 0:
        with pytest.raises(ValueError, match="both parts need a row"):
            split_validation((x, y), fraction)
        return
    (x_train, y_train), (x_val, y_val) = split_validation((x, y), fraction)
    assert x_train.tolist() == list(range(first))
    assert x_val.tolist() == list(range(first, size))
    assert np.array_equal(y_train, 2 * x_train)
    assert np.array_equal(y_val, 2 * x_val)


@pytest.mark.parametrize(
    ("size", "fraction"),
    [(1437, 0.15), (60_000, 0.15), (10, 0.1), (100, 0.9), (3, 0.5)],
)
def test_the_boundary_is_that_of_the_installed_keras(size, fraction, monkeypatch):
    # 100 (1 − 0.9) is 9.999999999999998 in floating point, and 9 rows train.
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    slicing = pytest.importorskip("keras.src.trainers.data_adapters.array_slicing")
    expected = slicing.train_validation_split((np.arange(size),), fraction)
    train, validation = split_validation((np.arange(size),), fraction)
    np.testing.assert_array_equal(train[0], np.asarray(expected[0][0]))
    np.testing.assert_array_equal(validation[0], np.asarray(expected[1][0]))


@pytest.mark.parametrize("fraction", [0, 1, -0.5, 1.5, float("nan")])
def test_a_fraction_out_of_range(fraction):
    with pytest.raises(
        ValueError, match=f"fraction must lie between 0 and 1; got {fraction}"
    ):
        split_validation(np.arange(10), fraction)


def test_a_part_without_rows():
    message = "fraction 0.9 of 5 rows leaves 0 and 5"
    with pytest.raises(ValueError, match=message):
        split_validation(np.arange(5), 0.9)


@given(share=st.integers(0, 6), count=st.integers(1, 8))
def test_processes_share_a_batch_out(share, count):
    batch = {"x": np.arange(share * count * 2).reshape(-1, 2)}
    parts = [
        process_slice(batch, process_index=index, process_count=count)["x"]
        for index in range(count)
    ]
    assert {len(part) for part in parts} == {share}
    np.testing.assert_array_equal(np.concatenate(parts), batch["x"])


def test_one_process_takes_everything():
    assert process_slice(np.arange(5)).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("index", "count", "message"),
    [
        (0, 2, r"5 rows cannot be shared evenly by 2 processes \(choose a batch_size"),
        (5, 5, "process_index must be below process_count; got 5 of 5"),
        (-1, 5, "process_index must be at least 0; got -1"),
        (0, 0, "process_count must be at least 1; got 0"),
    ],
)
def test_shares_that_do_not_come_out(index, count, message):
    with pytest.raises(ValueError, match=f"process_slice: {message}"):
        process_slice(np.arange(5), process_index=index, process_count=count)

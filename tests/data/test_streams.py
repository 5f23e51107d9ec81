import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxnets.data import StreamBatches, split_validation

SIZES = st.integers(1, 7)


@given(batch_size=SIZES, length=SIZES, extra=st.integers(0, 60))
def test_every_chunk_goes_on_where_the_last_ended(batch_size, length, extra):
    ids = np.arange(batch_size * length + 1 + extra) * 3
    batches = StreamBatches(ids, batch_size=batch_size, length=length)
    steps = list(batches)
    assert len(steps) == len(batches) >= 1
    x = np.concatenate([x for x, _ in steps], axis=1)
    y = np.concatenate([y for _, y in steps], axis=1)
    assert x.dtype == y.dtype == np.int32
    # Each row is one stretch of the text, and the target is what comes next.
    np.testing.assert_array_equal(np.diff(x, axis=1), 3)
    np.testing.assert_array_equal(y, x + 3)
    # No id twice, and few are left out.
    assert len(np.unique(x)) == x.size
    assert 1 <= len(ids) - x.size <= batch_size * length


def test_a_batch_is_a_function_of_its_number():
    ids = np.random.default_rng(0).integers(0, 9, 200).astype(np.uint8)
    batches = StreamBatches(ids, batch_size=3, length=5)
    passed = list(batches)
    for number in (7, 0, -1, np.int64(3)):
        for one, other in zip(batches[number], passed[number], strict=True):
            np.testing.assert_array_equal(one, other)
    hot = StreamBatches(ids, batch_size=3, length=5, one_hot=9)
    x, y = hot[4]
    assert x.shape == (3, 5, 9)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x.argmax(-1), passed[4][0])
    np.testing.assert_array_equal(x.sum(-1), 1)
    np.testing.assert_array_equal(y, passed[4][1])


def test_a_memory_map_is_read_a_chunk_at_a_time(tmp_path):
    ids = np.random.default_rng(0).integers(0, 200, 1 << 22).astype(np.uint8)
    np.save(tmp_path / "ids.npy", ids)
    mapped = np.load(tmp_path / "ids.npy", mmap_mode="r")
    train, tail = split_validation(mapped, 0.25)
    assert len(train) == 3 << 20
    np.testing.assert_array_equal(tail[:9], ids[3 << 20 :][:9])
    tracemalloc.start()
    batches = StreamBatches(train, batch_size=4, length=50)
    x, y = batches[12_345]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 16, peak
    stream = ((3 << 20) - 1) // 4
    begin = stream + 12_345 * 50
    np.testing.assert_array_equal(x[1], ids[begin : begin + 50])
    np.testing.assert_array_equal(y[1], ids[begin + 1 : begin + 51])


@pytest.mark.usefixtures("untyped")
def test_errors():
    ids = np.arange(20)
    with pytest.raises(ValueError, match=r"length \+ 1 = 21 ids; got 20"):
        StreamBatches(ids, batch_size=4, length=5)
    with pytest.raises(ValueError, match="ids; got 0"):
        StreamBatches(ids[:0], batch_size=1, length=1)
    with pytest.raises(TypeError, match="ids must be integers; got float64"):
        StreamBatches(ids / 2, batch_size=1, length=1)
    with pytest.raises(ValueError, match=r"one axis; got shape \(4, 5\)"):
        StreamBatches(ids.reshape(4, 5), batch_size=1, length=1)
    for name in ("batch_size", "length", "one_hot"):
        sizes = {"batch_size": 1, "length": 1, name: 0}
        with pytest.raises(ValueError, match=f"{name} must be at least 1; got 0"):
            StreamBatches(ids, **sizes)
    batches = StreamBatches(ids, batch_size=2, length=3, one_hot=9)
    with pytest.raises(IndexError, match="there are 3 batches; got index 3"):
        batches[3]
    with pytest.raises(IndexError, match="got index -4"):
        batches[-4]
    with pytest.raises(TypeError, match="index must be an integer"):
        batches[1.5]
    with pytest.raises(ValueError, match=r"0 \.\.\. 8 to be one-hot; got 0 to 12"):
        batches[0]

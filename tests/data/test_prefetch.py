import gc
import weakref

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxnets.data import batches, prefetch
from tests.helpers import assert_close


@pytest.mark.parametrize("size", [0, 1, 2, 50])
def test_everything_arrives_in_order_as_device_arrays(rng, size):
    x, y = rng.standard_normal((10, 3)).astype(np.float32), np.arange(10, dtype=np.int8)
    expected = list(batches({"x": x, "y": y}, batch_size=4))
    got = list(prefetch(batches({"x": x, "y": y}, batch_size=4), size=size))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(got))
    assert_close(got, expected)


def test_an_empty_iterator():
    assert list(prefetch([])) == []


@pytest.mark.parametrize("size", [0, 2, 5])
def test_runs_ahead_by_size_and_no_further(size):
    drawn = []

    def source():
        for i in range(20):
            drawn.append(i)
            yield np.full(2, i)

    stream = prefetch(source(), size=size)
    assert drawn == []
    next(stream)
    assert len(drawn) == size + 1
    next(stream)
    assert len(drawn) == size + 2


def test_a_buffer_that_is_filled_again_does_no_harm():
    # On a multiple of 64 bytes the CPU backend takes memory over without a copy.
    memory = np.zeros(4 * 4096 + 64, np.uint8)
    buffer = memory[-memory.ctypes.data % 64 :][: 4 * 4096].view(np.float32)

    def source():
        for i in range(8):
            buffer[:] = i
            yield buffer

    assert [float(x[0]) for x in prefetch(source(), size=3)] == list(range(8))


def test_an_exception_comes_after_the_batches_before_it():
    def source():
        yield np.zeros(1)
        yield np.ones(1)
        raise OSError("disk on fire")

    stream = prefetch(source(), size=5)
    assert float(next(stream)[0]) == 0
    assert float(next(stream)[0]) == 1
    with pytest.raises(OSError, match="disk on fire"):
        next(stream)


def test_closing_closes_the_source_and_frees_the_batches():
    closed = []

    def source():
        try:
            while True:
                yield np.zeros(3)
        finally:
            closed.append(True)

    # A name for the source, so that it is not closed by being forgotten.
    held = source()
    stream = prefetch(held, size=4)
    batch = weakref.ref(next(stream))
    stream.close()
    assert closed == [True]
    gc.collect()
    assert batch() is None


def test_batches_are_laid_out_over_the_devices(rng):
    mesh = Mesh(np.array(jax.devices()[:4]), ("data",))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    x = rng.standard_normal((10, 3)).astype(np.float32)
    expected = list(batches(x, batch_size=8))
    for (batch, mask), (want, want_mask) in zip(
        prefetch(batches(x, batch_size=8), sharding=sharding), expected, strict=True
    ):
        assert batch.sharding.is_equivalent_to(sharding, 2)
        assert mask.sharding.is_equivalent_to(sharding, 1)
        assert [shard.data.shape for shard in batch.addressable_shards] == [(2, 3)] * 4
        assert_close((batch, mask), (want, want_mask))


def test_a_bad_size_is_refused_at_once():
    with pytest.raises(ValueError, match="prefetch: size must be at least 0; got -1"):
        prefetch([], size=-1)
    with pytest.raises(TypeError, match="prefetch: size must be an integer; got True"):
        prefetch([], size=True)

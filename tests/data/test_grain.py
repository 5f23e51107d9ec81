"""Grain as the source of batches: any iterable of pytrees serves `prefetch`."""

import jax
import numpy as np
import pytest

from jaxnets import data

grain = pytest.importorskip("grain")


def pipeline(x, y, *, seed, batch_size):
    rows = grain.MapDataset.range(len(x)).shuffle(seed=seed)
    pairs = rows.map(lambda i: {"x": x[i], "y": y[i]})
    return pairs.batch(batch_size, drop_remainder=True).to_iter_dataset()


def test_a_pipeline_reaches_the_device(rng):
    x = rng.standard_normal((12, 3)).astype(np.float32)
    y = np.arange(12)
    seen = []
    for batch in data.prefetch(pipeline(x, y, seed=1, batch_size=4)):
        assert isinstance(batch["x"], jax.Array)
        rows = np.asarray(batch["y"])
        np.testing.assert_array_equal(batch["x"], x[rows])
        seen += rows.tolist()
    assert sorted(seen) == list(range(12))
    assert seen != list(range(12))


def test_our_order_inside_a_pipeline():
    """`epoch_order` serves a random-access source of any kind."""
    order = data.epoch_order(3, 0, 10)
    source = grain.MapDataset.source(order).batch(5)
    got = [batch.tolist() for batch in source]
    assert got == [
        data.batch_indices(3, 0, step, size=10, batch_size=5).tolist()
        for step in range(2)
    ]

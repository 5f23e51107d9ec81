"""batch_norm against NumPy: moments, masks, devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec
from jax.test_util import check_grads

from jaxnets.functional._batch_norm import BatchStats, batch_norm
from tests.functional.norm_oracles import (
    EPS,
    over_batch,
)
from tests.helpers import assert_close


@pytest.fixture
def arrays(rng):
    x = rng.normal(size=(2, 3, 4, 6)) * 2 + 1
    return x, rng.normal(size=6), rng.normal(size=6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("unbiased", [False, True])
def test_batch_norm_in_training(arrays, rng, dtype, unbiased):
    x, scale, bias = (jnp.asarray(a, dtype) for a in arrays)
    old = rng.normal(size=6), rng.uniform(1, 2, 6)
    stats = BatchStats(*(a.astype(np.float32) for a in old))
    with jax.numpy_dtype_promotion("strict"):
        y, new = batch_norm(
            x, scale, bias, stats, training=True, epsilon=EPS, momentum=0.8,
            unbiased=unbiased,
        )  # fmt: skip
    wide = [np.asarray(a, np.float64) for a in (x, scale, bias)]
    normalised, mean, var = over_batch(wide[0])
    assert_close(y, normalised * wide[1] + wide[2], dtype=dtype, reduction=24)
    var = var * 24 / 23 if unbiased else var
    assert_close(new.mean, 0.8 * old[0] + 0.2 * mean, dtype="float32", reduction=24)
    assert_close(new.var, 0.8 * old[1] + 0.2 * var, dtype="float32", reduction=24)


def test_batch_norm_in_evaluation(arrays, rng, x64):
    x, scale, bias = arrays
    stats = BatchStats(rng.normal(size=6), rng.uniform(1, 2, 6))
    y, new = batch_norm(x, scale, bias, stats, training=False, epsilon=EPS)
    expected = (x - stats.mean) / np.sqrt(stats.var + EPS) * scale + bias
    assert_close(y, expected)
    np.testing.assert_array_equal(new.mean, stats.mean)
    np.testing.assert_array_equal(new.var, stats.var)


def test_batch_norm_over_other_axes(arrays, x64):
    x = arrays[0]
    stats = BatchStats(np.zeros(3), np.ones(3))
    y, new = batch_norm(
        x, None, None, stats, training=True, axis=1, momentum=0.0, epsilon=EPS
    )
    expected, mean, var = over_batch(np.moveaxis(x, 1, -1))
    assert_close(y, np.moveaxis(expected, -1, 1), reduction=48)
    assert_close(new, BatchStats(mean, var), reduction=48)
    stats = BatchStats(np.zeros((3, 4, 6)), np.ones((3, 4, 6)))
    y, new = batch_norm(
        x, None, None, stats, training=True, axis=(1, 2, -1), momentum=0.0, epsilon=EPS
    )
    assert_close(y, (x - x.mean(0)) / np.sqrt(x.var(0) + EPS))
    assert_close(new, BatchStats(x.mean(0), x.var(0)))


@pytest.mark.slow
def test_batch_norm_derivatives_go_through_the_moments(arrays, x64):
    stats = BatchStats(np.zeros(6), np.ones(6))

    def f(x, scale, bias):
        return batch_norm(x, scale, bias, stats, training=True, epsilon=EPS)[0]

    check_grads(f, arrays, order=2, modes=["fwd", "rev"])
    # A shift of a whole feature changes nothing.
    _, tangent = jax.jvp(
        lambda x: f(x, *arrays[1:]), arrays[:1], (np.ones((2, 3, 4, 6)),)
    )
    np.testing.assert_allclose(tangent, 0, atol=1e-12)


def test_batch_norm_mask(arrays, x64):
    x, scale, bias = arrays
    x[1] = np.nan_to_num(np.inf)  # the padded example holds rubbish
    mask = np.asarray([True, False]).reshape(2, 1, 1, 1)
    stats = BatchStats(np.zeros(6), np.ones(6))
    y, new = batch_norm(
        x, scale, bias, stats, training=True, mask=mask, momentum=0.0, epsilon=EPS
    )
    expected, mean, var = over_batch(x[:1])
    assert_close(y[:1], expected * scale + bias, reduction=12)
    assert_close(new, BatchStats(mean, var), reduction=12)
    nothing = batch_norm(
        x, scale, bias, stats, training=True, mask=np.zeros((2, 1, 1, 1), bool)
    )[1]
    assert_close(nothing, stats)


@pytest.mark.slow
def test_batch_norm_over_devices_with_unequal_shares(arrays, rng):
    """Four devices with 3, 1, 0 and 2 valid examples are one batch of 6."""
    x = rng.normal(size=(12, 5, 6)).astype(np.float32)
    valid = np.zeros(12, bool)
    valid[[0, 1, 2, 4, 9, 11]] = True
    mask = valid.reshape(12, 1, 1)
    stats = BatchStats(np.zeros(6, np.float32), np.ones(6, np.float32))
    run = functools.partial(
        batch_norm, training=True, unbiased=True, momentum=0.0, epsilon=EPS
    )
    expected, mean, var = over_batch(x[valid].astype(np.float64))

    def check(y, new):
        assert_close(y.reshape(x.shape)[valid], expected, dtype="float32", reduction=30)
        want = BatchStats(mean, var * 30 / 29)
        assert_close(new, want, dtype="float32", reduction=30)

    mesh = Mesh(np.asarray(jax.devices()[:4]), ("data",))
    split, whole = PartitionSpec("data"), PartitionSpec()
    sharded = jax.shard_map(
        lambda x, mask: run(x, None, None, stats, mask=mask, axis_name="data"),
        mesh=mesh,
        in_specs=split,
        out_specs=(split, whole),
    )
    check(*jax.jit(sharded)(x, mask))
    mapped = jax.vmap(
        lambda x, mask: run(x, None, None, stats, mask=mask, axis_name="batch"),
        axis_name="batch",
    )
    y, new = mapped(x.reshape(4, 3, 5, 6), mask.reshape(4, 3, 1, 1))
    check(y, jax.tree.map(lambda a: a[2], new))

    def loss(x, function):
        return (function(x)[0] ** 3 * mask).sum()

    grad = jax.jit(jax.grad(loss), static_argnums=1)
    one = grad(x, lambda x: run(x, None, None, stats, mask=mask))
    many = grad(x, lambda x: sharded(x, mask))
    assert_close(many, one, reduction=30)

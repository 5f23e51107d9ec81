"""Global, adaptive, unpooling and free-form pools against NumPy."""

import math

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.functional._pool_adaptive import adaptive_avg_pool, adaptive_max_pool
from jaxnets.functional._pool_any import pool
from jaxnets.functional._pool_global import (
    global_avg_pool,
    global_lp_pool,
    global_max_pool,
    global_min_pool,
    global_sum_pool,
)
from jaxnets.functional._pool_indices import max_pool_with_indices, max_unpool
from tests import pool_oracles as oracle
from tests.helpers import assert_close

drawn = hypothesis.settings(max_examples=20, deadline=None, derandomize=True)


def norm3(x, axis, keepdims):
    return (abs(x) ** 3).sum(axis, keepdims=keepdims) ** (1 / 3)


@pytest.mark.slow
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (global_avg_pool, np.mean),
        (global_sum_pool, np.sum),
        (global_max_pool, np.max),
        (global_min_pool, np.min),
        (lambda x, **k: global_lp_pool(x, p=3, **k), norm3),
        (
            lambda x, **k: global_lp_pool(x, p=math.inf, **k),
            lambda x, axis, keepdims: abs(x).max(axis, keepdims=keepdims),
        ),
    ],
)
def test_global(function, expected, keepdims, rng):
    x = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    wide = x.astype(np.float64)
    for options, axes in [
        ({}, (1, 2)),
        ({"spatial_ndim": 1}, (2,)),
        ({"spatial_ndim": 3}, (0, 1, 2)),
        ({"data_format": "channels_first"}, (2, 3)),
        ({"data_format": "channels_first", "spatial_ndim": 1}, (3,)),
    ]:
        got = function(x, keepdims=keepdims, **options)
        want = expected(wide, axis=axes, keepdims=keepdims)
        assert_close(got, want, dtype=x.dtype, reduction=60)


def test_global_max_gives_the_gradient_to_the_first_of_equal_cells():
    x = jnp.array([[1.0, 3.0, 3.0], [3.0, 0.0, 3.0]])[..., None]
    slope = jax.grad(lambda x: global_max_pool(x, spatial_ndim=2).sum())(x)
    np.testing.assert_array_equal(slope[..., 0], [[0, 1, 0], [0, 0, 0]])
    slope = jax.grad(lambda x: global_min_pool(-x, spatial_ndim=2).sum())(x)
    np.testing.assert_array_equal(slope[..., 0], [[0, -1, 0], [0, 0, 0]])


@pytest.mark.slow
@drawn
@hypothesis.given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=2),
    st.integers(0, 99),
)
def test_adaptive(axes, seed):
    sizes, outputs = zip(*axes, strict=True)
    x = np.random.default_rng(seed).normal(size=(2, *sizes, 2)).astype(np.float32)
    wide = x.astype(np.float64)
    got = jax.jit(lambda x: adaptive_avg_pool(x, outputs))(x)
    expected = oracle.adaptive_pool(wide, outputs, np.mean)
    assert_close(got, expected, dtype=x.dtype, reduction=81)
    got = jax.jit(lambda x: adaptive_max_pool(x, outputs))(x)
    assert_close(got, oracle.adaptive_pool(wide, outputs, np.max), dtype=x.dtype)


def test_adaptive_keeps_axes_and_takes_channels_first(rng):
    x = rng.normal(size=(3, 6, 5)).astype(np.float32)
    first = np.moveaxis(x, -1, 0)
    expected = oracle.adaptive_pool(x.astype(np.float64), (3, 4), np.mean)
    got = adaptive_avg_pool(x, (None, 4))
    assert_close(got, expected, dtype=x.dtype, reduction=6)
    got = adaptive_avg_pool(first, (None, 4), data_format="channels_first")
    want = np.moveaxis(expected, -1, 0)
    assert_close(got, want, dtype=x.dtype, reduction=6)


def test_adaptive_windows_see_nothing_of_their_neighbours():
    """An infinity in one window leaves the others as they are."""
    x = jnp.array([1.0, 2.0, 3.0, 4.0, jnp.inf])[:, None]
    got = adaptive_avg_pool(x, (3,))[:, 0]
    np.testing.assert_array_equal(got, [1.5, 3, np.inf])


def test_adaptive_max_gradient_goes_to_the_first_of_equal_cells():
    x = jnp.array([2.0, 2.0, 2.0, 1.0, 2.0])[:, None]
    slope = jax.grad(lambda x: adaptive_max_pool(x, (3,)).sum())(x)
    # Windows 0..1, 1..3, 3..4.
    np.testing.assert_array_equal(slope[:, 0], [1, 1, 0, 0, 1])


@pytest.mark.slow
def test_unpool_puts_maxima_back(rng):
    x = rng.normal(size=(2, 5, 7, 3)).astype(np.float32)
    y, indices = max_pool_with_indices(x, (2, 3), ceil_mode=True)
    back = np.asarray(max_unpool(y, indices, (5, 7)))
    kept = back != 0
    np.testing.assert_array_equal(back[kept], x[kept])
    # 3 x 3 windows without overlap in 6 planes.
    assert kept.sum() == 54
    assert_close(np.sort(back[kept]), np.sort(np.asarray(y).ravel()))


@pytest.mark.slow
def test_unpool_is_linear_and_its_transpose_gathers(rng):
    x = rng.normal(size=(4, 6, 2)).astype(np.float32)
    y, indices = max_pool_with_indices(x, (2, 2))
    g = rng.normal(size=x.shape).astype(np.float32)
    _, back = jax.vjp(lambda y: max_unpool(y, indices, (4, 6)), y)
    flat = g.reshape(24, 2)
    expected = np.take_along_axis(flat, np.asarray(indices).reshape(6, 2), 0)
    assert_close(back(jnp.asarray(g))[0], expected.reshape(2, 3, 2))


@pytest.mark.slow
def test_unpool_channels_first(rng):
    x = rng.normal(size=(2, 3, 4, 4)).astype(np.float32)
    options = {"data_format": "channels_first"}
    y, indices = max_pool_with_indices(x, (2, 2), **options)
    back = np.asarray(max_unpool(y, indices, (4, 4), **options))
    last = np.moveaxis(x, 1, -1)
    want = max_unpool(*max_pool_with_indices(last, (2, 2)), (4, 4))
    np.testing.assert_array_equal(np.moveaxis(back, 1, -1), want)
    np.testing.assert_array_equal(back[back != 0], x[back != 0])


@pytest.mark.slow
def test_pool_takes_any_statistic(rng):
    case = oracle.Case((5, 6), (3, 2), (2, 1), ((1, 0), (0, 1)), (1, 2), True)
    x = rng.normal(size=(2, 5, 6, 2)).astype(np.float32)

    def expected(statistic):
        return oracle.statistic_pool(x, case, lambda values, _: statistic(values))

    def got(statistic, **options):
        options |= case.options()
        return pool(x, case.window, pooling_type=statistic, **options)

    close = {"dtype": x.dtype, "reduction": 6}
    median = got(jnp.nanmedian, pad_value=np.nan)
    assert_close(median, expected(np.median), **close)
    variance = got(jnp.nanvar, pad_value=np.nan)
    assert_close(variance, expected(np.var), **close)
    soft = got(jax.nn.logsumexp, pad_value=-np.inf)
    assert_close(soft, expected(lambda v: np.log(np.exp(v).sum())), **close)
    assert_close(got(jnp.prod, pad_value=1), expected(np.prod), **close)
    assert_close(got("max"), expected(np.max), **close)
    assert_close(got("min"), expected(np.min), **close)
    assert_close(got("sum"), expected(np.sum), **close)
    mean = got("avg", count_include_pad=False)
    assert_close(mean, expected(np.mean), **close)
    assert_close(got("lp", p=2), expected(np.linalg.norm), **close)


def test_pool_hands_windows_over_in_row_major_order():
    x = jnp.arange(12.0).reshape(3, 4, 1)
    first = pool(x, (2, 2), strides=1, pooling_type=lambda w, axis: w[..., 1, :])
    np.testing.assert_array_equal(first[..., 0], [[1, 2, 3], [5, 6, 7]])
    below = pool(x, (2, 2), strides=1, pooling_type=lambda w, axis: w[..., 2, :])
    np.testing.assert_array_equal(below[..., 0], [[4, 5, 6], [8, 9, 10]])


def test_pool_passes_options_on(rng):
    x = rng.normal(size=(6, 1)).astype(np.float32)
    got = pool(x, (3,), pooling_type=jnp.quantile, q=0.25)
    expected = np.quantile(x.reshape(2, 3, 1), 0.25, axis=1)
    assert_close(got, expected, dtype=x.dtype)


def test_pool_of_channels_first(rng):
    x = rng.normal(size=(3, 6)).astype(np.float32)
    got = pool(x, (2,), pooling_type=jnp.var, data_format="channels_first")
    assert_close(got, x.reshape(3, 3, 2).var(-1), dtype=x.dtype)

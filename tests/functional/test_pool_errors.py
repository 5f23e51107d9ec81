"""Bad arguments of the pools: every message, read as a user reads it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.functional._pool import max_pool, min_pool, pool_output_shape, sum_pool
from jaxnets.functional._pool_adaptive import adaptive_avg_pool, adaptive_max_pool
from jaxnets.functional._pool_any import pool
from jaxnets.functional._pool_global import (
    global_avg_pool,
    global_lp_pool,
    global_max_pool,
    global_sum_pool,
)
from jaxnets.functional._pool_indices import max_pool_with_indices, max_unpool
from jaxnets.functional._pool_mean import avg_pool, lp_pool

x = jnp.zeros((2, 5, 5, 3))


def lp2(x, window, **options):
    return lp_pool(x, window, p=2, **options)


named = pytest.mark.parametrize(
    ("function", "name"),
    [
        (max_pool, "max_pool"),
        (min_pool, "min_pool"),
        (avg_pool, "avg_pool"),
        (sum_pool, "sum_pool"),
        (lp2, "lp_pool"),
        (max_pool_with_indices, "max_pool_with_indices"),
        (lambda x, *a, **k: pool_output_shape(x.shape, *a, **k), "pool_output_shape"),
        (lambda x, *a, **k: pool(x, *a, pooling_type=jnp.median, **k), "pool"),
    ],
)


@named
def test_sizes(function, name):
    with pytest.raises(ValueError, match=f"^{name}: window must be at least 1; got 0"):
        function(x, (2, 0))
    with pytest.raises(ValueError, match=f"{name}: window must be at least 1"):
        function(x, (-3, 2))
    with pytest.raises(ValueError, match=f"{name}: window must have at least one"):
        function(x, ())
    with pytest.raises(ValueError, match=f"{name}: strides must be at least 1; got 0"):
        function(x, (2, 2), strides=0)
    with pytest.raises(ValueError, match=f"{name}: strides must have 2 entries"):
        function(x, (2, 2), strides=(1, 1, 1))
    with pytest.raises(ValueError, match=f"{name}: dilation must be at least 1"):
        function(x, (2, 2), dilation=(1, -1))


@named
def test_padding(function, name):
    with pytest.raises(
        ValueError, match=f"{name}: padding must be one of 'VALID', 'SAME'.*got 'SAMME'"
    ):
        function(x, (2, 2), padding="samme")
    with pytest.raises(ValueError, match=f"{name}: padding must be at least 0; got -1"):
        function(x, (2, 2), padding=-1)
    with pytest.raises(ValueError, match=f"{name}: padding must have 2 entries"):
        function(x, (2, 2), padding=(1, 1, 1))


@named
def test_window_larger_than_the_input(function, name):
    with pytest.raises(
        ValueError,
        match=f"{name}: window must fit into the padded input; along spatial axis 1 it "
        r"spans 6 cells of 5 \(window=\(2, 6\)",
    ):
        function(x, (2, 6))
    with pytest.raises(ValueError, match="axis 0 it spans 7 cells of 5"):
        function(x, (4, 2), dilation=(2, 1))


@named
def test_rank_and_format(function, name):
    with pytest.raises(
        ValueError,
        match=rf"{name}: x must have at least 3 axes, \(\*batch, \*spatial, channels\) "
        r"for window=\(2, 2\); got x.shape=\(5, 3\)",
    ):
        function(jnp.zeros((5, 3)), (2, 2))


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (max_pool, "max_pool"),
        (min_pool, "min_pool"),
        (max_pool_with_indices, "max_pool_with_indices"),
        (lambda *a, **k: avg_pool(*a, count_include_pad=False, **k), "avg_pool"),
        (lambda *a, **k: lp_pool(*a, p=np.inf, **k), "lp_pool"),
    ],
)
def test_window_of_padding_only(function, name):
    with pytest.raises(
        ValueError,
        match=f"{name}: every window must see at least one cell of x; window 0 along "
        r"spatial axis 1 sees padding only \(size=5, window=2, stride=1, dilation=1, "
        r"padding=\(2, 0\); use less padding\)",
    ):
        function(x, (2, 2), strides=1, padding=((0, 0), (2, 0)))


def test_windows_of_padding_only_have_a_sum_and_a_mean_with_the_padding():
    ones = jnp.full((2, 1), 3.0)
    options = {"strides": 1, "padding": 2}
    expected = np.array([0, 3, 6, 3, 0], np.float32)
    np.testing.assert_array_equal(sum_pool(ones, (2,), **options)[:, 0], expected)
    np.testing.assert_array_equal(avg_pool(ones, (2,), **options)[:, 0], expected / 2)


def test_dtypes():
    z = x.astype(jnp.complex64)
    for function, name in [
        (max_pool, "max_pool"),
        (lp2, "lp_pool"),
        (max_pool_with_indices, "max_pool_with_indices"),
        (adaptive_max_pool, "adaptive_max_pool"),
    ]:
        with pytest.raises(TypeError, match=f"{name}: x must be real; got .*complex64"):
            function(z, (2, 2))
    with pytest.raises(TypeError, match="global_max_pool: x must be real"):
        global_max_pool(z)
    with pytest.raises(TypeError, match="global_lp_pool: x must be real"):
        global_lp_pool(z, p=2)
    with pytest.raises(TypeError, match=r"^sum_pool: x must hold numbers; got"):
        sum_pool(x > 0, (2, 2))
    with pytest.raises(TypeError, match="global_sum_pool: x must hold numbers"):
        global_sum_pool(x > 0)


def test_powers_and_divisors():
    with pytest.raises(ValueError, match=r"lp_pool: p must be at least 1; got 0\.5"):
        lp_pool(x, (2, 2), p=0.5)
    with pytest.raises(ValueError, match="lp_pool: p must be at least 1; got nan"):
        lp_pool(x, (2, 2), p=float("nan"))
    with pytest.raises(ValueError, match="global_lp_pool: p must be at least 1; got 0"):
        global_lp_pool(x, p=0)
    with pytest.raises(
        ValueError, match="avg_pool: divisor_override must be at least 1; got 0"
    ):
        avg_pool(x, (2, 2), divisor_override=0)


def test_global():
    with pytest.raises(
        ValueError,
        match=r"global_avg_pool: x must have at least 3 axes.*got x.shape=\(5, 3\)",
    ):
        global_avg_pool(jnp.zeros((5, 3)))
    with pytest.raises(ValueError, match="global_max_pool: x must have at least 4"):
        global_max_pool(jnp.zeros((5, 3, 2)), spatial_ndim=3)
    with pytest.raises(ValueError, match="spatial_ndim must be at least 1; got 0"):
        global_max_pool(x, spatial_ndim=0)
    with pytest.raises(
        ValueError,
        match="global_sum_pool: spatial axes must not be empty; "
        r"got x.shape=\(2, 0, 3\)",
    ):
        global_sum_pool(jnp.zeros((2, 0, 3)))


@pytest.mark.parametrize("function", [adaptive_avg_pool, adaptive_max_pool])
def test_adaptive(function):
    name = function.__name__
    with pytest.raises(ValueError, match=f"{name}: output_size must be at least 1"):
        function(x, (2, 0))
    with pytest.raises(ValueError, match=f"{name}: output_size must have an entry for"):
        function(x, ())
    with pytest.raises(ValueError, match=f"{name}: x must have at least 4 axes"):
        function(jnp.zeros((5, 5, 3)), (2, 2, 2))
    with pytest.raises(ValueError, match=f"{name}: spatial axes must not be empty"):
        function(jnp.zeros((2, 0, 3)), (2,))


def test_unpool():
    y, indices = jnp.zeros((2, 2, 1)), jnp.zeros((2, 2, 1), jnp.int32)
    with pytest.raises(
        ValueError,
        match=r"max_unpool: indices must have the shape of y; got \(2, 1\) and "
        r"y.shape=\(2, 2, 1\)",
    ):
        max_unpool(y, indices[0], (4, 4))
    with pytest.raises(TypeError, match="max_unpool: indices must be integers; got f"):
        max_unpool(y, y, (4, 4))
    with pytest.raises(
        ValueError,
        match=r"max_unpool: indices must lie in 0\.\.15, the cells of one plane; "
        r"got 0\.\.16 \(output_size may be too small\)",
    ):
        max_unpool(y, indices.at[1, 1].set(16), (4, 4))
    with pytest.raises(ValueError, match=r"got -1\.\.0"):
        max_unpool(y, indices.at[1, 1].set(-1), (4, 4))
    with pytest.raises(ValueError, match="output_size must be at least 1; got 0"):
        max_unpool(y, indices, (4, 0))
    with pytest.raises(ValueError, match="max_unpool: y must have at least 4 axes"):
        max_unpool(y, indices, (4, 4, 4))


def test_unpool_inside_jit_leaves_out_indices_outside_the_plane():
    y = jnp.array([[1.0], [2.0], [3.0]])
    indices = jnp.array([[-1], [1], [4]])
    got = jax.jit(lambda i: max_unpool(y, i, (4,)))(indices)
    np.testing.assert_array_equal(got[:, 0], [0, 2, 0, 0])


def test_pool():
    with pytest.raises(
        ValueError, match=r"pool: pooling_type must be one of 'max', .*; got 'median'"
    ):
        pool(x, (2, 2), pooling_type="median")
    with pytest.raises(
        ValueError,
        match="pool: pooling_type must remove axis -2 of its windows, "
        r"\(2, 2, 2, 4, 3\) to \(2, 2, 2, 3\); got \(2, 2, 2, 4, 3\)",
    ):
        pool(x, (2, 2), pooling_type=lambda windows, axis: windows)
    with pytest.raises(TypeError, match="unexpected keyword argument 'exponent'"):
        pool(x, (2, 2), pooling_type="max", exponent=3)

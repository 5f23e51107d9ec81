"""Pools under JAX's transformations, in every dtype, with special values."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jax.test_util import check_grads

from jaxnets.functional._pool import max_pool, min_pool, sum_pool
from jaxnets.functional._pool_adaptive import adaptive_avg_pool, adaptive_max_pool
from jaxnets.functional._pool_global import global_lp_pool, global_max_pool
from jaxnets.functional._pool_indices import max_pool_with_indices
from jaxnets.functional._pool_mean import avg_pool, lp_pool
from tests import pool_oracles as oracle
from tests.helpers import assert_close

options = {"strides": (2, 1), "padding": (1, 0), "dilation": (1, 2)}
FUNCTIONS = {
    "max": lambda x: max_pool(x, (3, 2), **options),
    "min": lambda x: min_pool(x, (3, 2), ceil_mode=True, **options),
    "max of blocks": lambda x: max_pool(x, (5, 3)),
    "max, wide": lambda x: max_pool(x, (1, 11), strides=1, padding=(0, 6)),
    "sum": lambda x: sum_pool(x, (3, 2), **options),
    "sum, wide": lambda x: sum_pool(x, (1, 11), strides=1, padding=(0, 6)),
    "avg": lambda x: avg_pool(x, (3, 2), count_include_pad=False, **options),
    "lp": lambda x: lp_pool(x, (3, 2), p=3, **options),
    "global max": lambda x: global_max_pool(x, spatial_ndim=2),
    "global lp": lambda x: global_lp_pool(x, p=2, spatial_ndim=2),
    "adaptive avg": lambda x: adaptive_avg_pool(x, (3, 4)),
    "adaptive max": lambda x: adaptive_max_pool(x, (3, 4)),
}
every = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
# The laws of test_conformance.py, for what takes a way of its own and has no row there.
NO_ROW = ("max of blocks", "sum, wide", "global lp")
without_a_row = pytest.mark.parametrize(
    "function", [FUNCTIONS[name] for name in NO_ROW], ids=NO_ROW
)


def distinct(shape, rng):
    """Values 0.1 apart and 0.05 from 0: a small step changes no maximum or sign."""
    n = np.prod(shape)
    return rng.permutation(n).reshape(shape) * 0.1 - n * 0.04 + 0.05


@without_a_row
def test_derivatives_to_second_order_in_both_modes(function, rng, x64):
    x = jnp.asarray(distinct((5, 7, 1), rng))
    check_grads(lambda x: jnp.sin(function(x)), (x,), order=2, eps=1e-4)


@pytest.mark.slow
@every
def test_hessian_of_a_square(function, rng, x64):
    """For f = ½‖pool‖² and a pool that is linear near x the Hessian is Jᵀ J."""
    if function in (FUNCTIONS["lp"], FUNCTIONS["global lp"]):
        pytest.skip("curved")
    x = jnp.asarray(distinct((5, 4, 1), rng))
    hessian = jax.hessian(lambda x: jnp.sum(function(x) ** 2) / 2)(x).reshape(20, 20)
    rows = [np.asarray(function(x + 1e-3 * e.reshape(x.shape))) for e in np.eye(20)]
    jacobian = np.stack([(r - np.asarray(function(x))).ravel() for r in rows]) * 1e3
    assert_close(hessian, jacobian @ jacobian.T, tol=1e-9)  # differences of 1e-3


@without_a_row
def test_vmap_scan_remat_and_jit(function, rng):
    x = jnp.asarray(rng.normal(size=(3, 2, 6, 7, 2)), jnp.float32)

    @jax.jit
    def slope(x):
        return jax.grad(lambda x: jnp.sum(jnp.cos(function(x))))(x)

    expected = jnp.stack([slope(one) for one in x])
    assert_close(jax.jit(jax.vmap(slope))(x), expected)
    mapped = jax.jit(jax.vmap(slope, in_axes=3, out_axes=3))(jnp.moveaxis(x, 0, 3))
    assert_close(mapped, jnp.moveaxis(expected, 0, 3))
    _, scanned = jax.lax.scan(lambda carry, x: (carry, slope(x)), 0, x)
    assert_close(scanned, expected)
    rematerialised = jax.checkpoint(function)
    got = jax.jit(jax.grad(lambda x: jnp.sum(jnp.cos(rematerialised(x)))))(x)
    assert_close(got, expected)


@pytest.mark.slow
@every
def test_forward_and_reverse_mode_are_transposes(function, rng):
    x, dx = (jnp.asarray(rng.normal(size=(2, 6, 7, 2)), jnp.float32) for _ in "xd")
    y, dy = jax.jvp(function, (x,), (dx,))
    g = jnp.asarray(rng.normal(size=y.shape), jnp.float32)
    _, back = jax.vjp(function, x)
    assert_close(jnp.vdot(g, dy), jnp.vdot(back(g)[0], dx), reduction=y.size)


@pytest.mark.slow
@every
def test_sharded_batch(function, rng):
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    x = jnp.asarray(rng.normal(size=(4, 6, 7, 2)), jnp.float32)

    def step(x):
        y, back = jax.vjp(function, x)
        return y, back(jnp.sin(y))[0]

    where = NamedSharding(mesh, P("data"))
    lowered = jax.jit(step, in_shardings=where, out_shardings=where).lower(x).compile()
    assert_close(lowered(jax.device_put(x, where)), step(x))
    text = lowered.as_text()
    assert not any(word in text for word in ("all-gather", "all-reduce", "all-to-all"))
    mapped = jax.shard_map(step, mesh=mesh, in_specs=P("data"), out_specs=P("data"))
    assert_close(jax.jit(mapped)(x), step(x))


@without_a_row
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_short_floats(function, dtype, rng):
    x = jnp.asarray(rng.normal(size=(2, 6, 7, 2)), dtype)
    exact = function(x.astype(jnp.float32))
    assert_close(function(x), exact, dtype=dtype)
    slope = jax.grad(lambda x: function(x).astype(jnp.float32).sum())(x)
    assert slope.dtype == dtype


def test_sums_of_short_floats_are_formed_in_float32():
    x = jnp.ones((600, 1), jnp.bfloat16)
    # In bfloat16, 256 + 1 is 256.
    assert float(sum_pool(x, (600,))[0, 0]) == 600
    assert float(sum_pool(x, (512,), strides=1)[3, 0]) == 512
    assert float(avg_pool(x, (600,))[0, 0]) == 1
    assert float(lp_pool(x, (600,), p=1)[0, 0]) == 600


@without_a_row
def test_float64(function, rng, x64):
    x = rng.normal(size=(2, 6, 7, 2))
    y = function(jnp.asarray(x))
    assert y.dtype == jnp.float64
    coarse = function(jnp.asarray(x, jnp.float32))
    assert_close(coarse, np.asarray(y), dtype=jnp.float32, reduction=42)


@without_a_row
def test_strict_promotion(function, rng):
    x = jnp.asarray(rng.normal(size=(6, 7, 2)), jnp.bfloat16)
    with jax.numpy_dtype_promotion("strict"):
        jax.jit(jax.grad(lambda x: function(x).sum()))(x)


def test_integers():
    case = oracle.Case((4, 5), (2, 3), (1, 2), ((1, 1), (0, 1)), (1, 1))
    for dtype in (np.int8, np.uint8, np.int32):
        low = np.iinfo(dtype).min
        x = np.random.default_rng(0).integers(low, low + 3, (4, 5, 2)).astype(dtype)
        expected = oracle.extreme_pool(x, case)[0]
        got = max_pool(x, case.window, **case.options())
        assert_close(got, expected.astype(dtype))
        expected = oracle.extreme_pool(x, case, sign=-1)[0]
        got = min_pool(x, case.window, **case.options())
        assert_close(got, expected.astype(dtype))
    x = np.random.default_rng(0).integers(-9, 9, (4, 5, 2))
    total = oracle.statistic_pool(x, case, lambda values, _: sum(values))
    got = sum_pool(x.astype(np.int8), case.window, **case.options())
    assert_close(got, total.astype(np.int8))
    got = avg_pool(x.astype(np.int8), case.window, **case.options())
    assert_close(got, oracle.avg_pool(x, case, True), dtype=jnp.float32)


def test_booleans():
    x = jnp.array([False, True, False, False])[:, None]
    np.testing.assert_array_equal(max_pool(x, (2,))[:, 0], [True, False])
    np.testing.assert_array_equal(min_pool(x, (2,), padding=1)[:, 0], [0, 0, 0])


def test_complex_sums(rng):
    x = (rng.normal(size=(6, 2)) + 1j * rng.normal(size=(6, 2))).astype(np.complex64)
    assert_close(sum_pool(x, (2,)), x[::2] + x[1::2])
    assert_close(avg_pool(x, (2,)), (x[::2] + x[1::2]) / 2)


SPECIAL = np.array([-np.inf, np.nan, 0.0, 1.0, np.inf], np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("window", [3, 10])
@pytest.mark.parametrize("sign", [1, -1])
def test_special_values_and_where_their_gradients_go(window, sign, rng):
    """All triples of special values, side by side, and in wide windows."""
    if window == 3:
        rows = np.array(list(itertools.product(SPECIAL, repeat=3)))
    else:
        rows = rng.choice(SPECIAL, size=(60, 10))
        rows[:20] = np.where(np.isnan(rows[:20]), -np.inf, rows[:20])
    x = rows[..., None]
    for strides, padding in [(window, (0, 0)), (1, (2, 2))]:
        case = oracle.Case((window,), (window,), (strides,), (padding,), (1,))
        y, indices = oracle.extreme_pool(x, case, sign)
        pool = max_pool if sign == 1 else min_pool
        got, back = jax.vjp(lambda x: pool(x, (window,), **case.options()), x)  # noqa: B023
        assert_close(got, y, dtype=x.dtype)
        g = rng.normal(size=y.shape).astype(np.float32)
        expected = oracle.scatter(g, indices, case)
        assert_close(back(g)[0], expected, dtype=x.dtype, reduction=10)
        if sign == 1:
            _, named = max_pool_with_indices(x, (window,), **case.options())
            assert_close(named, indices)


def test_padding_never_wins_over_the_lowest_values():
    x = jnp.full((3, 3, 1), -jnp.inf)
    _, indices = max_pool_with_indices(x, (2, 2), strides=2, padding=1)
    np.testing.assert_array_equal(indices[..., 0], [[0, 1], [3, 4]])
    lowest = jnp.full((3, 3, 1), jnp.iinfo(jnp.int32).min)
    _, indices = max_pool_with_indices(lowest, (2, 2), strides=2, padding=1)
    np.testing.assert_array_equal(indices[..., 0], [[0, 1], [3, 4]])


@pytest.mark.slow
def test_norm_of_zeros_has_slope_zero():
    x = jnp.zeros((4, 1))
    for p in (1, 1.5, 2, 3):
        slope = jax.grad(lambda x: lp_pool(x, (2,), p=p).sum())(x)  # noqa: B023
        np.testing.assert_array_equal(slope, jnp.zeros_like(x))
    nan = lp_pool(x.at[0].set(jnp.nan), (2,), p=2)[:, 0]
    np.testing.assert_array_equal(nan, [np.nan, 0])


@pytest.mark.slow
def test_empty_batch():
    x = jnp.zeros((0, 4, 4, 3))
    for function in FUNCTIONS.values():
        assert function(jnp.zeros((0, 6, 7, 3))).shape[0] == 0
    y, back = jax.vjp(lambda x: max_pool(x, (2, 2)), x)
    assert back(y)[0].shape == x.shape


@every
def test_gradients_use_no_scatter_and_no_window_reduction(function):
    x = jnp.ones((2, 6, 7, 2))
    text = jax.jit(jax.grad(lambda x: function(x).sum())).lower(x).as_text()
    for slow in ("scatter", "reduce_window", "select_and_scatter"):
        assert slow not in text

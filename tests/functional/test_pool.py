"""Windowed pools against NumPy loops, for drawn shapes and options."""

import math

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest

from jaxnets.functional._pool import max_pool, min_pool, pool_output_shape, sum_pool
from jaxnets.functional._pool_indices import max_pool_with_indices
from jaxnets.functional._pool_mean import avg_pool, lp_pool
from tests import pool_oracles as oracle
from tests.helpers import assert_close

drawn = hypothesis.settings(max_examples=25, deadline=None, derandomize=True)


@st.composite
def cases(draw, max_taps=4):
    rank = draw(st.integers(1, 3))

    def ints(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    case = oracle.Case(
        sizes=ints(1, 6 if rank < 3 else 4),
        window=ints(1, max_taps if rank < 3 else 3),
        strides=ints(1, 4),
        padding=tuple(zip(ints(0, 3), ints(0, 3), strict=True)),
        dilation=ints(1, 2),
        ceil_mode=draw(st.booleans()),
    )
    hypothesis.assume(case.valid())
    return case


batches = st.sampled_from([(), (2,), (2, 1)])


def integer_valued(case, batch, seed, channels=2):
    """Few different values, so that ties are common."""
    shape = (*batch, *case.sizes, channels)
    return np.random.default_rng(seed).integers(-2, 3, shape).astype(np.float32)


@pytest.mark.slow
@drawn
@hypothesis.given(cases(), batches, st.integers(0, 99))
def test_max_pool_and_its_gradient(case, batch, seed):
    x = integer_valued(case, batch, seed)
    y, indices = oracle.extreme_pool(x, case)
    g = np.random.default_rng(seed).normal(size=y.shape).astype(np.float32)

    @jax.jit
    def both(x, g):
        y, back = jax.vjp(lambda x: max_pool(x, case.window, **case.options()), x)
        return y, back(g)[0], max_pool_with_indices(x, case.window, **case.options())

    got, dx, (again, got_indices) = both(x, g)
    assert_close(got, y, dtype=x.dtype)
    assert_close(again, y, dtype=x.dtype)
    assert_close(got_indices, indices)
    assert_close(dx, oracle.scatter(g, indices, case), dtype=x.dtype, reduction=81)


@pytest.mark.slow
@drawn
@hypothesis.given(cases(), batches, st.integers(0, 99))
def test_min_pool_and_its_gradient(case, batch, seed):
    x = integer_valued(case, batch, seed)
    y, indices = oracle.extreme_pool(x, case, sign=-1)
    g = np.random.default_rng(seed).normal(size=y.shape).astype(np.float32)

    @jax.jit
    def both(x, g):
        y, back = jax.vjp(lambda x: min_pool(x, case.window, **case.options()), x)
        return y, back(g)[0]

    got, dx = both(x, g)
    assert_close(got, y, dtype=x.dtype)
    assert_close(dx, oracle.scatter(g, indices, case), dtype=x.dtype, reduction=81)


@pytest.mark.slow
@drawn
@hypothesis.given(cases(), batches, st.integers(0, 99))
def test_sum_avg_and_lp_pool(case, batch, seed):
    shape = (*batch, *case.sizes, 2)
    x = np.random.default_rng(seed).normal(size=shape).astype(np.float32)

    @jax.jit
    def pools(x):
        window, options = case.window, case.options()
        return {
            "sum": sum_pool(x, window, **options),
            "avg": avg_pool(x, window, **options),
            "real": avg_pool(x, window, count_include_pad=False, **options),
            "seven": avg_pool(x, window, divisor_override=7, **options),
            "l1": lp_pool(x, window, p=1, **options),
            "l2": lp_pool(x, window, p=2, **options),
            "l3": lp_pool(x, window, p=3, **options),
            "l2.5": lp_pool(x, window, p=2.5, **options),
            "inf": lp_pool(x, window, p=math.inf, **options),
        }

    def norm(p):
        return oracle.statistic_pool(x, case, lambda v, _: np.linalg.norm(v, p))

    expected = {
        "sum": oracle.statistic_pool(x, case, lambda values, _: sum(values)),
        "avg": oracle.avg_pool(x, case, count_include_pad=True),
        "real": oracle.avg_pool(x, case, count_include_pad=False),
        "seven": oracle.avg_pool(x, case, True, divisor=7),
        "l1": norm(1),
        "l2": norm(2),
        "l3": norm(3),
        "l2.5": norm(2.5),
        "inf": norm(np.inf),
    }
    assert_close(pools(x), expected, dtype=np.float32, reduction=math.prod(case.window))


@drawn
@hypothesis.given(cases(), batches)
def test_pool_output_shape(case, batch):
    outputs = case.output_sizes()
    shape = pool_output_shape((*batch, *case.sizes, 5), case.window, **case.options())
    assert shape == (*batch, *outputs, 5)
    first = pool_output_shape(
        (*batch, 5, *case.sizes),
        case.window,
        data_format="channels_first",
        **case.options(),
    )
    assert first == (*batch, 5, *outputs)


@pytest.mark.parametrize("padding", ["VALID", "SAME", "same_lower", "FULL", "CAUSAL"])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2), (3, 2)])
def test_named_padding(padding, stride, dilation, rng):
    size, taps = 7, 3
    x = rng.normal(size=(2, size, 3)).astype(np.float32)
    reach = dilation * (taps - 1)
    total = max((-(-size // stride) - 1) * stride + reach + 1 - size, 0)
    lo, hi = {
        "VALID": (0, 0),
        "SAME": (total // 2, total - total // 2),
        "same_lower": (total - total // 2, total // 2),
        "FULL": (reach, reach),
        "CAUSAL": (reach, 0),
    }[padding]
    case = oracle.Case((size,), (taps,), (stride,), ((lo, hi),), (dilation,))
    y = max_pool(x, (taps,), strides=stride, padding=padding, dilation=dilation)
    assert_close(y, oracle.extreme_pool(x, case)[0], dtype=x.dtype)
    y = avg_pool(x, (taps,), strides=stride, padding=padding, dilation=dilation)
    assert_close(y, oracle.avg_pool(x, case, True), dtype=x.dtype)


@pytest.mark.parametrize("taps", [9, 16, 21, 64])
@pytest.mark.parametrize("stride", [1, 3, None])
def test_wide_windows(taps, stride, rng):
    """Wide windows are done in stages; ties and sums are those of one window."""
    case = oracle.Case((70,), (taps,), (stride or taps,), ((4, 3),), (1,))
    x = integer_valued(case, (2,), taps)
    y, indices = oracle.extreme_pool(x, case)
    g = rng.normal(size=y.shape).astype(np.float32)
    options = case.options()

    @jax.jit
    def run(x, g):
        y, back = jax.vjp(lambda x: max_pool(x, (taps,), **options), x)
        named = max_pool_with_indices(x, (taps,), **options)
        return y, back(g)[0], named[1], sum_pool(x, (taps,), **options)

    dx = oracle.scatter(g, indices, case)
    sums = oracle.statistic_pool(x, case, lambda values, _: sum(values))
    got, slope, named, total = run(x, g)
    assert_close(got, y, dtype=x.dtype)
    assert_close(named, indices)
    assert_close(slope, dx, dtype=x.dtype, reduction=taps)
    assert_close(total, sums, dtype=x.dtype, reduction=taps)


def test_wide_dilated_window():
    case = oracle.Case((40, 5), (11, 2), (2, 1), ((9, 9), (1, 0)), (3, 2))
    x = integer_valued(case, (), 1)

    @jax.jit
    def run(x):
        named = max_pool_with_indices(x, (11, 2), **case.options())
        return named, sum_pool(x, (11, 2), **case.options())

    (got, named), total = run(x)
    y, indices = oracle.extreme_pool(x, case)
    sums = oracle.statistic_pool(x, case, lambda values, _: sum(values))
    assert_close(got, y, dtype=x.dtype)
    assert_close(named, indices)
    assert_close(total, sums, dtype=x.dtype, reduction=22)


def test_fifth_rank(rng):
    x = rng.normal(size=(3, 2, 3, 2, 2, 1)).astype(np.float32)
    case = oracle.Case((3, 2, 3, 2, 2), (2,) * 5, (1,) * 5, ((0, 0),) * 5, (1,) * 5)
    expected = oracle.extreme_pool(x, case)[0]
    assert_close(max_pool(x, (2,) * 5, strides=1), expected, dtype=x.dtype)


def test_channels_first(rng):
    x = rng.normal(size=(2, 3, 5, 6)).astype(np.float32)
    last = np.moveaxis(x, 1, -1)
    case = oracle.Case((5, 6), (2, 3), (2, 3), ((0, 0),) * 2, (1, 1))
    expected = np.moveaxis(oracle.extreme_pool(last, case)[0], -1, 1)
    got = max_pool(x, (2, 3), data_format="channels_first")
    assert_close(got, expected, dtype=x.dtype)
    means = np.moveaxis(oracle.avg_pool(last, case, True), -1, 1)
    got = avg_pool(x, (2, 3), data_format="channels_first")
    assert_close(got, means, dtype=x.dtype)


def test_strides_default_to_the_window(rng):
    x = rng.normal(size=(7, 5, 1)).astype(np.float32)
    np.testing.assert_array_equal(
        max_pool(x, (3, 2)), max_pool(x, (3, 2), strides=(3, 2))
    )


def test_translation_within_a_window_changes_nothing(rng):
    """A pattern that stays inside its windows keeps its maxima."""
    x = np.zeros((12, 1), np.float32)
    x[[0, 4, 8], 0] = rng.uniform(1, 2, 3)
    for shift in range(4):
        moved = np.roll(x, shift, axis=0)
        np.testing.assert_array_equal(max_pool(moved, (4,)), max_pool(x, (4,)))

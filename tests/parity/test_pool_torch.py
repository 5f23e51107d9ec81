"""Pools against PyTorch, drawn over every option it has: values and gradients."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.functional._pool import (
    max_pool,
    min_pool,
    pool_output_shape,
    sum_pool,
)
from jaxnets.functional._pool_adaptive import adaptive_avg_pool, adaptive_max_pool
from jaxnets.functional._pool_any import pool
from jaxnets.functional._pool_indices import max_pool_with_indices, max_unpool
from jaxnets.functional._pool_mean import avg_pool, lp_pool
from tests.helpers import assert_close
from tests.pool_oracles import Case

torch = pytest.importorskip("torch")
F = torch.nn.functional
pytestmark = pytest.mark.torch
drawn = hypothesis.settings(max_examples=20, deadline=None, derandomize=True)
seeds = st.integers(0, 999)


@st.composite
def windows(draw, dilated):
    """Sizes and options that PyTorch takes, the rank first, `ceil_mode` last."""
    rank = draw(st.integers(1, 3))

    def ints(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    sizes, window, strides = ints(2, 8 if rank < 3 else 5), ints(1, 4), ints(1, 4)
    padding = tuple(draw(st.integers(0, k // 2)) for k in window)
    dilation = ints(1, 3) if dilated else (1,) * rank
    ceil_mode = draw(st.booleans())
    case = Case(
        sizes, window, strides, tuple((p, p) for p in padding), dilation, ceil_mode
    )
    hypothesis.assume(case.valid())
    return rank, sizes, window, strides, padding, dilation, ceil_mode


def tied(seed, shape):
    """Few different values, so that ties are common."""
    return np.random.default_rng(seed).integers(-1, 3, shape).astype(np.float32)


def normal(seed, shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def both(ours, theirs, x, seed):
    """Compare value and gradient of functions on channels-last and -first arrays."""
    leaf = torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))
    leaf.requires_grad_()
    y = theirs(leaf)
    g = normal(seed + 1, tuple(y.shape))
    (slope,) = torch.autograd.grad(y, leaf, torch.from_numpy(g))

    @jax.jit
    def run(x, g):
        y, back = jax.vjp(ours, x)
        return y, back(g)[0]

    got = run(x, np.moveaxis(g, 1, -1))
    expected = y.detach().movedim(1, -1).numpy(), slope.movedim(1, -1).numpy()
    assert_close(got, expected, reduction=64)


@pytest.mark.slow
@drawn
@hypothesis.given(windows(dilated=True), seeds)
def test_max_pool(drawn, seed):
    rank, sizes, window, strides, padding, dilation, ceil_mode = drawn
    x = tied(seed, (2, *sizes, 3))
    options = {
        "padding": padding,
        "dilation": dilation,
        "ceil_mode": ceil_mode,
    }
    theirs = getattr(F, f"max_pool{rank}d")
    both(
        lambda x: max_pool(x, window, strides=strides, **options),
        lambda x: theirs(x, window, strides, **options),
        x,
        seed,
    )
    first = torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))
    _, named = theirs(first, window, strides, return_indices=True, **options)
    pool = jax.jit(
        lambda x: max_pool_with_indices(x, window, strides=strides, **options)
    )
    expected = named.movedim(1, -1).numpy().astype(np.int32)
    assert_close(pool(x)[1], expected)


@pytest.mark.slow
@drawn
@hypothesis.given(
    windows(dilated=False), st.booleans(), st.none() | st.integers(1, 9), seeds
)
def test_avg_pool(drawn, count_include_pad, divisor_override, seed):
    rank, sizes, window, strides, padding, _, ceil_mode = drawn
    # In three dimensions PyTorch wants the window to fit without the padding.
    fits = all(k <= n for k, n in zip(window, sizes, strict=True))
    hypothesis.assume(fits or rank < 3)
    options = {
        "padding": padding,
        "ceil_mode": ceil_mode,
        "count_include_pad": count_include_pad,
    }
    if rank > 1:
        options["divisor_override"] = divisor_override
    theirs = getattr(F, f"avg_pool{rank}d")
    both(
        lambda x: avg_pool(x, window, strides=strides, **options),
        lambda x: theirs(x, window, strides, **options),
        normal(seed, (2, *sizes, 3)),
        seed,
    )


# A window longer than the input has one position, if by less than a stride.
SHORT = [
    ((1, 2), (2, 4), (2, 3), (0, 0), (1, 1)),
    ((2, 3), (4, 3), (3, 1), (0, 0), (1, 1)),
    ((3, 5), (4, 2), (2, 2), (0, 1), (1, 3)),
    ((2, 2), (3, 3), (2, 5), (1, 0), (2, 1)),
    ((3, 2), (2, 3), (4, 5), (0, 1), (4, 2)),
    ((1, 1), (12, 2), (12, 2), (0, 0), (1, 1)),
    ((9, 7), (4, 8), (4, 8), (0, 0), (1, 1)),
    ((2, 3), (20, 2), (19, 2), (0, 0), (1, 1)),
]


@pytest.mark.parametrize(("sizes", "window", "strides", "padding", "dilation"), SHORT)
def test_ceil_mode_of_inputs_smaller_than_the_window(
    sizes, window, strides, padding, dilation
):
    x = tied(0, (2, *sizes, 8))
    options = {"padding": padding, "ceil_mode": True}
    dilated = {**options, "dilation": dilation}
    both(
        lambda x: max_pool(x, window, strides=strides, **dilated),
        lambda x: F.max_pool2d(x, window, strides, **dilated),
        x,
        0,
    )
    for count_include_pad in (False, True):
        averaged = {**options, "count_include_pad": count_include_pad}
        both(
            lambda x, o=averaged: avg_pool(x, window, strides=strides, **o),
            lambda x, o=averaged: F.avg_pool2d(x, window, strides, **o),
            x,
            0,
        )
    first = torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))
    _, named = F.max_pool2d(first, window, strides, return_indices=True, **dilated)
    _, indices = max_pool_with_indices(x, window, strides=strides, **dilated)
    assert_close(indices, named.movedim(1, -1).numpy().astype(np.int32))
    # Of sums and norms over the cells of x alone, which PyTorch does not have.
    total = F.avg_pool2d(first, window, strides, divisor_override=1, **options)
    got = sum_pool(x, window, strides=strides, **options)
    assert_close(got, total.movedim(1, -1).numpy(), reduction=16)
    squares = F.avg_pool2d(first**2, window, strides, divisor_override=1, **options)
    got = lp_pool(x, window, p=2, strides=strides, **options)
    assert_close(got, squares.sqrt().movedim(1, -1).numpy(), reduction=16)
    smallest = -F.max_pool2d(-first, window, strides, **dilated)
    got = min_pool(x, window, strides=strides, **dilated)
    assert_close(got, smallest.movedim(1, -1).numpy())
    spread = pool(
        x, window, pooling_type=jnp.nanmax, pad_value=np.nan, strides=strides, **dilated
    )
    largest = F.max_pool2d(first, window, strides, **dilated)
    assert_close(spread, largest.movedim(1, -1).numpy())
    shape = pool_output_shape(x.shape, window, strides=strides, **dilated)
    assert shape == spread.shape


@pytest.mark.slow
@drawn
@hypothesis.given(windows(dilated=False), st.sampled_from([1, 2, 3, 2.5]), seeds)
def test_lp_pool(drawn, p, seed):
    """Positive values, since PyTorch raises x, not |x|, to odd powers."""
    rank, sizes, window, strides, _, _, _ = drawn
    hypothesis.assume(all(k <= n for k, n in zip(window, sizes, strict=True)))
    theirs = getattr(F, f"lp_pool{rank}d")
    # In one dimension PyTorch takes a number only.
    size, step = (window, strides) if rank > 1 else (window[0], strides[0])
    both(
        lambda x: lp_pool(x, window, p=p, strides=strides),
        lambda x: theirs(x, float(p), size, step),
        abs(normal(seed, (2, *sizes, 3))) + np.float32(0.1),
        seed,
    )


@pytest.mark.slow
@drawn
@hypothesis.given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=3),
    seeds,
)
def test_adaptive_pools(axes, seed):
    sizes, outputs = zip(*axes, strict=True)
    rank = len(axes)
    average = getattr(F, f"adaptive_avg_pool{rank}d")
    both(
        lambda x: adaptive_avg_pool(x, outputs),
        lambda x: average(x, outputs),
        normal(seed, (2, *sizes, 2)),
        seed,
    )
    largest = getattr(F, f"adaptive_max_pool{rank}d")
    both(
        lambda x: adaptive_max_pool(x, outputs),
        lambda x: largest(x, outputs),
        tied(seed, (2, *sizes, 2)),
        seed,
    )


@pytest.mark.slow
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_max_unpool(rank):
    sizes, window = (6, 5, 4)[:rank], (2, 2, 2)[:rank]
    x = normal(rank, (2, *sizes, 3))
    y, indices = max_pool_with_indices(x, window)
    first = [torch.from_numpy(np.moveaxis(np.array(a), -1, 1)) for a in (y, indices)]
    theirs = getattr(F, f"max_unpool{rank}d")
    expected = theirs(first[0], first[1].long(), window, output_size=sizes)
    got = max_unpool(y, indices, sizes)
    assert_close(got, expected.movedim(1, -1).numpy())


def test_special_values():
    """NaN and infinities: the same values, and the same cell is named."""
    rng = np.random.default_rng(0)
    values = np.array([-np.inf, -np.inf, np.nan, 0, 1, np.inf], np.float32)
    x = rng.choice(values, size=(40, 6, 6, 2))
    x[:20][np.isnan(x[:20])] = -np.inf
    first = torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))
    y, named = F.max_pool2d(first, 3, 2, 1, return_indices=True)
    got, indices = max_pool_with_indices(x, (3, 3), strides=2, padding=1)
    assert_close(got, y.movedim(1, -1).numpy())
    assert_close(indices, named.movedim(1, -1).numpy().astype(np.int32))


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_keras_average(padding, monkeypatch):
    """Keras averages over the cells of x alone."""
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    x = normal(3, (2, 7, 6, 3))
    for stride in (1, 2, 3):
        expected = keras.ops.average_pool(
            jnp.asarray(x),
            (2, 3),
            strides=stride,
            padding=padding,
            data_format="channels_last",
        )
        got = avg_pool(
            x, (2, 3), strides=stride, padding=padding, count_include_pad=False
        )
        assert_close(got, np.asarray(expected))
        expected = keras.ops.max_pool(
            jnp.asarray(x),
            (2, 3),
            strides=stride,
            padding=padding,
            data_format="channels_last",
        )
        got = max_pool(x, (2, 3), strides=stride, padding=padding)
        assert_close(got, np.asarray(expected))

"""unfold and fold against loops over windows, and as transposes of each other."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnets.functional._unfold import fold, unfold
from tests.helpers import assert_close
from tests.oracles import pad_widths, per_axis


def loop_unfold(x, window, *, strides=1, padding="VALID", dilation=1):
    """Every patch cell by cell, in float64."""
    rank = len(window)
    x = np.asarray(x, np.float64)
    first = x.ndim - rank - 1
    strides, dilation = per_axis(strides, rank), per_axis(dilation, rank)
    sizes = x.shape[first:-1]
    widths = [
        pad_widths(*axis)
        for axis in zip(
            per_axis(padding, rank), sizes, window, strides, dilation, strict=True
        )
    ]
    counts = [
        (n + sum(w) - (k - 1) * d - 1) // s + 1
        for n, w, k, s, d in zip(sizes, widths, window, strides, dilation, strict=True)
    ]
    patches = np.zeros((*x.shape[:first], *counts, *window, x.shape[-1]))
    for p in itertools.product(*map(range, counts)):
        for t in itertools.product(*map(range, window)):
            cell = [
                p[a] * strides[a] + t[a] * dilation[a] - widths[a][0]
                for a in range(rank)
            ]
            if all(0 <= c < n for c, n in zip(cell, sizes, strict=True)):
                patches[(..., *p, *t, slice(None))] = x[(..., *cell, slice(None))]
    return patches


@st.composite
def cases(draw):
    """x, a window and options, of 1 to 3 spatial axes."""
    rank = draw(st.integers(1, 3))

    def axes(values):
        return draw(values | st.tuples(*[values] * rank))

    window = draw(st.tuples(*[st.integers(1, 4 if rank < 3 else 2)] * rank))
    strides, dilation = axes(st.integers(1, 5)), axes(st.sampled_from([1, 1, 2]))
    pairs = st.tuples(st.integers(0, 3), st.integers(0, 3))
    names = st.sampled_from(["VALID", "SAME", "SAME_LOWER", "FULL", "CAUSAL"])
    padding = draw(names | st.tuples(*[pairs] * rank))
    steps = per_axis(dilation, rank)
    sizes = tuple(
        (k - 1) * d + draw(st.integers(1, 5))
        for k, d in zip(window, steps, strict=True)
    )
    batch = draw(st.sampled_from([(), (2,), (1, 2)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.normal(size=(*batch, *sizes, draw(st.integers(1, 3)))).astype(np.float32)
    return x, window, {"strides": strides, "padding": padding, "dilation": dilation}


def check(case):
    x, window, options = case
    expected = loop_unfold(x, window, **options)
    weights = np.cos(np.arange(expected.size, dtype=np.float64) * 0.7)
    weights = weights.reshape(expected.shape)
    rank = len(window)
    sizes = x.shape[-rank - 1 : -1]
    # The fold of these weights, cell by cell: ⟨unfold(e), weights⟩ for unit arrays e.
    places = np.arange(1, 1 + np.prod(sizes), dtype=np.float64).reshape(*sizes, 1)
    seen = loop_unfold(places, window, **options)[..., 0].astype(int)
    summed = np.zeros((*x.shape[: -rank - 1], 1 + places.size, x.shape[-1]))
    flat = weights.reshape(*x.shape[: -rank - 1], seen.size, x.shape[-1])
    for i, place in enumerate(seen.reshape(-1)):
        summed[..., place, :] += flat[..., i, :]
    summed = summed[..., 1:, :].reshape(x.shape)
    weights = weights.astype(np.float32)
    terms = int(np.prod(window))

    @jax.jit
    def everything(x, weights):
        patches, back = jax.vjp(lambda x: unfold(x, window, **options), x)
        folded, forth = jax.vjp(lambda p: fold(p, sizes, **options), weights)
        return (patches, *forth(x)), (folded, *back(weights))

    patches, sums = everything(x, weights)
    assert_close(patches, (expected.astype(np.float32),) * 2)
    assert_close(sums, (summed,) * 2, dtype=jnp.float32, reduction=terms)


@settings(max_examples=15)
@given(cases())
def test_unfold_and_fold_equal_loops_and_are_transposes(case):
    check(case)


@pytest.mark.slow
@settings(max_examples=80)
@given(cases())
def test_many_unfolds_and_folds(case):
    check(case)


@pytest.mark.parametrize(
    ("window", "strides"), [((4, 3), (4, 3)), ((5, 6), (2, 4)), ((6, 2), (3, 1))]
)
def test_long_strides(window, strides, rng):
    x = rng.normal(size=(2, 13, 11, 3)).astype(np.float32)
    check((x, window, {"strides": strides, "padding": ((2, 0), (1, 4))}))


def test_patches_that_tile_come_back(rng):
    x = rng.normal(size=(2, 8, 6, 3)).astype(np.float32)
    patches = jax.jit(lambda x: unfold(x, (4, 3), strides=(4, 3)))(x)
    assert patches.shape == (2, 2, 2, 4, 3, 3)
    assert_close(fold(patches, (8, 6), strides=(4, 3)), x)


def test_fold_sums_halves_in_float32():
    """256 + 1 is 256 in bfloat16, however often it is added."""
    patches = jnp.ones((10, 10, 1), "bfloat16").at[9, 0].set(256)
    assert fold(patches, (19,))[9, 0] == jnp.asarray(256 + 9, "bfloat16")


@pytest.mark.parametrize("dtype", ["int32", "bool", "complex64"])
def test_other_dtypes_are_kept(dtype, rng):
    x = jnp.asarray(rng.integers(0, 2, (2, 5, 1)), dtype)
    patches = unfold(x, (3,))
    assert patches.dtype == dtype
    assert np.array_equal(patches[:, 1, :, 0], x[:, 1:4, 0])


ERRORS = [
    (unfold, (np.zeros((5, 2)), (6,)), {}, ValueError, "unfold: window must fit"),
    (
        unfold,
        (np.zeros(5), (2,)),
        {},
        ValueError,
        "unfold: x must have at least 2 axes",
    ),
    (unfold, (np.zeros((5, 2)), ()), {}, ValueError, "unfold: window must have at"),
    (unfold, (np.zeros((5, 2)), (0,)), {}, ValueError, "window must be at least 1"),
    (
        unfold,
        (np.zeros((5, 2)), (2,)),
        {"strides": (1, 2)},
        ValueError,
        "unfold: strides must have 1 entries, one a spatial axis; got 2",
    ),
    (
        unfold,
        (np.zeros((5, 2)), (2,)),
        {"padding": "SOME"},
        ValueError,
        "unfold: padding must be one of .*got 'SOME'",
    ),
    (
        fold,
        (np.zeros((4, 2, 1)), (6,)),
        {},
        ValueError,
        r"fold: patches must have positions \(5,\), as many as windows of \(2,\) fit "
        r"into output_size=\(6,\); got \(4,\)",
    ),
    (
        fold,
        (np.zeros((4, 2)), (5,)),
        {},
        ValueError,
        r"fold: patches must have at least 3 axes, \(\*batch, \*positions, \*window, "
        r"channels\) with 1 positions",
    ),
    (
        fold,
        (np.zeros((4, 2, 1)), (-1,)),
        {},
        ValueError,
        "fold: output_size must be at least 0; got -1",
    ),
    (fold, (np.zeros((4, 6, 1)), (5,)), {}, ValueError, "fold: window must fit into"),
]


@pytest.mark.parametrize(("call", "arguments", "options", "error", "message"), ERRORS)
def test_errors(call, arguments, options, error, message):
    with pytest.raises(error, match=message):
        call(*arguments, **options)


@pytest.mark.usefixtures("untyped")
def test_strides_must_be_given():
    message = "^unfold: strides must be an integer or several; got None"
    with pytest.raises(TypeError, match=message):
        unfold(np.zeros((5, 2)), (2,), strides=None)
    with pytest.raises(TypeError, match=r"^fold: output_size must be .*got 5"):
        fold(np.zeros((4, 2, 1)), 5)

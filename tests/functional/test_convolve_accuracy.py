"""convolve and correlate keep the elementwise bound, in value and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import native
from jaxnets.functional import convolve, correlate, polynomial_product
from tests.functional.accuracy_cases import PATTERNS, decades
from tests.helpers import EPSILON


def slow(*values):
    """The same values, as parameters of slow tests."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


SHAPES = (
    ((300,), (120,)),
    ((20, 18), (9, 7)),
    pytest.param((7, 6, 8), (3, 4, 5), marks=pytest.mark.slow),
)
KERNELS = ["none", "native"]


@pytest.fixture(autouse=True)
def plain_precision():
    """The precision that users have: the suite's own rules out what rounds more."""
    with jax.default_matmul_precision("default"):
        yield


@pytest.fixture(params=KERNELS, autouse=True)
def kernels(request, monkeypatch):
    """With the compiled kernels, and as with JAXNETS_NATIVE=0."""
    if request.param == "none":
        reason = "is switched off by JAXNETS_NATIVE=0"
        monkeypatch.setattr(native, "missing", lambda: reason)


def compiled(function):
    """Jitted by itself: `jax.jit(convolve)` may be a program of another test."""
    return jax.jit(lambda a, b: function(a, b))


def written_out(a, b, g):
    """The full convolution and its two gradients, shift by shift in longdouble."""
    a, b, g = (np.asarray(v, np.longdouble) for v in (a, b, g))
    y, da, db = (np.zeros(v.shape, np.longdouble) for v in (g, a, b))
    for shift in np.ndindex(*b.shape):
        where = tuple(slice(i, i + n) for i, n in zip(shift, a.shape, strict=True))
        y[where] += a * b[shift]
        da += g[where] * b[shift]
        db[shift] = np.sum(g[where] * a)
    return y, da, db


def check_bound(results, arrays, dtype, where):
    """|error| ≤ n ε Σ |a| |b| of the terms, n the most that a result has."""
    most = (arrays[1].size, arrays[1].size, arrays[0].size)
    each = zip(
        results,
        written_out(*arrays),
        written_out(*map(np.abs, arrays)),
        most,
        strict=True,
    )
    wide = EPSILON["float64" if dtype == "float64" else "float32"]
    for result, value, size, n in each:
        error = np.abs(np.asarray(result, np.float64).astype(np.longdouble) - value)
        assert np.all(error <= n * wide * size + EPSILON[dtype] * np.abs(value)), where


def cast(arrays, dtype):
    return tuple(np.asarray(jnp.asarray(v, dtype), np.float64) for v in arrays)


@pytest.mark.parametrize(
    "dtype",
    [
        "float32",
        *(pytest.param(d, marks=pytest.mark.slow) for d in ("float64", "bfloat16")),
    ],
)
@pytest.mark.parametrize(("m", "n"), SHAPES)
@pytest.mark.usefixtures("x64")
def test_convolve_and_its_gradients_keep_the_bound(m, n, dtype, rng):
    full = tuple(i + j - 1 for i, j in zip(m, n, strict=True))
    plain = [rng.normal(size=shape) for shape in (m, n, full)]

    @jax.jit
    def run(a, b, g):
        y, backward = jax.vjp(convolve, a, b)
        return y, *backward(g)

    for pattern in PATTERNS:
        for place in range(3):
            arrays = list(plain)
            arrays[place] = pattern(rng, plain[place].shape)
            arrays = cast(arrays, dtype)
            results = run(*(jnp.asarray(v, dtype) for v in arrays))
            check_bound(results, arrays, dtype, f"{pattern.__name__} in {place}")


@pytest.mark.parametrize("function", [convolve, correlate, polynomial_product])
def test_positive_numbers_over_20_decades_keep_all_digits(function, rng):
    """Transforms left none: results of 1e-20 beside errors of 1e13."""
    a, b = cast((decades(rng, (400,)), decades(rng, (150,))), "float32")
    y = np.asarray(compiled(function)(jnp.float32(a), jnp.float32(b)), np.float64)
    exact = np.convolve(a, b[::-1] if function is correlate else b)
    np.testing.assert_allclose(y, exact, rtol=150 * EPSILON["float32"])


@pytest.mark.parametrize("real", ["a", "b", "none"])
def test_complex_numbers_keep_the_bound_part_by_part(real, rng):
    a, b = (
        np.complex64(decades(rng, (n,)) + 1j * decades(rng, (n,))) for n in (300, 120)
    )
    a, b = (a.real, b) if real == "a" else (a, b.real) if real == "b" else (a, b)
    y = np.asarray(compiled(convolve)(a, b))
    exact = np.convolve(a.astype(np.complex128), b.astype(np.complex128))
    size = np.convolve(abs(a.real.astype(float)), abs(b.real.astype(float)))
    size += np.convolve(abs(a.imag.astype(float)), abs(b.imag.astype(float)))
    cross = np.convolve(abs(a.real.astype(float)), abs(b.imag.astype(float)))
    cross += np.convolve(abs(a.imag.astype(float)), abs(b.real.astype(float)))
    assert np.all(np.abs(y.real - exact.real) <= 241 * EPSILON["float32"] * size)
    assert np.all(np.abs(y.imag - exact.imag) <= 241 * EPSILON["float32"] * cross)


def test_values_up_to_1e18_do_not_overflow(rng):
    """Their products are 1e36; transforms of 2048 points overflowed to 59 NaN."""
    a, b = (rng.uniform(-1e18, 1e18, n).astype(np.float32) for n in (1500, 400))
    y = np.asarray(compiled(convolve)(a, b), np.float64)
    assert np.isfinite(y).all()
    exact, size = (
        np.convolve(*map(np.float64, (a, b))),
        np.convolve(*(np.abs(np.float64(v)) for v in (a, b))),
    )
    assert np.all(np.abs(y - exact) <= 400 * EPSILON["float32"] * size)


def test_ones_are_counted_exactly():
    y = compiled(convolve)(jnp.ones((128, 128)), jnp.ones((11, 11)))
    line = np.convolve(np.ones(128), np.ones(11))
    np.testing.assert_array_equal(y, np.outer(line, line))


def test_one_nan_reaches_the_results_that_have_it_as_a_term(rng):
    """100,000 by 2,000: 4,145 results were not finite, 2,000 have it."""
    a, b = (rng.normal(size=n).astype(np.float32) for n in (20_000, 700))
    a[12_345] = np.nan
    found = ~np.isfinite(np.asarray(compiled(convolve)(a, b)))
    used = np.zeros(20_699, bool)
    used[12_345 : 12_345 + 700] = True
    np.testing.assert_array_equal(found, used)

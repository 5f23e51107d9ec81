"""convolve, correlate and polynomial_product against SciPy, NumPy and their laws."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from jaxnets.functional._convolve import convolve, correlate, polynomial_product
from jaxnets.functional.conv_algorithms import ALGORITHMS
from tests.helpers import assert_close

NAMES = [n for n in ("direct", "fft", "overlap_add") if n in ALGORITHMS]
MODES = ("full", "same", "valid")
PAIR = {convolve: signal.convolve, correlate: signal.correlate}

each_name = pytest.mark.parametrize("algorithm", NAMES)
each_mode = pytest.mark.parametrize("mode", MODES)
each_function = pytest.mark.parametrize("ours", [convolve, correlate])


def draw(rng, shape, kind="real"):
    real = rng.normal(size=shape)
    return real + 1j * rng.normal(size=shape) if kind == "complex" else real


def narrow(expected):
    return np.complex64 if np.iscomplexobj(expected) else np.float32


def test_the_worked_example():
    a, b = jnp.array([1, 2, 3]), jnp.array([4, 5, 6])
    assert convolve(a, b).tolist() == [4, 13, 28, 27, 18]
    assert convolve(a, b, "same").tolist() == [13, 28, 27]
    assert convolve(a, b, "valid").tolist() == [28]
    assert correlate(a, b).tolist() == [6, 17, 32, 23, 12]


@each_name
@each_mode
@each_function
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((9,), (4,)),
        ((4,), (9,)),
        ((2,), (9,)),
        ((1,), (1,)),
        ((5, 6), (3, 2)),
        ((2, 3, 4), (3, 4, 4)),
    ],
)
def test_every_mode_equals_scipy(ours, a, b, mode, algorithm, rng):
    a, b = draw(rng, a), draw(rng, b)
    expected = PAIR[ours](a, b, mode, method="direct")
    actual = ours(a, b, mode, algorithm=algorithm)
    assert_close(actual, expected, dtype=np.float32, reduction=a.size)


@pytest.mark.slow
@each_mode
@each_function
@pytest.mark.parametrize(
    ("a", "b"),
    [
        *itertools.product([(4,), (5,)], [(4,), (9,), (12,)]),
        *itertools.product([(8, 5), (3, 2)], [(3, 2), (4, 6), (5, 1)]),
        ((2, 3, 2, 3), (2, 2, 1, 2)),
    ],
)
def test_more_sizes_equal_scipy(ours, a, b, mode, rng):
    a, b = draw(rng, a), draw(rng, b)
    try:
        expected = PAIR[ours](a, b, mode, method="direct")
    except ValueError:
        with pytest.raises(ValueError, match="one array to be at least as large"):
            ours(a, b, mode)
    else:
        assert_close(ours(a, b, mode), expected, dtype=np.float32, reduction=a.size)


@pytest.mark.slow
@each_name
@each_function
@pytest.mark.parametrize(
    ("of_a", "of_b"),
    [("complex", "complex"), ("complex", "real"), ("real", "complex")],
)
@pytest.mark.parametrize(("m", "n"), [(9, 4), (4, 9)])
def test_complex_numbers_equal_scipy(ours, m, n, of_a, of_b, algorithm, rng):
    a, b = draw(rng, m, of_a), draw(rng, n, of_b)
    expected = PAIR[ours](a, b, "same", method="direct")
    actual = ours(a, b, "same", algorithm=algorithm)
    assert_close(actual, expected, dtype=np.complex64, reduction=8)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_double_precision_stays(rng):
    a, b = draw(rng, (2, 9), "complex"), draw(rng, (2, 4))
    expected = signal.fftconvolve(a, b, axes=1)
    assert_close(convolve(a, b, axes=1), expected, reduction=4)
    assert_close(convolve(a.real, b), signal.convolve(a.real, b), reduction=8)


def scipy_by_pairs(ours, a, b, mode, axes):
    """SciPy for every index of the other axes, one by one."""
    others = [i for i in range(a.ndim) if i not in axes]
    front = range(len(others))
    a, b = np.moveaxis(a, others, front), np.moveaxis(b, others, front)
    count = np.broadcast_shapes(a.shape[: len(others)], b.shape[: len(others)])
    a = np.broadcast_to(a, count + a.shape[len(others) :])
    b = np.broadcast_to(b, count + b.shape[len(others) :])
    results = [PAIR[ours](a[i], b[i], mode) for i in np.ndindex(count)]
    return np.moveaxis(np.reshape(results, count + results[0].shape), front, others)


BROADCASTS = [
    ((3, 1, 8), (1, 4, 5), (2,)),
    ((1, 3, 5), (4, 1, 8), (2,)),
    ((2, 7), (2, 3), (1,)),
    ((8, 3, 5), (5, 1, 2), (0, 2)),
    ((2, 1, 1, 3, 7), (2, 4, 1, 1, 3), (4,)),
    ((6, 1, 2, 3), (4, 2, 1, 3), (0,)),
]


@each_name
@each_function
@pytest.mark.parametrize(("a", "b", "axes"), BROADCASTS)
def test_other_axes_broadcast(ours, a, b, axes, algorithm, rng):
    a, b = draw(rng, a), draw(rng, b)
    for mode in ("same", "valid"):
        expected = scipy_by_pairs(ours, a, b, mode, axes)
        actual = ours(a, b, mode, axes=axes, algorithm=algorithm)
        assert_close(actual, expected, dtype=np.float32, reduction=16)


@pytest.mark.slow
def test_complex_batches_equal_fftconvolve(rng):
    a, b = draw(rng, (3, 1, 2, 8), "complex"), draw(rng, (1, 4, 2, 5), "complex")
    expected = signal.fftconvolve(a, b, axes=3)
    for axes in (3, -1, [3]):
        actual = convolve(a, b, axes=axes)
        assert_close(actual, expected, dtype=np.complex64, reduction=10)


@pytest.mark.parametrize(("a", "b", "axes"), BROADCASTS)
def test_broadcasting_repeats_nothing(a, b, axes):
    a, b = jnp.zeros(a), jnp.zeros(b)
    jaxpr = jax.make_jaxpr(lambda a, b: convolve(a, b, axes=axes))(a, b)
    made = [v.aval.size for eqn in jaxpr.eqns for v in eqn.outvars]
    assert max(made) == jaxpr.out_avals[0].size


@each_name
def test_a_long_signal_equals_oaconvolve(algorithm, rng):
    a, b = draw(rng, (2, 3000)), draw(rng, (2, 60))
    for x, y in ((a, b), (b, a)):
        expected = signal.oaconvolve(x, y, "same", axes=1)
        actual = convolve(x, y, "same", axes=1, algorithm=algorithm)
        assert_close(actual, expected, dtype=np.float32, reduction=60)


@each_mode
def test_integers_are_exact(mode, rng):
    a, b = rng.integers(-9999, 9999, 8), rng.integers(-9999, 9999, 5)
    for x, y in ((a, b), (a.astype(np.int8), b.astype(np.int8))):
        actual = convolve(x, y, mode)
        expected = np.convolve(x, y, mode)
        assert actual.dtype == (jnp.int8 if x.dtype == np.int8 else jnp.int32)
        assert actual.tolist() == expected.tolist()


def test_long_integers_are_summed_whatever_is_fastest(rng):
    a, b = rng.integers(-999, 999, 4096), rng.integers(-999, 999, 1024)
    assert convolve(a, b).tolist() == np.convolve(a, b).tolist()


def test_whole_and_real_numbers_promote(rng):
    a, b = rng.integers(-9, 9, 6), draw(rng, 3)
    assert_close(convolve(a, b), np.convolve(a, b), dtype=np.float32, reduction=3)


def test_a_batch_of_no_signals():
    assert convolve(jnp.zeros((0, 5)), jnp.zeros((1, 3)), axes=1).shape == (0, 7)
    assert convolve(jnp.zeros((0, 5)), jnp.zeros((0, 3)), axes=1).shape == (0, 7)


whole = st.integers(-50, 50)
signals = st.lists(whole, min_size=1, max_size=4)


@pytest.mark.slow
@settings(max_examples=20)
@given(signals, signals, st.integers(0, 2**32 - 1), whole, whole)
def test_convolution_commutes_and_is_linear(f, g, seed, alpha, beta):
    f, g = np.array(f), np.array(g)
    h = np.random.default_rng(seed).integers(-50, 50, len(f))
    assert convolve(f, g).tolist() == convolve(g, f).tolist()
    together = convolve(alpha * f + beta * h, g)
    apart = alpha * convolve(f, g) + beta * convolve(h, g)
    assert together.tolist() == apart.tolist()


def test_convolution_associates_and_correlation_does_not_commute(rng):
    a, b, c = (rng.integers(-9, 9, (n, n)) for n in (4, 3, 2))
    left, right = convolve(convolve(a, b), c), convolve(a, convolve(b, c))
    assert left.tolist() == right.tolist()
    ab, ba = correlate(a, b), correlate(b, a)
    assert ab.tolist() != ba.tolist()
    assert ab.tolist() == ba[::-1, ::-1].tolist()


def test_a_flipped_kernel_turns_one_into_the_other(rng):
    image, kernel = rng.integers(-9, 9, (6, 5)), np.arange(1, 10).reshape(3, 3)
    assert kernel[::-1, ::-1].tolist() == [[9, 8, 7], [6, 5, 4], [3, 2, 1]]
    for mode in MODES:
        flipped = convolve(image, kernel[::-1, ::-1], mode)
        assert correlate(image, kernel, mode).tolist() == flipped.tolist()


@pytest.mark.slow
@each_name
@pytest.mark.parametrize(("m", "n"), [(9, 4), (4, 9)])
def test_correlation_is_the_adjoint_of_convolution(m, n, algorithm, rng):
    a, b, g = (draw(rng, size, "complex") for size in (m, n, m + n - 1))
    a, b, g = (v.astype(np.complex64) for v in (a, b, g))
    out = convolve(a, b, algorithm=algorithm)
    back = correlate(g, b, "valid", algorithm=algorithm)
    left, right = np.vdot(out, g), np.vdot(a, back)
    assert_close(left, right, reduction=m * n)

    # JAX's reverse mode is the transpose, without a conjugate.
    _, pull = jax.vjp(lambda a: convolve(a, b, algorithm=algorithm), jnp.asarray(a))
    (da,) = pull(jnp.asarray(g))
    expected = signal.correlate(g, b.conj(), "valid", method="direct")
    assert_close(da, expected, dtype=np.complex64, reduction=m * n)


def test_the_two_gradients_are_what_the_textbook_says(rng):
    x, k, g = draw(rng, (6, 5)), draw(rng, (3, 2)), draw(rng, (4, 4))
    _, pull = jax.vjp(
        lambda x, k: correlate(x, k, "valid"), jnp.asarray(x), jnp.asarray(k)
    )
    dx, dk = pull(jnp.asarray(g))
    expected_dx = signal.convolve(g, k, method="direct")
    expected_dk = signal.correlate(x, g, "valid", method="direct")
    assert_close(dx, expected_dx, dtype=np.float32, reduction=6)
    assert_close(dk, expected_dk, dtype=np.float32, reduction=16)


def test_polynomials_equal_polymul(rng):
    a, b = draw(rng, (2, 1, 5)), draw(rng, (3, 4))
    c = polynomial_product(a, b)
    assert c.shape == (2, 3, 8)
    for i, j in np.ndindex(2, 3):
        expected = np.polymul(a[i, 0][::-1], b[j][::-1])[::-1]
        assert_close(c[i, j], expected, dtype=np.float32, reduction=5)
    x = 0.7
    value = np.polyval(np.asarray(c)[1, 2][::-1], x)
    product = np.polyval(a[1, 0][::-1], x) * np.polyval(b[2][::-1], x)
    assert abs(value - product) < 1e-5

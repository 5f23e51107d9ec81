"""Transforms keep the error of every result relative to its own terms."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import native
from jaxnets.functional.conv_algorithms import PARTS, ConvSpec, _native_transforms
from tests.functional.conv_cases import ConvProblem, make_problem
from tests.native.native_cases import instruction_sets, parts, tap_sums

pytestmark = pytest.mark.skipif(
    native.missing() is not None, reason=f"native {native.missing()}"
)

EPS = float(np.finfo(np.float32).eps)
ARRAYS = ("x", "kernel", "g")
LEAST = float(np.finfo(np.float32).tiny)  # smaller results are flushed to zero


def rectified(rng, shape):
    return np.maximum(rng.standard_normal(shape), 0)


def one_large(rng, shape):
    values = np.abs(rng.standard_normal(shape)) + 0.1
    values.flat[rng.integers(values.size)] = 1e8
    return values


def step(rng, shape):
    values = np.abs(rng.standard_normal(shape))
    values[:, : shape[1] // 2] *= 1e-6
    return values


def decades(rng, shape):
    return 10.0 ** rng.uniform(-10, 10, shape)


def alternating(rng, shape):
    return np.where(np.arange(np.prod(shape)).reshape(shape) % 2, 1e-20, 1e20)


def impulses(rng, shape):
    values = np.zeros(shape)
    values.flat[rng.integers(values.size, size=3)] = rng.standard_normal(3)
    return values


def sparse(rng, shape):
    kept = rng.random(shape) < 0.1
    return kept * rng.standard_normal(shape) * 10.0 ** rng.uniform(-3, 3, shape)


def channels(rng, shape):
    return rng.standard_normal(shape) * 10.0 ** rng.uniform(-6, 6, shape[-1:])


def heavy_tailed(rng, shape):
    return rng.standard_cauchy(shape)


def tiny(rng, shape):
    return 1e-18 * rng.standard_normal(shape)


def noise(rng, shape):
    return rng.standard_normal(shape)


KINDS = (
    noise,
    rectified,
    one_large,
    step,
    decades,
    alternating,
    impulses,
    sparse,
    channels,
    heavy_tailed,
    tiny,
)


def drawn(rng) -> tuple[ConvProblem, tuple[int, ...]]:
    """A convolution with data of some kinds, and lengths of tiles."""
    rank = int(rng.integers(1, 4))
    most_taps, most = {1: (40, 200), 2: (9, 40), 3: (4, 12)}[rank]
    window = tuple(map(int, rng.integers(1, most_taps, rank)))
    dilation = tuple(map(int, rng.integers(1, 3, rank)))
    spans = [(n - 1) * d for n, d in zip(window, dilation, strict=True)]
    spatial = tuple(int(rng.integers(1, most)) + span for span in spans)
    padding = tuple(tuple(map(int, rng.integers(0, s + 1, 2))) for s in spans)
    depthwise = rng.random() < 0.5
    groups = int(rng.integers(1, 40 if depthwise else 3))
    fan_in, fan_out = (1, 1) if depthwise else map(int, rng.integers(1, (24, 40)))
    problem = make_problem(
        rng,
        int(rng.integers(1, 4)),
        spatial,
        window,
        fan_in,
        fan_out,
        groups=groups,
        padding=padding,
        dilation=dilation,
    ).single()
    arrays = {}
    for name in ARRAYS:
        kind = KINDS[rng.integers(len(KINDS))]
        if name == "kernel" and rng.random() < 0.5:
            kind = noise
        values = kind(rng, getattr(problem, name).shape)
        arrays[name] = jnp.asarray(values, jnp.float32)
    lengths = tuple(
        _native_transforms.smooth(int(rng.integers(n, 2 * n + 20))) for n in window
    )
    return problem._replace(**arrays), lengths


def terms_of(problem) -> tuple[int, int, int]:
    """Products that the results of each part are sums of."""
    taps, fan_in = np.prod(problem.window), problem.kernel.shape[-2]
    fan_out = problem.kernel.shape[-1] // problem.spec.groups
    return taps * fan_in, taps * fan_out, np.prod(problem.g.shape[:-1])


def assert_within_bound(problem, lengths):
    """|error| <= n eps Σ |x||k| for the three parts and every instruction set."""
    arrays = [np.asarray(array) for array in problem[:3]]
    wanted = tap_sums(problem._replace(**dict(zip(ARRAYS, arrays, strict=True))))
    sizes = tap_sums(
        problem._replace(**dict(zip(ARRAYS, map(np.abs, arrays), strict=True)))
    )
    for name in instruction_sets():
        found = parts(problem, name, (lengths,) * 3)
        each = zip(PARTS, found, wanted, sizes, terms_of(problem), strict=True)
        for part, result, want, size, terms in each:
            error = np.abs(np.asarray(result, np.float64) - want)
            bound = terms * (EPS * size + LEAST)
            beyond = size > np.finfo(np.float32).max
            assert np.all((error <= bound) | beyond), (
                f"{part} by {name}: {np.max(error / bound):.3g} times the bound"
            )


@pytest.mark.parametrize("seed", range(12))
def test_drawn_data_keeps_the_bound(seed):
    assert_within_bound(*drawn(np.random.default_rng(seed)))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12, 120))
def test_more_drawn_data_keeps_the_bound(seed):
    assert_within_bound(*drawn(np.random.default_rng(seed)))


# Batch, spatial, window, fan-in, fan-out, groups, lengths.
SHAPES = {
    "one channel": (2, (64, 64), (31, 31), 1, 1, 1, (96, 96)),
    "depthwise, tiles": (1, (50, 50), (15, 15), 1, 1, 20, (32, 32)),
    "several channels": (2, (24, 24), (3, 3), 32, 32, 1, (8, 8)),
    "a signal": (1, (700,), (255,), 8, 12, 1, (768,)),
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("shape", SHAPES)
def test_data_of_one_kind_keeps_the_bound(shape, kind, rng):
    *sizes, groups, lengths = SHAPES[shape]
    padding = tuple(n // 2 for n in sizes[2])
    problem = make_problem(rng, *sizes, groups=groups, padding=padding).single()
    x = jnp.asarray(kind(rng, problem.x.shape), jnp.float32)
    g = jnp.asarray(kind(rng, problem.g.shape), jnp.float32)
    assert_within_bound(problem._replace(x=x, g=g), lengths)


@pytest.mark.parametrize("shape", SHAPES)
def test_relaxed_transforms_break_the_bound_that_this_holds(shape, rng):
    """Without the check, one large value spoils what lies around it."""
    *sizes, groups, lengths = SHAPES[shape]
    problem = make_problem(rng, *sizes, groups=groups).single()
    x = jnp.asarray(one_large(rng, problem.x.shape), jnp.float32)
    relaxed = problem._replace(x=x, spec=problem.spec._replace(relaxed=True))
    with pytest.raises(AssertionError, match="times the bound"):
        assert_within_bound(relaxed, lengths)


@pytest.mark.parametrize("name", instruction_sets())
@pytest.mark.parametrize("shape", SHAPES)
def test_values_that_are_not_finite_stay_in_their_windows(shape, name, rng):
    *sizes, groups, lengths = SHAPES[shape]
    padding = tuple(n // 2 for n in sizes[2])
    problem = make_problem(rng, *sizes, groups=groups, padding=padding).single()
    x, g = np.array(problem.x), np.array(problem.g)
    x[0, *(n // 2 for n in problem.spatial), 0] = np.nan
    g[0, *(n // 3 for n in problem.spatial), -1] = np.inf
    hit = problem._replace(x=x, g=g)
    with np.errstate(invalid="ignore"):
        wanted = tap_sums(hit)
    found = parts(hit, name, (lengths,) * 3)
    for part, result, want in zip(PARTS, found, wanted, strict=True):
        if part == "kernel_grad":  # where g meets padding is not stated
            assert not np.isfinite(result)[~np.isfinite(want)].any()
            continue
        np.testing.assert_array_equal(np.isfinite(result), np.isfinite(want))


@pytest.mark.parametrize("scale", (1.0, 0.125))
def test_sums_of_whole_numbers_are_exact(scale):
    x = scale * np.ones((1, 128, 128, 1), np.float32)
    kernel = np.ones((11, 11, 1, 1), np.float32)
    spec = ConvSpec((1, 1), ((5, 5),) * 2, (1, 1), 1, None)
    g = np.ones_like(x)
    problem = ConvProblem(x, kernel, g, spec)
    wanted = tap_sums(problem)
    for name in instruction_sets():
        found = parts(problem, name, ((48, 48),) * 3)
        for result, want in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(result, want)

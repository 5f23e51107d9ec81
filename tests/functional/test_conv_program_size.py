"""How long the programs of a convolution become, whatever its options are.

Seconds to compile grow with the lines of a program; these are counted, not timed.
"""

import jax
import numpy as np
import pytest

from jaxnets.functional import conv, conv_input_grad, conv_kernel_grad
from jaxnets.functional._conv_tune import compiled
from jaxnets.functional.conv_algorithms import (
    ALGORITHMS,
    PARTS,
    ConvFacts,
    ConvSpec,
    overlap_add,
)
from jaxnets.functional.conv_algorithms._fft_tiles import MOST_CUT
from tests.functional.conv_algorithm_cases import parts_of
from tests.functional.conv_cases import make_problem
from tests.helpers import assert_close
from tests.native.native_cases import tap_sums

MOST_LINES = 1500

WINDOWS = {
    1: (1, 2, 3, 16, 100, 400, 1024, 4096),
    2: (1, 2, 3, 7, 31, 64),
    3: (1, 3, 9),
}
STRIDES = (1, 1, 1, 2, 3, 4, 7, 16, 64, 160, 256)
DILATION = (1, 1, 1, 1, 2, 3, 64, 400, 997)
CHANNELS = (1, 2, 3, 8, 33)
IMAGES = {1: (3, 6_000, 60_000), 2: (3, 30, 300), 3: (3, 4, 40)}
DTYPES = ("float32", "float32", "bfloat16", "float64", "int32")


def draw(rng) -> ConvFacts:
    """A convolution of extreme options whose windows fit in its padded image."""
    rank = int(rng.choice([1, 1, 2, 2, 3]))

    def some(values):
        return tuple(int(rng.choice(values)) for _ in range(rank))

    window, strides, dilation = some(WINDOWS[rank]), some(STRIDES), some(DILATION)
    groups = int(rng.choice([1, 1, 1, 2, 3, 16]))
    fan_in, fan_out = int(rng.choice(CHANNELS)), int(rng.choice(CHANNELS))
    if groups == 16:
        fan_in = fan_out = 1
    spatial, padding = [], []
    for taps, s, d, positions, most in zip(
        window,
        strides,
        dilation,
        some((1, 2, 3, 9, 30, 100, 513)),
        some(IMAGES[rank]),
        strict=True,
    ):
        reach = (positions - 1) * s + (taps - 1) * d + 1
        size = min(reach, most)
        lo = int(rng.integers(reach - size + 1))
        spatial.append(size)
        padding.append((lo, reach - size - lo))
    spec = ConvSpec(strides, tuple(padding), dilation, groups, None)
    return ConvFacts(
        int(rng.choice([1, 2, 5])),
        tuple(spatial),
        window,
        fan_in * groups,
        fan_out * groups,
        spec,
        str(rng.choice(DTYPES)),
    )


def lines(part: str, facts: ConvFacts, algorithm: str) -> int:
    """Lines of StableHLO of one part."""
    x = (facts.batch, *facts.spatial, facts.channels)
    kernel = (*facts.window, facts.fan_in, facts.out)
    y = (facts.batch, *facts.positions, facts.out)
    shapes = {"forward": (x, kernel), "input_grad": (y, kernel), "kernel_grad": (x, y)}
    operands = (jax.ShapeDtypeStruct(shape, facts.dtype) for shape in shapes[part])
    run = jax.jit(compiled(part, facts, algorithm))
    return run.lower(*operands).as_text().count("\n")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_programs_of_extreme_convolutions(seed):
    """300 in all, by every algorithm that takes them, all parts."""
    rng = np.random.default_rng(seed)
    with jax.enable_x64(True):
        for _ in range(30):
            facts = draw(rng)
            found = {
                (name, part): lines(part, facts, name)
                for name, algorithm in ALGORITHMS.items()
                if algorithm.unsupported(facts) is None
                for part in PARTS
            }
            long = {key: n for key, n in found.items() if n >= MOST_LINES}
            assert not long, (long, facts)


def test_a_transform_of_short_times():
    """1024 taps at every 256th sample: 513 windows, by whatever `auto` takes."""
    spec = ConvSpec((256,), ((64_512, 67_072),), (1,), 1, None)
    for dtype in ("float32", "bfloat16", "float64"):
        with jax.enable_x64(True):
            facts = ConvFacts(2, (16_000,), (1024,), 1, 513, spec, dtype)
            for part in PARTS:
                assert lines(part, facts, "auto") < 300


@pytest.mark.parametrize("name", ["gemm", "shift"])
@pytest.mark.parametrize(
    "sizes",
    [
        (2, (90,), (40,), 2, 3, {"strides": 20, "padding": ((7, 9),)}),
        (2, (90,), (50,), 2, 3, {"strides": 20, "padding": ((0, 4),)}),
        (2, (90,), (7,), 2, 3, {"strides": 20, "groups": 2}),
        (2, (190,), (70,), 1, 3, {"strides": 3, "groups": 2, "padding": 5}),
        (1, (23, 31), (6, 9), 2, 3, {"strides": (5, 6), "groups": 2, "padding": 2}),
        (1, (23, 31), (4, 3), 2, 3, {"strides": (5, 6), "padding": (3, 1)}),
        (1, (40, 9), (9, 3), 2, 3, {"strides": (18, 1), "dilation": (1, 2)}),
        (2, (100,), (4,), 2, 3, {"strides": 20, "dilation": 3, "padding": 9}),
        (1, (50, 30), (3, 2), 2, 3, {"strides": (6, 4), "dilation": (5, 3)}),
        (2, (300,), (100,), 2, 3, {"strides": 8, "groups": 2, "padding": 9}),
        (1, (350,), (90,), 2, 3, {"strides": 8, "dilation": 3, "padding": 5}),
        (2, (150,), (100,), 1, 1, {"groups": 3, "padding": 20}),
        (2, (150,), (100,), 2, 3, {"dilation": 2, "padding": 60}),
        (1, (13, 90), (3, 70), 1, 2, {"groups": 2, "strides": (2, 1), "padding": 1}),
    ],
    ids=str,
)
def test_what_is_not_written_out(name, sizes, rng):
    """Phases as channels, spread gradients and loops over taps, against the sums."""
    *sizes, options = sizes
    problem = make_problem(rng, *sizes, **options)
    with jax.enable_x64(True):
        parts = parts_of(name, problem.spec, problem.spatial, problem.window)
        run = jax.jit(parts).lower(*map(jax.numpy.asarray, problem[:3]))
        found = (lines(part, problem.facts, name) for part in PARTS)
        assert max(found) < MOST_LINES
        results = run.compile()(*problem[:3])
        assert_close(results, problem.written_out(), tol=1e-12)


def test_gradients_of_a_long_strided_window(rng):
    """As users call it, in bfloat16: 400 taps at every 160th sample."""
    problem = make_problem(rng, 1, (4000,), (400,), 1, 2, strides=160)
    x, kernel, g = (jax.numpy.asarray(a, jax.numpy.bfloat16) for a in problem[:3])
    rounded = (np.asarray(a, np.float64) for a in (x, kernel, g))
    wanted = problem._replace(**dict(zip(("x", "kernel", "g"), rounded, strict=True)))
    options = {"strides": 160, "padding": "VALID"}
    results = (
        conv(x, kernel, **options),
        conv_input_grad(g, kernel, 4000, **options),
        conv_kernel_grad(x, g, (400,), **options),
    )
    for result, want in zip(results, wanted.written_out(), strict=True):
        assert result.dtype == jax.numpy.bfloat16
        scale = np.abs(want).max()
        assert_close(np.asarray(result, np.float64) / scale, want / scale, tol=2e-2)


@pytest.mark.parametrize("sizes", [(2, (6000,), (5,)), (1, (40, 900), (3, 4))], ids=str)
def test_many_tiles_at_once(sizes, rng):
    """Tiles of overlap-save that are not a slice each, against the sums."""
    problem = make_problem(rng, *sizes, 1, 2, padding=2)
    plan = overlap_add.plan(problem.facts)
    assert plan is not None
    assert max(tile.at_once for tile in plan.tiles) > MOST_CUT
    with jax.enable_x64(True):
        parts = parts_of("overlap_add", problem.spec, problem.spatial, problem.window)
        results = jax.jit(parts)(*map(jax.numpy.asarray, problem[:3]))
        assert_close(results, tap_sums(problem), tol=1e-11)

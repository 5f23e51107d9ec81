"""Convolution by transforms, whole (`fft`) and in tiles (`overlap_add`)."""

from math import log2

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from jaxnets.functional.conv_algorithms import fft, overlap_add
from jaxnets.functional.conv_algorithms._fft_sizes import fast_length
from jaxnets.functional.conv_algorithms._spec import ConvSpec
from tests.functional.fft_cases import (
    ALGORITHMS,
    PARTS,
    check,
    draw_arrays,
    facts_of,
    oracle,
    problems,
    run_parts,
    spec_of,
)
from tests.helpers import assert_close


@pytest.fixture
def tiny_tiles(monkeypatch):
    """Let overlap-add cut small images too."""
    monkeypatch.setattr(overlap_add, "LEAST_LENGTH", 1)
    overlap_add._plan.cache_clear()
    yield
    overlap_add._plan.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize("rank", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_drawn_specs(rank, name, x64, tiny_tiles):
    options = {"memory": 1} if name == "overlap_add" else {}

    @settings(max_examples=12)
    @given(problems(rank))
    def run(problem):
        spec, sizes, seed = problem
        if 0 in spec.positions(*sizes[1:3]):
            return
        rng = np.random.default_rng(seed)
        arrays = draw_arrays(rng, spec, *sizes)
        check(ALGORITHMS[name], arrays, spec, rng, **options)

    run()


EDGES = {
    "window larger than the image": ((2,), (9,), {"padding": (4, 4)}),
    "padding wider than the window": ((5,), (2,), {"padding": (4, 6)}),
    "stride beyond the window": ((11,), (2,), {"strides": 5, "padding": (3, 3)}),
    "dilation beyond the image": ((3,), (3,), {"dilation": 4, "padding": (4, 4)}),
    "one position": ((5,), (5,), {"strides": 3}),
    "padding that ends within a phase": (
        (10,),
        (4,),
        {"dilation": 2, "padding": (1, 5)},
    ),
    "causal": ((9,), (4,), {"padding": (3, 0)}),
    "stride and dilation": ((13,), (3,), {"strides": 2, "dilation": 3}),
    "four axes": ((3, 4, 3, 4), (2, 3, 2, 2), {"padding": (1, 0), "groups": 2}),
}


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_edges(edge, name, rng, x64, tiny_tiles):
    spatial, window, options = EDGES[edge]
    spec = spec_of(len(spatial), **options)
    arrays = draw_arrays(rng, spec, 2, spatial, window, 2, 2 * spec.groups)
    options = {"memory": 1} if name == "overlap_add" else {}
    check(ALGORITHMS[name], arrays, spec, rng, **options)


def test_no_tap_meets_a_cell(rng, x64):
    """Taps at -3 and 1, then at -2 and 2, of an image whose only cell is 0."""
    spec = ConvSpec((3,), ((3, 2),), (4,), 1, None)
    arrays = draw_arrays(rng, spec, 1, (1,), (2,), 1, 1)
    for padding in ((3, 2), (2, 2)):
        missing = spec._replace(padding=(padding,))
        for algorithm in ALGORITHMS.values():
            check(algorithm, arrays, missing, rng)
            assert not any(part.any() for part in run_parts(algorithm, arrays, missing))


@pytest.mark.slow
@pytest.mark.parametrize("fan", [(1, 1), (17, 1), (1, 17), (17, 18)])
@pytest.mark.parametrize("batch", [1, 18])
def test_many_channels_and_images(fan, batch, rng, x64):
    """Sums written out, sums of products, and dots, over channels and over images."""
    spec = spec_of(1, padding=(2, 2), groups=2)
    fan_in, fan_out = fan
    arrays = draw_arrays(rng, spec, batch, (6,), (3,), fan_in, 2 * fan_out)
    check(fft, arrays, spec, rng)


def test_fft_in_steps(rng, x64, monkeypatch):
    """Three images a step and one left over give what one step gives."""
    monkeypatch.setattr(fft, "WHOLE_BYTES", 0)
    monkeypatch.setattr(fft, "STEP_BYTES", 3 * 8 * (2 + 3) * 10)
    spec = spec_of(1, padding=(1, 1))
    facts = facts_of(spec, 7, (9,), (3,), 2, 3, "float64")
    plan = fft.plan(facts)
    assert plan is not None and plan.images == 3 and plan.lengths == (10,)
    check(fft, draw_arrays(rng, spec, 7, (9,), (3,), 2, 3), spec, rng)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_accuracy(rank, name, rng):
    """The relative errors that the docstrings state, and halves through float32."""
    spatial, window = ((400,), (23, 19), (9, 8, 7), (5, 4, 5, 4))[rank - 1], (3,) * rank
    spec = spec_of(rank, padding=(1, 1))
    arrays = draw_arrays(rng, spec, 2, spatial, window, 2, 2, "float32")
    wanted = oracle(arrays[0], arrays[1], spec)
    options = {"memory": 1} if name == "overlap_add" else {}
    algorithm = ALGORITHMS[name].forward
    forward = jax.jit(lambda x, kernel: algorithm(x, kernel, spec, **options))

    def error(dtype):
        x, kernel = (jnp.asarray(a, dtype) for a in arrays[:2])
        y = forward(x, kernel)
        assert y.dtype == dtype
        y = np.asarray(y, np.float64)
        return np.linalg.norm(y - wanted) / np.linalg.norm(wanted)

    assert 1e-9 < error(jnp.float32) < 1e-6
    assert 1e-4 < error(jnp.bfloat16) < 1e-2
    with jax.enable_x64(True):
        assert error(jnp.float64) < 1e-14


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGORITHMS)
def test_halves_keep_their_dtype(name, rng):
    spec = spec_of(1)
    arrays = draw_arrays(rng, spec, 2, (8,), (3,), 2, 2, "float32")
    arrays = [jnp.asarray(a, jnp.float16) for a in arrays]
    for result in run_parts(ALGORITHMS[name], arrays, spec):
        assert result.dtype == jnp.float16
    wanted = oracle(*map(np.asarray, arrays[:2]), spec).astype(np.float16)
    assert_close(ALGORITHMS[name].forward(*arrays[:2], spec), wanted)


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("empty", ["batch", "channels", "out", "spatial", "positions"])
def test_empty_arrays(name, empty):
    batch, spatial, fan_in, out = 2, 5, 3, 4
    match empty:
        case "batch":
            batch = 0
        case "channels":
            fan_in = 0
        case "out":
            out = 0
        case "spatial":
            spatial = 0
        case _:
            spatial = 1
    padding = (2, 2) if empty == "spatial" else (0, 0)
    spec = spec_of(1, padding=padding)
    positions = spec.positions((spatial,), (3,))
    shapes = (batch, spatial, fan_in), (3, fan_in, out), (batch, *positions, out)
    results = run_parts(
        ALGORITHMS[name], [np.ones(s, np.float32) for s in shapes], spec
    )
    assert [r.shape for r in results] == [shapes[2], shapes[0], shapes[1]]
    assert not any(r.any() for r in results)
    facts = facts_of(spec, batch, (spatial,), (3,), fan_in, out)
    for part in PARTS:
        assert ALGORITHMS[name].work(part, facts).flops == 0


@pytest.mark.parametrize("name", ALGORITHMS)
def test_unsupported_dtypes(name):
    facts = facts_of(spec_of(1), 1, (8,), (3,), 1, 1)
    unsupported = ALGORITHMS[name].unsupported
    for dtype in ("bfloat16", "float16", "float32", "float64"):
        assert unsupported(facts._replace(dtype=dtype)) is None
    assert unsupported(facts._replace(dtype="int32")) == (
        "works on floats; got int32 (cast x and kernel to float32)"
    )
    assert unsupported(facts._replace(dtype="complex64")) == (
        "works on floats; got complex64 "
        "(convolve the real and the imaginary parts apart)"
    )


def test_work_of_one_circle():
    """N log2 N for 2 images of 3 + 5 planes and 15 of the kernel, on 8 x 8 cells."""
    spec = spec_of(2, padding=(1, 1))
    facts = facts_of(spec, 2, (7, 7), (3, 3), 3, 5)
    work = fft.work("forward", facts)
    transforms = (2 * (3 + 5) + 3 * 5) * 2.5 * 64 * log2(64)
    products = 2 * 3 * 5 * (64 // 2 + 1) * 8
    assert work.flops == transforms + products
    arrays = 2 * 49 * 3 + 2 * 49 * 5 + 9 * 15
    assert work.bytes == 4 * 3 * arrays


@pytest.mark.parametrize("part", PARTS)
def test_tiles_save_work_on_long_signals(part):
    """A point costs log2 of the tile, not of the signal."""
    spec = spec_of(1, padding=(500, 500))
    short, long = (
        facts_of(spec, 1, (length,), (1001,), 1, 1) for length in (10**5, 10**7)
    )
    ratio = overlap_add.work(part, long).flops / overlap_add.work(part, short).flops
    assert 90 < ratio < 110
    assert overlap_add.work(part, long).flops < fft.work(part, long).flops


def test_strides_shorten_the_transforms():
    facts = facts_of(spec_of(1), 1, (1000,), (101,), 1, 1)
    strided = facts._replace(spec=spec_of(1, strides=4))
    for part in PARTS:
        # x and the kernel still have to go there; y is four times shorter.
        assert fft.work(part, strided).flops < 0.8 * fft.work(part, facts).flops


def test_spectra_are_shared_under_one_jit():
    """Three transforms there and three back: XLA drops those done twice."""
    spec = spec_of(2, padding=(2, 2))
    x = jnp.zeros((2, 12, 12, 3))
    kernel = jnp.zeros((5, 5, 3, 4))

    def parts(x, kernel, g):
        return (
            fft.forward(x, kernel, spec),
            fft.input_grad(g, kernel, spec, x.shape[1:-1]),
            fft.kernel_grad(x, g, spec, kernel.shape[:-2]),
        )

    compiled = jax.jit(parts).lower(x, kernel, jnp.zeros((2, 12, 12, 4))).compile()
    assert (compiled.as_text() or "").count(" fft(") == 6


@pytest.mark.slow
def test_fast_lengths():
    """The next number with no prime factor above 7, found by trial division."""

    def smooth(n):
        for p in (2, 3, 5, 7):
            while n % p == 0:
                n //= p
        return n == 1

    for size in range(1, 1200):
        assert fast_length(size) == next(
            n for n in range(size, 2 * size + 1) if smooth(n)
        )
    assert fast_length(10**6 + 1) == 1_000_188

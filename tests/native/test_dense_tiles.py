"""Convolution of several channels by transforms of tiles, against sums in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnets import native
from jaxnets.functional import conv
from jaxnets.functional.conv_algorithms import (
    PARTS,
    ConvFacts,
    ConvSpec,
    _native_transforms,
)
from jaxnets.functional.conv_algorithms import native as by_kernels
from tests.functional.conv_cases import make_problem
from tests.helpers import assert_close
from tests.native.native_cases import (
    check,
    facts_of,
    instruction_sets,
    parts,
    relaxed,
    tap_sums,
)

pytestmark = pytest.mark.skipif(
    native.missing() is not None, reason=f"native {native.missing()}"
)

# Batch, spatial, window, fan-in, fan-out, options, lengths. Vectors have 16, 8 or 4
# lanes; both channels lie side by side in the slots of one if they fill half of it.
CASES = {
    "side by side": (3, (40,), (5,), 2, 2, {"padding": 2}, (8,)),
    "side by side, more inputs": (3, (40,), (5,), 2, 1, {"padding": 2}, (8,)),
    "side by side, more outputs": (2, (30,), (5,), 1, 2, {"padding": 2}, (12,)),
    "slots that leave lanes over": (2, (41,), (5,), 3, 3, {"padding": 2}, (9,)),
    "slots with room": (5, (41,), (5,), 3, 5, {"padding": 2}, (18,)),
    "slots of half a vector": (2, (41,), (5,), 8, 7, {"padding": 2}, (16,)),
    "one input": (3, (33,), (5,), 1, 20, {"padding": 2}, (12,)),
    "few inputs, vectors of outputs": (4, (50,), (7,), 3, 41, {"padding": 3}, (12,)),
    "few outputs": (2, (50,), (7,), 20, 3, {"padding": 3}, (16,)),
    "one output": (2, (50,), (7,), 41, 1, {"padding": 3}, (16,)),
    "a vector each": (2, (50,), (7,), 16, 16, {"padding": 3}, (18,)),
    "many inputs and columns": (2, (50,), (7,), 37, 90, {"padding": 3}, (16,)),
    "one tile": (1, (9,), (4,), 5, 17, {}, (12,)),
    "more tiles than rows": (11, (90,), (5,), 9, 11, {"padding": 2}, (8,)),
    "more points than the nearest cache": (1, (700,), (30,), 4, 4, {}, (1024,)),
    "negative padding": (2, (33,), (4,), 5, 6, {"padding": ((-3, -5),)}, (12,)),
    "nothing but padding": (1, (2,), (3,), 4, 17, {"padding": ((9, 9),)}, (4,)),
    "dilation": (2, (41,), (5,), 6, 9, {"padding": 6, "dilation": 3}, (18,)),
    "two axes": (2, (13, 17), (5, 7), 3, 18, {"padding": 3}, (18, 24)),
    "two axes, tiles, dilation": (
        2,
        (25, 31),
        (3, 4),
        10,
        5,
        {"padding": ((2, 4), (5, -1)), "dilation": (2, 3)},
        (6, 8),
    ),
    "three axes": (2, (6, 7, 9), (3, 4, 5), 2, 3, {"padding": 2}, (8, 9, 6)),
    "groups side by side": (2, (40,), (5,), 2, 3, {"groups": 7}, (12,)),
    "groups of one input": (2, (40,), (5,), 1, 3, {"groups": 4}, (12,)),
    "groups of one output": (2, (40,), (5,), 4, 1, {"groups": 5}, (12,)),
    "groups of vectors": (2, (40,), (5,), 9, 20, {"groups": 3}, (12,)),
    "one point": (3, (6,), (1,), 5, 9, {}, (1,)),
}


@pytest.mark.parametrize("case", CASES)
def test_tiles_equal_the_sums(case, rng):
    batch, spatial, window, fan_in, fan_out, options, lengths = CASES[case]
    problem = make_problem(rng, batch, spatial, window, fan_in, fan_out, **options)
    check(problem, lengths=(lengths, lengths, lengths))


CHANNELS = ((2, 2), (3, 5), (3, 20), (20, 3), (20, 33))


@pytest.mark.parametrize(("fan_in", "fan_out"), CHANNELS)
def test_quiet_images_beside_loud_ones_keep_their_digits(fan_in, fan_out, rng):
    """Two tiles share one transform, whose rounding follows the louder one."""
    problem = make_problem(rng, 6, (30,), (9,), fan_in, fan_out, padding=4).single()
    x, g = np.array(problem.x), np.array(problem.g)
    loud = np.float32([1e-6, 1e8, 1, 1e-12, 1e12, 1]).reshape(6, 1, 1)
    for name in instruction_sets():
        changed = relaxed(problem._replace(x=x * loud, g=g / loud))
        y, dx, dk = tap_sums(changed)
        results = parts(changed, name, ((16,),) * 3)
        for result, want, scale in ((results[0], y, loud), (results[1], dx, 1 / loud)):
            found, want = np.asarray(result, np.float64) / scale, want / scale
            size = np.abs(want).max()
            assert_close(found / size, want / size, tol=1e-6)
        assert_close(np.asarray(results[2], np.float64), dk, tol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(("fan_in", "fan_out"), CHANNELS)
def test_what_is_not_finite_stays_in_its_image(fan_in, fan_out, bad, rng):
    """As sums would have it, but for the positions: all of a tile has it."""
    problem = make_problem(rng, 4, (20,), (9,), fan_in, fan_out, padding=4).single()
    for image in range(4):
        x, g = np.array(problem.x), np.array(problem.g)
        x[image, 3, fan_in // 2] = g[image, 3, fan_out // 2] = bad
        here = np.arange(4) == image
        for name in instruction_sets():
            changed = relaxed(problem._replace(x=x, g=g))
            y, dx, dk = map(np.asarray, parts(changed, name, ((24,),) * 3))
            for found in (y, dx):
                finite = np.isfinite(found).reshape(4, -1)
                np.testing.assert_array_equal(~finite.all(1), here)
                np.testing.assert_array_equal(~finite.any(1), here)
            finite = np.isfinite(dk).all(0)
            bad_in = np.arange(fan_in) == fan_in // 2
            bad_out = np.arange(fan_out) == fan_out // 2
            np.testing.assert_array_equal(~finite, bad_in[:, None] | bad_out)


@settings(max_examples=30)
@given(st.data())
def test_planned_tiles_equal_the_sums(data):
    """Whatever the shape, by the lengths that the plan takes."""
    rank = data.draw(st.integers(1, 3))
    largest = {1: 60, 2: 14, 3: 7}[rank]
    window = data.draw(st.tuples(*[st.integers(1, 5)] * rank))
    dilation = data.draw(st.tuples(*[st.integers(1, 2)] * rank))
    reach = [(t - 1) * d for t, d in zip(window, dilation, strict=True)]
    channels = st.sampled_from((1, 2, 3, 8, 9, 17))
    problem = make_problem(
        np.random.default_rng(data.draw(st.integers(0, 9))),
        data.draw(st.integers(1, 5)),
        data.draw(st.tuples(*[st.integers(1, largest)] * rank)),
        window,
        data.draw(channels),
        1 + data.draw(channels),
        groups=data.draw(st.integers(1, 2)),
        padding=tuple((data.draw(st.integers(-1, n + 1)), n + 1) for n in reach),
        dilation=dilation,
    ).single()
    facts = facts_of(problem)
    planned = [_native_transforms._cheapest(part, facts).lengths for part in PARTS]
    check(problem, lengths=planned)


def layer(batch, size, window, fan_in, out, groups=1, **options):
    """A convolution of stride 1 that keeps its size."""
    pads = ((window // 2, (window - 1) // 2),) * 2
    spec = ConvSpec((1, 1), pads, (1, 1), groups, None)._replace(**options)
    return ConvFacts(
        batch, (size,) * 2, (window,) * 2, fan_in * groups, out, spec, "float32"
    )


@pytest.mark.parametrize("part", PARTS)
def test_many_products_go_by_tiles_and_few_by_sums(part):
    def by_tiles(*sizes, **options):
        return by_kernels.work(part, layer(*sizes, **options)).kind == "transforms"

    assert by_tiles(16, 56, 3, 64, 64)
    assert by_tiles(16, 28, 7, 64, 64)
    assert by_tiles(16, 56, 5, 32, 128, groups=4)
    assert not by_tiles(16, 56, 1, 64, 64)
    assert not by_tiles(1, 7, 3, 512, 512)
    assert not by_tiles(16, 56, 3, 64, 64, strides=(2, 2))
    assert not by_tiles(16, 56, 3, 64, 64, precision="highest")


def test_work_counts_transforms_and_products():
    """5 N log2 N for N points of a channel there or back, 8 for a product."""
    facts = layer(16, 56, 5, 32, 32)
    work = by_kernels.work("forward", facts)
    tiles = _native_transforms.tiles("forward", facts, 2.0 * facts.products)
    points = np.prod(tiles.lengths)
    pairs = 8 * np.prod([-(-56 // (length - 4)) for length in tiles.lengths])
    transforms = 64 * pairs + 32 * 32
    counted = 5 * points * np.log2(points) * transforms + 8 * points * 1024 * pairs
    assert counted <= work.flops < 2.5 * counted
    assert work.flops < facts.products


@pytest.mark.parametrize("axis", [None, 0])
def test_dense_tiles_inside_transformations(axis, rng):
    """A second derivative of a mapped convolution, by tiles and by shifted sums."""
    x = rng.normal(size=(2, 4, 24, 24, 12)).astype(np.float32)
    k = rng.normal(size=(9, 9, 12, 20)).astype(np.float32)
    facts = layer(8, 24, 9, 12, 20)
    assert by_kernels.work("forward", facts).kind == "transforms"

    def loss(k, x, algorithm):
        options = {"padding": 4, "precision": "default", "algorithm": algorithm}
        return jnp.mean(jnp.tanh(conv(x, k, **options) / 30) ** 2)

    def curvature(algorithm):
        def along(k, x):
            slope = lambda k: jax.grad(loss)(k, x, algorithm)  # noqa: E731
            return jax.jvp(slope, (k,), (jnp.ones_like(k),))[1]

        return jax.jit(jax.vmap(along, (axis, 0)))

    kernels = k if axis is None else np.stack([k, 2 * k])
    found, wanted = (curvature(name)(kernels, x) for name in ("native", "shift"))
    assert_close(found, wanted, tol=2e-5 * float(np.abs(wanted).max()))

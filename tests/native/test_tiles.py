"""Depthwise convolution by transforms of tiles, against sums in NumPy."""

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

# Batch, spatial, window, channels, options, lengths.
CASES = {
    "one tile, one image": (1, (9,), (4,), 16, {}, (12,)),
    "one tile whose padding is shared": (2, (11,), (9,), 16, {"padding": 4}, (16,)),
    "several tiles": (3, (40,), (5,), 16, {"padding": 2}, (8,)),
    "lengths of 2": (2, (6,), (2,), 4, {}, (2,)),
    "radices 3, 8 and 4": (1, (90,), (7,), 16, {"padding": 3}, (96,)),
    "more points than the nearest cache": (1, (700,), (30,), 16, {}, (1024,)),
    "factors of 3 alone": (2, (50,), (11,), 5, {"padding": 5}, (27,)),
    "one channel, tiles side by side": (1, (100,), (5,), 1, {"padding": 2}, (8,)),
    "one channel, more images than lanes": (35, (10,), (3,), 1, {}, (4,)),
    "channels that leave lanes over": (3, (30,), (5,), 5, {"padding": 2}, (12,)),
    "vectors, the last one ragged": (2, (30,), (5,), 41, {"padding": 2}, (16,)),
    "padding on one side": (2, (33,), (20,), 16, {"padding": ((19, 0),)}, (54,)),
    "negative padding": (2, (33,), (4,), 16, {"padding": ((-3, -5),)}, (12,)),
    "nothing but padding": (1, (2,), (3,), 4, {"padding": ((9, 9),)}, (4,)),
    "dilation": (2, (41,), (5,), 16, {"padding": 6, "dilation": 3}, (18,)),
    "dilation beyond the results": (2, (9,), (3,), 4, {"dilation": 4}, (4,)),
    "two axes": (2, (13, 17), (5, 7), 16, {"padding": 3}, (18, 24)),
    "two axes, tiles": (1, (20, 31), (3, 5), 7, {"padding": 2}, (8, 16)),
    "two axes, dilation": (
        2,
        (15, 14),
        (3, 4),
        16,
        {"padding": ((2, 4), (5, -1)), "dilation": (2, 3)},
        (8, 9),
    ),
    "an axis of one tap": (2, (6, 20), (1, 9), 16, {"padding": 0}, (1, 12)),
    "three axes": (2, (6, 7, 9), (3, 4, 5), 6, {"padding": 2}, (8, 9, 6)),
}


@pytest.mark.parametrize("case", CASES)
def test_tiles_equal_the_sums(case, rng):
    batch, spatial, window, channels, options, lengths = CASES[case]
    problem = make_problem(
        rng, batch, spatial, window, 1, 1, groups=channels, **options
    )
    check(problem, lengths=(lengths, lengths, lengths))


@settings(max_examples=30)
@given(st.data())
def test_drawn_tiles_equal_the_sums(data):
    """Whatever the shape, the plan's tiles and any others give the same."""
    rank = data.draw(st.integers(1, 3))
    largest = {1: 60, 2: 16, 3: 8}[rank]
    axes = st.tuples(*[st.integers(1, largest)] * rank)
    spatial = data.draw(axes)
    window = data.draw(st.tuples(*[st.integers(1, 5)] * rank))
    dilation = data.draw(st.tuples(*[st.integers(1, 3)] * rank))
    needed = [(t - 1) * d for t, d in zip(window, dilation, strict=True)]
    padding = tuple(
        (data.draw(st.integers(-1, reach + 1)), reach + 1) for reach in needed
    )
    channels = data.draw(st.sampled_from((1, 2, 5, 16, 19)))
    problem = make_problem(
        np.random.default_rng(data.draw(st.integers(0, 9))),
        data.draw(st.integers(1, 3)),
        spatial,
        window,
        1,
        1,
        groups=channels,
        padding=padding,
        dilation=dilation,
    ).single()
    facts = facts_of(problem)
    planned = [_native_transforms._cheapest(part, facts).lengths for part in PARTS]
    check(problem, lengths=planned)
    lengths = tuple(
        data.draw(st.sampled_from(_native_transforms.smooth_numbers(t, t + 20)))
        for t in window
    )
    check(problem, lengths=(lengths,) * 3)


@pytest.mark.parametrize("channels", [1, 5, 16])
def test_quiet_images_beside_loud_ones_keep_their_digits(channels, rng):
    """Two tiles share one transform, whose rounding follows the louder one."""
    problem = make_problem(
        rng, 6, (30,), (9,), 1, 1, groups=channels, padding=4
    ).single()
    x, g = np.array(problem.x), np.array(problem.g)
    loud = np.float32([1e-6, 1e8, 1, 1e-12, 1e12, 1]).reshape(6, 1, 1)
    for name in instruction_sets():
        changed = relaxed(problem._replace(x=x * loud, g=g / loud))
        y, dx, dk = tap_sums(changed)
        results = parts(changed, name, ((16,),) * 3)
        for result, want, scale in ((results[0], y, loud), (results[1], dx, 1 / loud)):
            assert_close(np.asarray(result, np.float64) / scale, want / scale, tol=3e-6)
        assert_close(np.asarray(results[2], np.float64), dk, tol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("channels", [1, 5, 16])
def test_what_is_not_finite_stays_in_its_image_and_channel(channels, bad, rng):
    problem = make_problem(
        rng, 4, (20,), (9,), 1, 1, groups=channels, padding=4
    ).single()
    for image in range(4):
        x, g = np.array(problem.x), np.array(problem.g)
        x[image, 3, channels // 2] = g[image, 3, channels // 2] = bad
        here = np.zeros((4, channels), bool)
        here[image, channels // 2] = True
        for name in instruction_sets():
            changed = relaxed(problem._replace(x=x, g=g))
            y, dx, dk = map(np.asarray, parts(changed, name, ((24,),) * 3))
            np.testing.assert_array_equal(~np.isfinite(y).all(1), here)
            np.testing.assert_array_equal(~np.isfinite(dx).all(1), here)
            np.testing.assert_array_equal(~np.isfinite(dk[:, 0]).all(0), here[image])


def test_long_windows_go_by_tiles_and_short_ones_by_sums():
    def by_tiles(size, window, **options):
        text = lowered((2, *size, 16), (*window, 1, 16), **options)
        assert text.count("lengths = ") == 1
        return "lengths = dense<>" not in text

    assert by_tiles((256,), (64,))
    assert by_tiles((40, 40), (15, 15))
    assert not by_tiles((256,), (5,))
    assert not by_tiles((40, 40), (3, 3))
    assert not by_tiles((256,), (64,), precision="highest")
    assert not by_tiles((256,), (64,), strides=2)


def lowered(x, kernel, precision="default", **options):
    options |= {"groups": 16, "precision": precision}

    def run(x, kernel):
        return conv(x, kernel, algorithm="native", **options)

    return jax.jit(run).lower(jnp.zeros(x), jnp.zeros(kernel)).as_text()


def test_work_counts_what_is_done():
    """5 N log2 N for a transform of N points; 2 for a product of a sum."""
    spec = ConvSpec((1,), ((0, 0),), (1,), 16, None)
    facts = ConvFacts(8, (4096 + 1023,), (1024,), 16, 16, spec, "float32")
    work = by_kernels.work("forward", facts)
    assert work.kind == "transforms"
    assert 2 * facts.products > 10 * work.flops
    tiles = _native_transforms.tiles("forward", facts, 2.0 * facts.products)
    (length,) = tiles.lengths
    transforms = 8 / 2 * 16 * -(-4096 // (length - 1023)) * 2 + 16
    assert 5 * length * np.log2(length) * transforms <= work.flops
    highest = facts._replace(spec=spec._replace(precision="highest"))
    assert by_kernels.work("forward", highest).flops == 2 * facts.products
    assert by_kernels.work("forward", highest).kind == "depthwise"


@pytest.mark.parametrize("size", [1, 2, 5, 30, 1025])
def test_smooth_numbers(size):
    found = _native_transforms.smooth(size)
    assert found >= size
    assert not [n for n in range(size, found) if is_smooth(n)]
    assert is_smooth(found)
    assert _native_transforms.smooth_numbers(size, 3 * size) == [
        n for n in range(size, 3 * size + 1) if is_smooth(n)
    ]


def is_smooth(number):
    for factor in (2, 3):
        while number % factor == 0:
            number //= factor
    return number == 1


@pytest.mark.parametrize("axis", [None, 0])
def test_tiles_inside_transformations(axis, rng):
    """A second derivative of a mapped convolution, by tiles and written out."""
    x = rng.normal(size=(3, 2, 64, 16)).astype(np.float32)
    k = rng.normal(size=(48, 1, 16)).astype(np.float32)

    def loss(k, x, algorithm):
        options = {"padding": 24, "precision": "default", "algorithm": algorithm}
        y = conv(x, k, groups=16, **options)
        return jnp.mean(jnp.tanh(y / 8) ** 2)

    def curvature(algorithm):
        def along(k, x):
            slope = lambda k: jax.grad(loss)(k, x, algorithm)  # noqa: E731
            return jax.jvp(slope, (k,), (jnp.ones_like(k),))[1]

        return jax.jit(jax.vmap(along, (axis, 0)))

    kernels = k if axis is None else np.stack([k, 2 * k, -k])
    found, wanted = (curvature(name)(kernels, x) for name in ("native", "shift"))
    assert_close(found, wanted, tol=2e-5 * float(np.abs(wanted).max()))

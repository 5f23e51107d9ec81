"""Every algorithm of convolution: values at corners, in blocks, and of empty arrays."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnets.functional import conv
from jaxnets.functional.conv_algorithms import ALGORITHMS, gemm, shift, winograd
from tests.functional.conv_algorithm_cases import (
    check,
    limit_blocks,
    lowered,
    present,
    skip_without_kernels,
    width_of,
)
from tests.functional.conv_cases import conv_problems, make_problem


class Case(NamedTuple):
    """Sizes of a problem: batch, spatial, window, fan-in, fan-out, options."""

    batch: int
    spatial: tuple[int, ...]
    window: tuple[int, ...]
    fan_in: int
    fan_out: int
    options: dict

    def draw(self, rng):
        return make_problem(rng, *self[:-1], **self.options)


CORNERS = {
    "stride 3, dilation 2, two groups": Case(
        2, (11,), (4,), 2, 3, {"strides": 3, "dilation": 2, "padding": 3, "groups": 2}
    ),
    "stride and dilation with a common factor": Case(
        1, (17,), (4,), 1, 2, {"strides": 4, "dilation": 6, "padding": ((7, 5),)}
    ),
    "windows side by side": Case(
        3, (7, 8), (2, 3), 2, 2, {"strides": (2, 3), "padding": ((1, 0), (0, 2))}
    ),
    "a strided 1x1 window": Case(2, (5, 4), (1, 1), 3, 2, {"strides": 2}),
    "gaps between windows": Case(
        2, (9, 7), (2, 1), 2, 1, {"strides": (5, 3), "padding": 1}
    ),
    "padding beyond the window": Case(
        1, (4, 3), (3, 3), 2, 3, {"padding": ((4, 6), (7, 3))}
    ),
    "a window at rest on padding": Case(
        1, (1,), (3,), 2, 1, {"strides": 3, "padding": ((4, 0),)}
    ),
    "one position": Case(2, (3, 3), (3, 3), 3, 2, {"groups": 2}),
    "one position, a dense layer": Case(3, (3, 4), (3, 4), 2, 5, {"strides": 2}),
    "depthwise, two outputs each, stride 2": Case(
        2, (7, 6), (3, 3), 1, 2, {"strides": 2, "padding": 1, "groups": 3}
    ),
    "depthwise, rows that do not divide evenly": Case(
        2, (21, 3), (3, 2), 1, 1, {"strides": (2, 1), "padding": 1, "groups": 3}
    ),
    "few inputs, gaps between windows": Case(
        2, (9, 7), (2, 1), 1, 3, {"strides": (5, 3), "padding": 1, "groups": 2}
    ),
    "few inputs, padding beyond the window, dilation": Case(
        2, (8, 5), (3, 2), 1, 2, {"strides": 2, "dilation": 2, "padding": ((5, 3),) * 2}
    ),
    "three axes": Case(1, (4, 5, 3), (3, 3, 3), 2, 1, {"padding": 1, "groups": 2}),
}
QUICK = (
    "stride 3, dilation 2, two groups",
    "gaps between windows",
    "depthwise, two outputs each, stride 2",
    "depthwise, rows that do not divide evenly",
    "few inputs, gaps between windows",
)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "corner",
    [c if c in QUICK else pytest.param(c, marks=pytest.mark.slow) for c in CORNERS],
)
def test_corners_equal_the_sums_written_out(corner, rng):
    """`fft` and `overlap_add` have corners of their own in test_conv_fft."""
    problem = CORNERS[corner].draw(rng)
    wanted = problem.written_out()
    able = {*problem.able(), *problem.single().able()}
    assert able >= set(present()) - {"winograd"}
    assert set(problem.able()) >= {n for n in able if width_of(n) == np.float64}
    for name in able:
        if name not in ("fft", "overlap_add"):
            check(name, problem, wanted)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("rank", "examples"), [(1, 10), (2, 10), (3, 5), (4, 2)])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_drawn_problems_in_blocks_of_any_size(name, rank, examples):
    if name == "winograd" and rank > 3:
        pytest.skip("has no tiles of four axes")
    skip_without_kernels(name, rank=rank)
    limits = st.sampled_from([1, 200, 1000, 4000, 1 << 24])

    @settings(max_examples=examples)
    @given(conv_problems(rank, winograd=name == "winograd"), limits)
    def run(problem, limit):
        with pytest.MonkeyPatch.context() as patch:
            limit_blocks(patch, limit)
            check(name, problem)

    run()


# At 7 x 5 positions of 2 to 3 channels in float64 and a batch of 5: blocks of one row,
# of several rows with a shorter last one, of two images with one left over.
@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("name", "limit"),
    [
        pytest.param("gemm", 1, marks=pytest.mark.slow),
        ("gemm", 3000),
        pytest.param("gemm", 12000, marks=pytest.mark.slow),
        pytest.param("shift", 1, marks=pytest.mark.slow),
        ("shift", 700),
        pytest.param("shift", 3000, marks=pytest.mark.slow),
        pytest.param("winograd", 1, marks=pytest.mark.slow),
        ("winograd", 12000),
        ("fft", 4000),
    ],
)
def test_blocks_and_their_ragged_ends(name, limit, rng, monkeypatch):
    problem = make_problem(rng, 5, (7, 5), (3, 3), 2, 3, padding=1)
    assert "stablehlo.while" not in lowered(name, problem).as_text()
    limit_blocks(monkeypatch, limit)
    assert "stablehlo.while" in lowered(name, problem).as_text()
    check(name, problem)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["gemm", "shift"])
def test_blocks_of_rows_with_strides_and_dilation(name, rng, monkeypatch):
    limit_blocks(monkeypatch, 500)
    options = {"strides": (2, 1), "dilation": (3, 2), "padding": (4, 1)}
    check(name, make_problem(rng, 2, (13, 6), (3, 2), 1, 2, groups=2, **options))


@pytest.mark.usefixtures("x64")
def test_input_gradients_of_few_inputs_in_blocks_of_images(rng, monkeypatch):
    options = {"strides": (2, 1), "padding": 1, "groups": 2}
    problem = make_problem(rng, 5, (7, 5), (3, 3), 1, 2, **options)
    assert "stablehlo.while" not in lowered("gemm", problem).as_text()
    monkeypatch.setattr(gemm, "FOLD_BYTES", 6000)
    assert "stablehlo.while" in lowered("gemm", problem).as_text()
    check("gemm", problem)


def test_a_large_image_with_few_inputs_keeps_its_patches_small():
    """What is added up may be as large as an image of patches, times out / in."""
    folds = partial(gemm._folds, 9, 3, 64)
    assert folds(gemm.IMAGE_BYTES) and folds(20 * gemm.IMAGE_BYTES)
    assert not folds(22 * gemm.IMAGE_BYTES)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("fan_in", [1, 2])
def test_shift_in_a_loop_over_many_taps(fan_in, rng, monkeypatch):
    options = {"strides": (1, 2), "dilation": (2, 1), "padding": 2, "groups": 2}
    problem = make_problem(rng, 2, (7, 6), (2, 3), fan_in, 2, **options)
    monkeypatch.setattr(shift, "MOST_UNROLLED", 2)  # fewer than a row of the window
    assert "stablehlo.while" in lowered("shift", problem).as_text()
    check("shift", problem)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize(
    "spatial", [(9,), (5, 6), pytest.param((3, 2, 4), marks=pytest.mark.slow)]
)
def test_winograd_of_both_tile_sizes(size, spatial, rng, monkeypatch):
    if size == 4 and len(spatial) == 3:
        pytest.skip("three axes take tiles of 2 only")
    monkeypatch.setattr(winograd, "tile_size", lambda positions: size)
    check(
        "winograd", make_problem(rng, 2, spatial, (3,) * len(spatial), 2, 3, padding=1)
    )


def test_winograd_takes_the_tiles_of_fewer_products():
    # A tile of 4 costs 36 products in two dimensions, one of 2 costs 16.
    sizes = {(8, 8): 4, (2, 2): 2, (4, 4): 4, (6, 2): 2, (56, 56): 4, (9, 9, 9): 2}
    assert {positions: winograd.tile_size(positions) for positions in sizes} == sizes


EMPTY = {
    "batch": ((0, 5, 5, 2), (3, 3, 2, 4)),
    "batch of images larger than a block": ((0, 99, 99, 64), (3, 3, 64, 64)),
    "channels": ((2, 5, 5, 0), (3, 3, 0, 4)),
    "outputs": ((2, 5, 5, 2), (3, 3, 2, 0)),
    "spatial axis": ((2, 0, 5, 2), (3, 3, 2, 4)),
}


@pytest.mark.slow
@pytest.mark.parametrize("empty", EMPTY)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_empty_arrays_give_zeros(name, empty):
    skip_without_kernels(name)
    x, k = (jnp.ones(shape) for shape in EMPTY[empty])
    y, back = jax.vjp(lambda x, k: conv(x, k, padding=2, algorithm=name), x, k)
    positions = tuple(size + 2 for size in x.shape[1:-1])
    assert y.shape == (len(x), *positions, k.shape[-1])
    dx, dk = back(jnp.ones_like(y))
    assert (dx.shape, dk.shape) == (x.shape, k.shape)
    assert not any(array.any() for array in (y, dx, dk))

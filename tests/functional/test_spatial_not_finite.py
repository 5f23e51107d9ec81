"""Coordinates that are not finite, and grids of half types, against loops."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnets import functional as F
from jaxnets import nn
from tests.functional.spatial_oracles import loop_sample
from tests.helpers import assert_close

MODES = ("bilinear", "nearest", "bicubic")
PADDINGS = ("zeros", "border", "reflection")
NOT_FINITE = np.asarray([np.nan, np.inf, -np.inf], np.float32)
# What stands for NaN, +inf and -inf; in zeros all of them lie outside.
INSTEAD = {"zeros": (0, 0, 0), "border": (-1, 1, -1), "reflection": (-1, -1, -1)}


@pytest.mark.parametrize("padding_mode", PADDINGS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sizes", [(5,), (4, 3), (3, 2, 4), (1, 4)])
def test_coordinates_that_are_not_finite(sizes, mode, padding_mode, rng):
    """Each coordinate in turn; the others stay, and have the derivatives they had."""
    rank = len(sizes)
    x = rng.normal(size=(*sizes, 1)).astype(np.float32)
    g = rng.normal(size=(3, rank)).astype(np.float32)
    shape = (*(1,) * (rank - 1), 3 * rank, rank)
    grid = np.full((3, rank, rank), 0.21, np.float32)
    read = grid.astype(np.float64)
    for axis in range(rank):
        grid[:, axis, axis] = NOT_FINITE
        read[:, axis, axis] = INSTEAD[padding_mode]
    for align in (False, True):
        options = {"mode": mode, "padding_mode": padding_mode, "align_corners": align}

        def oracle(x, places, align=align):
            if padding_mode == "zeros":
                return np.zeros((3, rank))
            y = loop_sample(x, places.reshape(shape), mode, padding_mode, align)
            return y.reshape(3, rank)

        def sampled(x, grid, options=options):
            return F.grid_sample(x, grid.reshape(shape), **options).reshape(3, rank)

        y, back = jax.vjp(sampled, jnp.asarray(x), jnp.asarray(grid))
        to_x, to_grid = back(jnp.asarray(g))
        assert_close(y, oracle(x, read).astype(np.float32), tol=1e-5)
        # Linear in x: the gradient is what unit images give.
        units = np.eye(x.size).reshape(x.size, *x.shape)
        want = np.asarray([np.vdot(oracle(unit, read), g) for unit in units])
        assert_close(to_x, want.reshape(x.shape).astype(np.float32), tol=1e-5)
        for axis, other in itertools.product(range(rank), repeat=2):
            if axis == other:
                assert not np.asarray(to_grid[:, axis, axis]).any()
                continue
            step = np.zeros(read.shape)
            step[:, axis, other] = 1e-5
            rise = oracle(x, read + step) - oracle(x, read - step)
            want = rise[:, axis] / 2e-5 * g[:, axis]
            want = want if mode != "nearest" else 0 * want
            assert_close(to_grid[:, axis, other], want.astype(np.float32), tol=1e-4)


def test_bicubic_reads_nan_at_the_end_of_the_axis():
    """The case by hand: at t = 1/2 Keys' weights are −3/32, 19/32, 19/32, −3/32."""
    x = np.asarray([4.0, 5.0, 7.0, 2.0], np.float32)[:, None]
    grid = NOT_FINITE[:, None]
    options = {"mode": "bicubic", "align_corners": False}
    border = F.grid_sample(x, grid, padding_mode="border", **options)
    low, high = 3.90625, (35 * 2 - 3 * 7) / 32
    assert_close(border[:, 0], np.asarray([low, high, low], np.float32))
    mirrored = F.grid_sample(x, grid, padding_mode="reflection", **options)
    assert_close(mirrored[:, 0], np.asarray([3.8125] * 3, np.float32))


HALVES = ["bfloat16", "float16"]


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("dtype", HALVES)
def test_grids_of_half_types_are_float32(dtype, align):
    """The identity at 512x512, which is exact in every type; its places are not."""
    n = 512
    places = 2 * np.arange(n) / (n - 1) - 1 if align else (2 * np.arange(n) + 1) / n - 1
    want = np.stack(np.meshgrid(places, places), axis=-1).astype(np.float32)
    corners = jnp.asarray([[-1, -1], [1, -1], [-1, 1], [1, 1]], dtype)
    grids = [
        F.affine_grid(jnp.eye(2, 3, dtype=dtype), (n, n), align_corners=align),
        F.projective_grid(jnp.eye(3, dtype=dtype), (n, n), align_corners=align),
        F.thin_plate_spline_grid(corners, (n, n), align_corners=align),
    ]
    for grid in grids:
        assert_close(grid, want)


@pytest.mark.parametrize("dtype", HALVES)
def test_images_of_half_types_are_read_where_they_lie(dtype, rng):
    """The identity gives the image back, also through grids, modules and pixels."""
    n = 128
    x = jnp.asarray(rng.uniform(size=(n, n, 1)), dtype)
    theta = jnp.eye(2, 3, dtype=dtype)
    results = {
        "grid": F.grid_sample(x, F.affine_grid(theta, (n, n))),
        "spatial_transform": F.spatial_transform(x, theta),
        "projective": F.spatial_transform(x, jnp.eye(3, dtype=dtype)),
        "warp_affine": F.warp_affine(x, theta),
    }
    for transform in ("affine", "projective", "tps", "translation", "attention"):
        layer = nn.SpatialTransformer(
            lambda x: x[:1, 0, 0],
            1,
            transform=transform,
            output_size=(n, n),
            control_points=2,
            param_dtype=jnp.dtype(dtype),
            rngs=nnx.Rngs(0),
        )
        results[transform] = layer(x[None])[0]
    for name, y in results.items():
        assert y.dtype == x.dtype, name
        assert_close(y, x, tol=2 * float(jnp.finfo(dtype).eps))

"""Grids, sampling and matrices against loops, laws and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import functional as F
from jaxnets.functional import _sample_loops
from tests.functional.spatial_oracles import loop_sample
from tests.helpers import assert_close


@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("sizes", [(5,), (4, 3), (3, 2, 4)])
def test_grid_sample_equals_the_loop(sizes, mode, padding_mode, rng):
    """Also bicubic in three dimensions, and axes shorter than its window."""
    x = rng.normal(size=(*sizes, 2)).astype(np.float32)
    grid = rng.uniform(-1.8, 1.8, (2,) * (len(sizes) - 1) + (6, len(sizes)))
    grid = grid.astype(np.float32)
    for align in (False, True):
        got = F.grid_sample(
            x, grid, mode=mode, padding_mode=padding_mode, align_corners=align
        )
        expected = loop_sample(x, grid.astype(np.float64), mode, padding_mode, align)
        assert_close(got, expected.astype(np.float32), tol=1e-5)


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
def test_the_smallest_axes(size, padding_mode, rng):
    x = rng.normal(size=(size, size, 1)).astype(np.float32)
    grid = rng.uniform(-2, 2, (3, 4, 2)).astype(np.float32)
    got = F.grid_sample(x, grid, mode="bicubic", padding_mode=padding_mode)
    expected = loop_sample(x, grid, "bicubic", padding_mode, False)
    assert_close(got, expected.astype(np.float32), tol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_loops_equal_scatters(channels, rng):
    """The algorithms for CPU and those for other platforms are the same sums."""
    x = rng.normal(size=(2, 4, 5, channels)).astype(np.float32)
    start = rng.integers(0, 3, (2, 2, 7)).astype(np.int32)
    weights = rng.normal(size=(2, 2, 3, 7)).astype(np.float32)
    g = rng.normal(size=(2, 7, channels)).astype(np.float32)
    x, start, weights, g = map(jnp.asarray, (x, start, weights, g))
    to_x = [
        _sample_loops.image_grad(g, weights, start, (4, 5), on_cpu=on_cpu)
        for on_cpu in (True, False)
    ]
    to_weights = [
        _sample_loops.weights_grad(x, g, start, (2, 3), on_cpu=on_cpu)
        for on_cpu in (True, False)
    ]
    y = np.asarray(_sample_loops.sample(x, weights, start))
    assert_close(to_x[0], to_x[1])
    assert_close(to_weights[0], to_weights[1])
    products = np.vdot(y, g), np.vdot(to_x[0], x), np.vdot(to_weights[0], weights)
    np.testing.assert_allclose(products, products[0], rtol=1e-4)


@pytest.mark.slow
def test_batch_axes_are_broadcast(rng):
    x = rng.normal(size=(2, 3, 4, 5, 1)).astype(np.float32)
    grid = rng.uniform(-1, 1, (3, 2, 2, 2)).astype(np.float32)
    y = F.grid_sample(x, grid)
    assert y.shape == (2, 3, 2, 2, 1)
    assert_close(y[1, 2], F.grid_sample(x[1, 2], grid[2]))
    assert F.grid_sample(x[:0], grid).shape == (0, 3, 2, 2, 1)


def test_gradients_are_the_same_on_every_run(rng):
    x = rng.normal(size=(2, 8, 8, 4)).astype(np.float32)
    grid = rng.uniform(-1, 1, (2, 30, 30, 2)).astype(np.float32)
    slope = jax.jit(jax.grad(lambda x: jnp.sum(jnp.sin(F.grid_sample(x, grid)))))
    assert (slope(x) == slope(x)).all()


@pytest.mark.slow
def test_projective_grid_of_an_affine_map_is_affine(rng):
    theta = rng.normal(size=(2, 3)).astype(np.float32)
    full = np.concatenate([theta, [[0, 0, 1]]]).astype(np.float32)
    expected = F.affine_grid(theta, (3, 4), align_corners=True)
    assert_close(F.projective_grid(full, (3, 4), align_corners=True), expected)
    x = rng.normal(size=(5, 5, 2)).astype(np.float32)
    assert_close(F.spatial_transform(x, full), F.spatial_transform(x, theta))


@pytest.mark.slow
def test_a_projective_map_hides_what_lies_behind_the_camera():
    theta = np.asarray([[1, 0, 0], [0, 1, 0], [2, 0, 1]], np.float32)
    grid = F.projective_grid(theta, (1, 4))
    assert np.isnan(grid[0, :1]).all()
    assert np.isfinite(grid[0, 1:]).all()
    slope = jax.grad(lambda t: jnp.sum(F.spatial_transform(jnp.ones((1, 4, 1)), t)))(
        theta
    )
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("rank", [2, 3])
def test_splines_reproduce_affine_maps_and_hit_their_targets(rank, rng):
    size, points = (4, 5, 3)[:rank], 3**rank
    axis = np.linspace(-1, 1, 3)
    centres = np.stack(np.meshgrid(*(axis,) * rank, indexing="ij")[::-1], -1)
    centres = centres.reshape(points, rank)
    theta = rng.normal(size=(rank, rank + 1)).astype(np.float32)
    affine = (centres @ theta[:, :-1].T + theta[:, -1]).astype(np.float32)
    got = F.thin_plate_spline_grid(affine, size)
    assert_close(got, F.affine_grid(theta, size), tol=1e-5)
    targets = rng.normal(size=(points, rank)).astype(np.float32)
    grid = F.thin_plate_spline_grid(targets, (3,) * rank, align_corners=True)
    assert_close(grid.reshape(points, rank), targets, tol=1e-5)
    mine = F.thin_plate_spline_grid(targets, size, control_points=centres)
    assert_close(mine, F.thin_plate_spline_grid(targets, size))


@pytest.mark.slow
def test_matrices_compose_and_invert(rng):
    a, b = np.float32(0.7), np.float32(-0.2)
    assert_close(F.rotation(a) @ F.rotation(b), F.rotation(a + b))
    axis = np.asarray([1.0, 2.0, 2.0], np.float32)
    turned = F.rotation(a, axis=axis)
    assert_close(turned[:3, :3] @ axis, axis)
    assert_close(turned[:3, :3] @ turned[:3, :3].T, np.eye(3, dtype=np.float32))
    assert_close(
        F.rotation(a, axis=np.asarray([0.0, 0, 5]))[:2, :2], F.rotation(a)[:2, :2]
    )
    for rank in (1, 2, 3):
        theta = rng.normal(size=(5, rank + 1, rank + 1)).astype(np.float32)
        theta[:, rank] = np.eye(rank + 1)[rank]
        expected = np.linalg.inv(theta.astype(np.float64)).astype(np.float32)
        assert_close(F.inverse_affine(theta), expected, tol=1e-4)
        assert_close(F.inverse_affine(theta[:, :-1]), expected[:, :-1], tol=1e-4)
    p = np.asarray([2.0, 3.0, 1.0], np.float32)
    moved = F.translation(np.asarray([1.0, -1.0], np.float32)) @ F.scaling(p[:2]) @ p
    assert moved.tolist() == [5.0, 8.0, 1.0]
    assert (F.shear(a, along=1, by=0) @ p).tolist() == pytest.approx([2, 4.4, 1])


def test_warp_affine_turns_an_oblong_image_by_quarters(rng):
    x = rng.normal(size=(3, 5, 2)).astype(np.float32)
    quarter = F.rotation(np.float32(np.pi / 2))
    got = F.warp_affine(x, quarter, output_size=(5, 3))
    assert_close(got, np.rot90(x, -1).copy(), tol=1e-5)
    shift = F.translation(np.asarray([2.0, -1.0], np.float32))
    expected = np.zeros_like(x)
    expected[:-1, 2:] = x[1:, :-2]
    assert_close(F.warp_affine(x, shift), expected, tol=1e-5)


@pytest.mark.slow
def test_samples_keep_a_shrunk_image_from_aliasing(rng):
    """Stripes of one cell become grey, and any image its block means."""
    stripes = np.tile(np.asarray([0.0, 1.0], np.float32), 32)[None, :, None]
    stripes = np.broadcast_to(stripes, (8, 64, 1))
    half = F.scaling(np.asarray([0.125, 1.0], np.float32))
    coarse = F.warp_affine(stripes, half, output_size=(8, 8), mode="nearest")
    assert float(jnp.abs(coarse - 0.5).max()) == 0.5
    fine = F.warp_affine(stripes, half, output_size=(8, 8), mode="nearest", samples=8)
    assert_close(fine, np.full_like(fine, 0.5))
    x = rng.normal(size=(2, 8, 12, 3)).astype(np.float32)
    identity = np.eye(2, 3, dtype=np.float32)
    got = F.spatial_transform(x, identity, output_size=(2, 3), samples=4)
    assert_close(got, x.reshape(2, 2, 4, 3, 4, 3).mean((2, 4)), tol=1e-5)

"""What grids, sampling and matrices say about bad input."""

import re

import jax
import jax.numpy as jnp
import pytest

from jaxnets import functional as F

X, GRID, THETA = jnp.zeros((2, 4, 5, 3)), jnp.zeros((2, 3, 3, 2)), jnp.zeros((2, 2, 3))


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: F.grid_sample(X, GRID, mode="cubic"),
            "grid_sample: mode must be one of 'bilinear', 'nearest', 'bicubic'; got",
        ),
        (
            lambda: F.grid_sample(X, GRID, padding_mode="wrap"),
            "grid_sample: padding_mode must be one of 'zeros', 'border', 'reflection'",
        ),
        (
            lambda: F.grid_sample(X, jnp.zeros((2, 3, 3, 4))),
            "grid_sample: the last axis of grid must have 1, 2 or 3 entries, one a "
            "spatial axis of x, x first; got 4 (grid.shape=(2, 3, 3, 4))",
        ),
        (
            lambda: F.grid_sample(X, jnp.zeros(2)),
            "grid_sample: grid must have at least 2 axes, (*batch, *output, rank)",
        ),
        (
            lambda: F.grid_sample(X, jnp.zeros((3, 2))),
            "grid_sample: grid must have at least 3 axes, (*batch, *output, 2) for the",
        ),
        (
            lambda: F.grid_sample(jnp.zeros((4, 5)), GRID),
            "grid_sample: x must have at least 3 axes, (*batch, *spatial, channels)",
        ),
        (
            lambda: F.grid_sample(jnp.zeros((3, 4, 5, 1)), GRID),
            "grid_sample: the batch axes of x and grid must be broadcastable; got (3,)",
        ),
        (
            lambda: F.grid_sample(jnp.zeros((2, 0, 5, 1)), GRID),
            "grid_sample: x must have a cell along every spatial axis; got x.shape=",
        ),
        (
            lambda: F.affine_grid(THETA, (2, 3, 4)),
            "affine_grid: theta must have shape (*batch, 3, 4) for output_size=(2, "
            "3, 4); got (2, 2, 3)",
        ),
        (
            lambda: F.affine_grid(THETA, ()),
            "affine_grid: output_size must have 1, 2 or 3 sizes, one a spatial axis",
        ),
        (
            lambda: F.affine_grid(THETA, (2, 0)),
            "affine_grid: output_size must be at least 1; got 0",
        ),
        (
            lambda: F.projective_grid(THETA, (2, 3)),
            "projective_grid: theta must have shape (*batch, 3, 3)",
        ),
        (
            lambda: F.thin_plate_spline_grid(jnp.zeros((4, 1)), (3,)),
            "thin_plate_spline_grid: output_size must have 2 or 3 sizes; got (3,)",
        ),
        (
            lambda: F.thin_plate_spline_grid(jnp.zeros((4, 3)), (3, 3)),
            "thin_plate_spline_grid: targets must have 2 coordinates, one a size of",
        ),
        (
            lambda: F.thin_plate_spline_grid(jnp.zeros((5, 2)), (3, 3)),
            "thin_plate_spline_grid: targets must have n ** 2 points with n at least 2",
        ),
        (
            lambda: F.thin_plate_spline_grid(
                jnp.zeros((5, 2)), (3, 3), control_points=jnp.zeros((4, 2))
            ),
            "thin_plate_spline_grid: control_points must have shape (5, 2), as targets",
        ),
        (
            lambda: F.thin_plate_spline_grid(
                jnp.zeros((4, 2)), (3, 3), control_points=jnp.zeros((4, 2))
            ),
            "thin_plate_spline_grid: control_points must differ and not all lie on one",
        ),
        (
            lambda: jax.jit(
                lambda c: F.thin_plate_spline_grid(c, (3, 3), control_points=c)
            )(jnp.zeros((4, 2))),
            "thin_plate_spline_grid: control_points must be known when the function is",
        ),
        (
            lambda: F.spatial_transform(X, jnp.zeros((2, 4, 5))),
            "spatial_transform: theta must have shape (*batch, rank, rank + 1) or",
        ),
        (
            lambda: F.spatial_transform(X, THETA, output_size=(3,)),
            "spatial_transform: output_size must have 2 entries, one a spatial axis",
        ),
        (
            lambda: F.spatial_transform(X, THETA, samples=0),
            "spatial_transform: samples must be at least 1; got 0",
        ),
        (
            lambda: F.warp_affine(X[0, 0], THETA),
            "warp_affine: x must have at least 3 axes, (*batch, *spatial, channels)",
        ),
        (
            lambda: F.rotation(0.5, axis=jnp.ones(2)),
            "rotation: axis must have shape (3,); got (2,)",
        ),
        (
            lambda: F.translation(jnp.ones(4)),
            "translation: offset must have shape (*batch, rank) with rank 1 to 3",
        ),
        (
            lambda: F.scaling(1.0),
            "scaling: factors must have shape (*batch, rank) with rank 1 to 3; got ()",
        ),
        (
            lambda: F.shear(1.0, along=1),
            "shear: along and by must be two different coordinates of 2; got 1 and 1",
        ),
        (
            lambda: F.inverse_affine(jnp.ones((3, 2))),
            "inverse_affine: theta must have shape (*batch, rank, rank + 1) or",
        ),
    ],
)
def test_values(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.grid_sample(X.astype(int), GRID), "grid_sample: x must be floating"),
        (
            lambda: F.grid_sample(X, GRID.astype(int)),
            "grid_sample: grid must be floating; got int32 (its coordinates are "
            "normalised",
        ),
        (
            lambda: F.affine_grid(THETA.astype(int), (2, 3)),
            "affine_grid: theta must be floating; got int32",
        ),
        (
            lambda: F.affine_grid(THETA, 3),  # pyright: ignore
            "affine_grid: output_size must be a sequence of integers; got 3",
        ),
        (
            lambda: F.spatial_transform(X, THETA.astype(int)),
            "spatial_transform: theta must be floating; got int32",
        ),
        (
            lambda: F.warp_affine(X, THETA.astype(int)),
            "warp_affine: matrix must be floating; got int32",
        ),
        (lambda: F.rotation(1), "rotation: angle must be floating; got int32"),
    ],
)
def test_types(call, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        call()

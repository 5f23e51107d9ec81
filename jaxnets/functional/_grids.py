"""Sampling grids: where every cell of an output is read, for a family of maps."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from jaxnets.functional._checks import check_integers, check_min_rank
from jaxnets.functional._dtypes import wide_dtype


def affine_grid(
    theta: ArrayLike, output_size: Sequence[int], *, align_corners: bool = False
) -> jax.Array:
    """The grid of an affine map from places of the output to places of the input.

        grid[o] = A q(o) + t, theta = [A | t]

    with q(o) the normalised centre of output cell o, x first: (2 o + 1) / n − 1 along
    an axis of n cells, or 2 o / (n − 1) − 1 with `align_corners` (0 if n is 1).

    Args:
        theta: `(*batch, rank, rank + 1)`, floating, for coordinates x first.
        output_size: the sizes of the output's spatial axes in the order of the array,
            one to three.
        align_corners: whether −1 and 1 are the centres of the outermost cells.

    Returns:
        `(*batch, *output_size, rank)` in the dtype of `theta`, in float32 for half
        types: bfloat16 has 8 bits for the place, too few for 512 cells.

    Raises:
        TypeError: if `theta` is not floating or a size is not an integer.
        ValueError: if the shape of `theta` does not fit, or a size is below 1.

    Example:
        >>> affine_grid(jnp.asarray([[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]]), (1, 2))
        Array([[[0., 0.],
                [1., 0.]]], dtype=float32)

    Source:
        Jaderberg, Simonyan, Zisserman, Kavukcuoglu 2015, "Spatial transformer
        networks", equation 1.
    """
    sizes = _check_size("affine_grid", output_size)
    theta = _check_theta("affine_grid", theta, sizes, extra=0)
    return affine_of(theta, positions(sizes, align_corners))


def projective_grid(
    theta: ArrayLike, output_size: Sequence[int], *, align_corners: bool = False
) -> jax.Array:
    """The grid of a projective map (homography) from the output to the input.

        grid[o] = (A q(o) + t) / (c · q(o) + d), theta = [[A, t], [c, d]]

    with q(o) as in `affine_grid`. Cells whose denominator is not positive lie behind
    the camera; they get NaN, which `grid_sample` reads as outside in zeros.

    Args:
        theta: `(*batch, rank + 1, rank + 1)`, floating, for coordinates x first.
        output_size: as in `affine_grid`.
        align_corners: as in `affine_grid`.

    Returns:
        `(*batch, *output_size, rank)` in the dtype of `theta`, in float32 for half
        types: bfloat16 has 8 bits for the place, too few for 512 cells.

    Raises:
        TypeError: if `theta` is not floating or a size is not an integer.
        ValueError: if the shape of `theta` does not fit, or a size is below 1.

    Example:
        >>> theta = jnp.asarray([[1.0, 0, 0], [0, 1.0, 0], [0.5, 0, 1.0]])
        >>> projective_grid(theta, (1, 2))[0, :, 0]
        Array([-0.6666667,  0.4      ], dtype=float32)

    Source:
        Hartley, Zisserman 2003, "Multiple view geometry in computer vision", section
        2.3.
    """
    sizes = _check_size("projective_grid", output_size)
    theta = _check_theta("projective_grid", theta, sizes, extra=1)
    return project(affine_of(theta, positions(sizes, align_corners)))


def thin_plate_spline_grid(
    targets: ArrayLike,
    output_size: Sequence[int],
    *,
    control_points: ArrayLike | None = None,
    align_corners: bool = False,
) -> jax.Array:
    """The grid of the smoothest map that takes control points to given targets.

        grid[o] = A q(o) + t + Σ_k w_k U(|q(o) − c_k|)

    with U(r) = r² log r in two dimensions and r in three, and A, t, w such that
    c_k goes to target k. Linear in the targets; for targets equal to the control points
    it is the identity.

    Args:
        targets: `(*batch, points, rank)`, floating: where in the input each control
            point of the output is read, x first.
        output_size: the sizes of two or three spatial axes, in the order of the array.
        control_points: `(points, rank)`, known when the function is traced and not all
            on one line or plane; None puts them on a regular grid from −1 to 1 of
            equally many along every axis, the last axis of the array running fastest.
        align_corners: as in `affine_grid`.

    Returns:
        `(*batch, *output_size, rank)` in the dtype of `targets`, in float32 for half
        types.

    Raises:
        TypeError: if `targets` is not floating or a size is not an integer.
        ValueError: if shapes do not fit, the points have no regular grid, or they
            determine no map.

    Example:
        >>> corners = jnp.asarray([[-1.0, -1], [1, -1], [-1, 1], [1, 1]])
        >>> thin_plate_spline_grid(0.5 * corners, (1, 2))
        Array([[[-0.25,  0.  ],
                [ 0.25,  0.  ]]], dtype=float32)

    Source:
        Bookstein 1989, "Principal warps: thin-plate splines and the decomposition of
        deformations", equations 1 to 6.
    """
    name = "thin_plate_spline_grid"
    sizes = _check_size(name, output_size)
    rank = len(sizes)
    if rank == 1:
        raise ValueError(f"{name}: output_size must have 2 or 3 sizes; got {sizes}")
    targets = jnp.asarray(targets)
    _check_floating(name, "targets", targets)
    check_min_rank(name, "targets", targets.shape, 2, "(*batch, points, rank)")
    if targets.shape[-1] != rank:
        raise ValueError(
            f"{name}: targets must have {rank} coordinates, one a size of "
            f"output_size={sizes}; got targets.shape={targets.shape}"
        )
    points = targets.shape[-2]
    centres = _control_points(name, control_points, points, rank)
    places = np.stack(
        np.meshgrid(*positions(sizes, align_corners), indexing="ij")[::-1], axis=-1
    ).reshape(-1, rank)
    matrix = _spline_matrix(name, centres, places)
    wide = targets.astype(wide_dtype(targets.dtype))
    grid = jnp.einsum(
        "ok,...kd->...od", jnp.asarray(matrix, wide.dtype), wide, precision="highest"
    )
    shape = (*targets.shape[:-2], *sizes, rank)
    return grid.reshape(shape)


def positions(
    sizes: Sequence[int], align_corners: bool, samples: int = 1
) -> list[np.ndarray]:
    """Normalised centres of the cells of every axis, in the order of the array.

    With `samples` each cell is cut into as many, and the centres of these are given.
    """
    axes = []
    for n in sizes:
        cell = (np.arange(n * samples) + 0.5) / samples - 0.5
        if align_corners:
            axes.append(cell * (2 / (n - 1)) - 1 if n > 1 else cell * 2)
        else:
            axes.append((2 * cell + 1) / n - 1)
    return axes


def affine_of(theta: jax.Array, axes: Sequence[np.ndarray]) -> jax.Array:
    """A q + t at every place of the axes: `(*batch, *sizes, rows of theta)`.

    Sums and products, not a matrix product: those are exact on every platform.
    """
    rank = len(axes)
    cells = theta.reshape(*theta.shape[:-2], *(1,) * rank, *theta.shape[-2:])
    grid = cells[..., rank]
    for axis, place in enumerate(axes):
        shape = [1] * grid.ndim
        shape[grid.ndim - 1 - rank + axis] = len(place)
        along = jnp.asarray(place, theta.dtype).reshape(shape)
        grid = grid + cells[..., rank - 1 - axis] * along
    return grid


def project(places: jax.Array) -> jax.Array:
    """Homogeneous coordinates divided by their last; NaN where that is not positive."""
    above, below = places[..., :-1], places[..., -1:]
    # A safe denominator first: where() alone would let NaN into the gradient.
    seen = below > 0
    return jnp.where(seen, above / jnp.where(seen, below, 1), jnp.nan)


def _check_size(name: str, output_size: Sequence[int]) -> tuple[int, ...]:
    sizes = check_integers(name, "output_size", output_size, length=None, minimum=1)
    if not 1 <= len(sizes) <= 3:
        raise ValueError(
            f"{name}: output_size must have 1, 2 or 3 sizes, one a spatial axis; got "
            f"{sizes}"
        )
    return sizes


def _check_floating(name: str, argument: str, array: jax.Array) -> None:
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"{name}: {argument} must be floating; got {array.dtype}")


def _check_theta(
    name: str, theta: ArrayLike, sizes: tuple[int, ...], *, extra: int
) -> jax.Array:
    """Theta in its wide dtype."""
    theta = jnp.asarray(theta)
    _check_floating(name, "theta", theta)
    rank = len(sizes)
    expected = (rank + extra, rank + 1)
    if theta.shape[-2:] != expected:
        raise ValueError(
            f"{name}: theta must have shape (*batch, {expected[0]}, {expected[1]}) for "
            f"output_size={sizes}; got {theta.shape}"
        )
    return theta.astype(wide_dtype(theta.dtype))


def _control_points(
    name: str, control_points: ArrayLike | None, points: int, rank: int
) -> np.ndarray:
    if control_points is not None:
        if isinstance(control_points, Tracer):
            raise ValueError(
                f"{name}: control_points must be known when the function is traced "
                "(pass them as a NumPy array, not through jit)"
            )
        centres = np.asarray(control_points, np.float64)
        if centres.shape != (points, rank):
            raise ValueError(
                f"{name}: control_points must have shape {(points, rank)}, as targets "
                f"have; got {centres.shape}"
            )
        return centres
    side = round(points ** (1 / rank))
    if side**rank != points or side < 2:
        raise ValueError(
            f"{name}: targets must have n ** {rank} points with n at least 2 for a "
            f"regular grid; got {points} (or give control_points)"
        )
    axis = np.linspace(-1, 1, side)
    grid = np.meshgrid(*(axis,) * rank, indexing="ij")[::-1]
    return np.stack(grid, axis=-1).reshape(points, rank)


def _spline_matrix(name: str, centres: np.ndarray, places: np.ndarray) -> np.ndarray:
    """What the targets are multiplied with to give the map at the places."""
    points, rank = centres.shape
    system = np.zeros((points + rank + 1,) * 2)
    system[:points, :points] = _bend(centres, centres)
    system[:points, points:] = np.concatenate([np.ones((points, 1)), centres], 1)
    system[points:, :points] = system[:points, points:].T
    if np.linalg.matrix_rank(system) < len(system):
        raise ValueError(
            f"{name}: control_points must differ and not all lie on one line or plane; "
            f"got {centres.tolist()}"
        )
    basis = np.concatenate(
        [_bend(places, centres), np.ones((len(places), 1)), places], axis=1
    )
    return np.linalg.solve(system.T, basis.T).T[:, :points]


def _bend(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """U of the distances: `(len(a), len(b))`."""
    square = np.sum((a[:, None] - b[None]) ** 2, axis=-1)
    if a.shape[1] == 3:
        return np.sqrt(square)
    return 0.5 * square * np.log(np.maximum(square, math.ulp(0.0)))

"""Spatial transforms: a grid and a sampler in one, with several samples a cell."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxnets.functional._affine_matrices import inverse_affine
from jaxnets.functional._checks import check_integer, check_integers, check_min_rank
from jaxnets.functional._dtypes import wide_dtype
from jaxnets.functional._grid_sample import grid_sample
from jaxnets.functional._grids import affine_of, positions, project


def spatial_transform(
    x: ArrayLike,
    theta: ArrayLike,
    *,
    output_size: Sequence[int] | None = None,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool = False,
    samples: int = 1,
) -> jax.Array:
    """Read an image through an affine or projective map of normalised places.

        y[o] = mean over the samples q of cell o of x(A q + t), theta = [A | t]

    that is `grid_sample(x, affine_grid(theta, output_size))` for one sample a cell.

    The sampler reads a few cells around each place, however far apart the places are:
    an image that shrinks to 1 / n aliases. With `samples=n` every cell of the output is
    the mean of n places along every axis, a box filter of the cell's own size whatever
    the map, at n ** rank times the cost.

    Args:
        x: `(*batch, *spatial, channels)`, floating.
        theta: `(*batch, rank, rank + 1)`, or `(*batch, rank + 1, rank + 1)` for a
            projective map; from places of the output to places of `x`, x first.
        output_size: spatial sizes of the result; None keeps those of `x`.
        mode: as in `grid_sample`.
        padding_mode: as in `grid_sample`.
        align_corners: as in `grid_sample`, for the output too.
        samples: places read along every axis of a cell.

    Returns:
        `(*batch, *output_size, channels)` in the dtype of `x`.

    Raises:
        TypeError: if `x` or `theta` is not floating or a size is not an integer.
        ValueError: if shapes do not fit or an option breaks its rule.

    Example:
        >>> x = jnp.asarray([[1.0, 2.0], [3.0, 4.0]])[..., None]
        >>> transpose = jnp.asarray([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
        >>> spatial_transform(x, transpose)[..., 0]
        Array([[1., 3.],
               [2., 4.]], dtype=float32)

    Source:
        Jaderberg, Simonyan, Zisserman, Kavukcuoglu 2015, "Spatial transformer
        networks", section 3.
    """
    name = "spatial_transform"
    x, theta = jnp.asarray(x), jnp.asarray(theta)
    rank = _check_theta(name, theta)
    sizes = _sizes(name, x, output_size, rank)
    samples = check_integer(name, "samples", samples, minimum=1)
    wide = theta.astype(wide_dtype(theta.dtype))
    grid = affine_of(wide, positions(sizes, align_corners, samples))
    if theta.shape[-2] == rank + 1:
        grid = project(grid)
    y = grid_sample(
        x.astype(wide_dtype(x.dtype)),
        grid,
        mode=mode,
        padding_mode=padding_mode,
        align_corners=align_corners,
    )
    if samples > 1:
        batch = y.shape[: y.ndim - rank - 1]
        for axis, size in enumerate(sizes, start=len(batch)):
            cut = (*y.shape[:axis], size, samples, *y.shape[axis + 1 :])
            y = y.reshape(cut).mean(axis + 1)
    return y.astype(x.dtype)


def warp_affine(
    x: ArrayLike,
    matrix: ArrayLike,
    *,
    output_size: Sequence[int] | None = None,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    samples: int = 1,
) -> jax.Array:
    """Move the content of an image by an affine map in pixels about its centre.

    What is p pixels from the centre of `x`, (right, down), goes to A p + t from the
    centre of the result, matrix = [A | t]. A rotation is one whatever the image's
    sides. `spatial_transform` with the inverse, in normalised units, does the reading.

    Args:
        x: `(*batch, *spatial, channels)`, floating.
        matrix: `(*batch, rank + 1, rank + 1)` or `(*batch, rank, rank + 1)`, x first:
            `rotation`, `translation`, `scaling`, `shear` and products of them.
        output_size: spatial sizes of the result; None keeps those of `x`.
        mode: as in `grid_sample`.
        padding_mode: as in `grid_sample`.
        samples: as in `spatial_transform`; take the shrinking factor, rounded up.

    Returns:
        `(*batch, *output_size, channels)` in the dtype of `x`.

    Raises:
        TypeError: if `x` or `matrix` is not floating or a size is not an integer.
        ValueError: if shapes do not fit or an option breaks its rule.

    Example:
        >>> from jaxnets.functional import translation
        >>> x = jnp.asarray([[1.0, 2.0], [3.0, 4.0]])[..., None]
        >>> warp_affine(x, translation(jnp.asarray([1.0, 0.0])))[..., 0]
        Array([[0., 1.],
               [0., 3.]], dtype=float32)

    Source:
        Wolberg 1990, "Digital image warping", chapter 3.
    """
    name = "warp_affine"
    x, matrix = jnp.asarray(x), jnp.asarray(matrix)
    rank = _check_theta(name, matrix, argument="matrix")
    sizes = _sizes(name, x, output_size, rank)
    half_in = np.asarray(x.shape[-rank - 1 : -1][::-1]) / 2
    half_out = np.append(np.asarray(sizes[::-1]) / 2, 1)
    back = inverse_affine(matrix.astype(wide_dtype(matrix.dtype)))[..., :rank, :]
    units = half_out[None, :] / half_in[:, None]
    units = jnp.asarray(units, back.dtype).reshape((1,) * (back.ndim - 2) + units.shape)
    return spatial_transform(
        x,
        back * units,
        output_size=sizes,
        mode=mode,
        padding_mode=padding_mode,
        samples=samples,
    )


def _check_theta(name: str, theta: jax.Array, argument: str = "theta") -> int:
    """The rank that theta is made for."""
    if not jnp.issubdtype(theta.dtype, jnp.floating):
        raise TypeError(f"{name}: {argument} must be floating; got {theta.dtype}")
    check_min_rank(name, argument, theta.shape, 2, "(*batch, rank, rank + 1)")
    rank = theta.shape[-1] - 1
    if rank not in (1, 2, 3) or theta.shape[-2] not in (rank, rank + 1):
        raise ValueError(
            f"{name}: {argument} must have shape (*batch, rank, rank + 1) or (*batch, "
            f"rank + 1, rank + 1) with rank 1 to 3; got {theta.shape}"
        )
    return rank


def _sizes(
    name: str, x: jax.Array, output_size: Sequence[int] | None, rank: int
) -> tuple[int, ...]:
    layout = f"(*batch, *spatial, channels) with {rank} spatial axes"
    check_min_rank(name, "x", x.shape, rank + 1, layout)
    sizes = x.shape[-rank - 1 : -1] if output_size is None else output_size
    return check_integers(name, "output_size", sizes, length=rank, minimum=1)

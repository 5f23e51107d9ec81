"""grid_sample: an image read at any places, with PyTorch's semantics."""

import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnets.functional import _sample_primitive
from jaxnets.functional._checks import check_choice, check_min_rank
from jaxnets.functional._dtypes import wide_dtype, widen
from jaxnets.functional._sample_window import MODES, PADDING_MODES, axis_window


def grid_sample(
    x: ArrayLike,
    grid: ArrayLike,
    *,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool = False,
) -> jax.Array:
    """Read an image at the places of a grid.

        y[o] = Σ_q x[q] Π_a k(place_a(grid[o]) − q_a)

    with k the triangle 1 − |d| (bilinear, trilinear), 1 at the nearest cell, or Keys'
    cubic with a = −0.75. Coordinates are normalised, x first (the last spatial axis),
    then y, then z: −1 and 1 are the ends of an axis of n cells. With `align_corners`
    the ends are the centres of the outermost cells, place = (g + 1)(n − 1) / 2;
    without, they are their outer edges, place = ((g + 1) n − 1) / 2.

    Linear in `x`, piecewise smooth in `grid`; where the slope jumps, at the centres of
    cells and on the border, the derivative is PyTorch's one-sided one. It is 0 for
    nearest. Forward mode, reverse mode and higher orders all work, and the sums of the
    gradients have a fixed order. The module `_sample_loops` says what they cost.

    Args:
        x: `(*batch, *spatial, channels)`, floating, one to three spatial axes.
        grid: `(*batch, *output, rank)`, floating; `rank` is the number of spatial
            axes and of output axes. The batch axes of both are broadcast.
        mode: `"bilinear"` (linear along every axis), `"nearest"` (halves to the even
            cell) or `"bicubic"`.
        padding_mode: what lies outside: `"zeros"`; `"border"`, the nearest cell; or
            `"reflection"` at the ends.
        align_corners: where the ends of an axis are, see above.

    Returns:
        `(*batch, *output, channels)` in the dtype of `x`. A coordinate that is NaN or
        infinite gives 0 in zeros; else NaN reads as −1, infinity as 1 or −1, its end
        of the axis, or as −1 if reflected. Its derivative is 0.

    Raises:
        TypeError: if `x` or `grid` is not floating.
        ValueError: if an option is unknown, the rank is not 1, 2 or 3, there are too
            few axes, the batch axes do not broadcast, or `x` has an empty spatial axis.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.asarray([[1.0, 2.0], [3.0, 4.0]])[..., None]
        >>> grid = jnp.asarray([[[0.0, 0.0], [0.5, -0.5], [1.5, -0.5]]])
        >>> grid_sample(x, grid)[..., 0]
        Array([[2.5, 2. , 0. ]], dtype=float32)

    Source:
        Jaderberg, Simonyan, Zisserman, Kavukcuoglu 2015, "Spatial transformer
        networks", section 3.3; Keys 1981, "Cubic convolution interpolation".
    """
    check_choice("grid_sample", "mode", mode, MODES)
    check_choice("grid_sample", "padding_mode", padding_mode, PADDING_MODES)
    x, wide = widen("grid_sample", x)
    grid = jnp.asarray(grid)
    if not jnp.issubdtype(grid.dtype, jnp.floating):
        raise TypeError(
            f"grid_sample: grid must be floating; got {grid.dtype} (its coordinates "
            "are normalised to [-1, 1])"
        )
    rank = _check_shapes(x.shape, grid.shape)
    spatial, output = x.shape[-rank - 1 : -1], grid.shape[-rank - 1 : -1]
    batch = _batch(x.shape[: -rank - 1], grid.shape[: -rank - 1])
    wide = _flat(wide, batch, x.shape[-rank - 1 :])
    places = _flat(grid, batch, grid.shape[-rank - 1 :]).reshape(
        math.prod(batch), math.prod(output), rank
    )
    start, weights = windows(
        places,
        spatial,
        mode=mode,
        padding_mode=padding_mode,
        align_corners=align_corners,
    )
    y = _sample_primitive.sample(wide, weights.astype(wide.dtype), start)
    return y.reshape(*batch, *output, x.shape[-1]).astype(x.dtype)


def windows(
    places: jax.Array, spatial: tuple[int, ...], **options
) -> tuple[jax.Array, jax.Array]:
    """The windows of cells of `(batch, places, rank)` coordinates, x first.

    Returns:
        `start (batch, places, rank)` in the order of the array, and the products of the
        axes' weights `(batch, places, *window)`.
    """
    rank = len(spatial)
    wide = places.astype(wide_dtype(places.dtype))
    starts, of_axes = [], []
    for axis, size in enumerate(spatial):
        start, of_axis = axis_window(wide[..., rank - 1 - axis], size, **options)
        starts.append(start)
        of_axes.append(of_axis)
    # Whole planes in sums and products: 3 times as fast as broadcasting short axes.
    products = [math.prod(factors) for factors in itertools.product(*of_axes)]
    window = tuple(map(len, of_axes))
    weights = jnp.stack(products, axis=1).reshape(len(wide), *window, wide.shape[1])
    return jnp.stack(starts, axis=1), weights


def _check_shapes(x: Sequence[int], grid: Sequence[int]) -> int:
    """The rank, if the shapes go together."""
    check_min_rank("grid_sample", "grid", grid, 2, "(*batch, *output, rank)")
    rank = grid[-1]
    if rank not in (1, 2, 3):
        raise ValueError(
            "grid_sample: the last axis of grid must have 1, 2 or 3 entries, one a "
            f"spatial axis of x, x first; got {rank} (grid.shape={tuple(grid)})"
        )
    rule = f"(*batch, *output, {rank}) for the {rank} coordinates of its last axis"
    check_min_rank("grid_sample", "grid", grid, rank + 1, rule)
    rule = f"(*batch, *spatial, channels) for {rank} coordinates in grid"
    check_min_rank("grid_sample", "x", x, rank + 1, rule)
    if 0 in x[-rank - 1 : -1]:
        raise ValueError(
            "grid_sample: x must have a cell along every spatial axis; got "
            f"x.shape={tuple(x)}"
        )
    return rank


def _batch(x: tuple[int, ...], grid: tuple[int, ...]) -> tuple[int, ...]:
    try:
        return jnp.broadcast_shapes(x, grid)
    except ValueError:
        raise ValueError(
            "grid_sample: the batch axes of x and grid must be broadcastable; got "
            f"{x} and {grid}"
        ) from None


def _flat(array: jax.Array, batch: tuple[int, ...], rest: tuple[int, ...]) -> jax.Array:
    """The array repeated over the batch axes, which become one."""
    own = array.shape[: array.ndim - len(rest)]
    if own != batch:
        array = array.reshape((1,) * (len(batch) - len(own)) + array.shape)
        array = jnp.broadcast_to(array, (*batch, *rest))
    return array.reshape(math.prod(batch), *rest)

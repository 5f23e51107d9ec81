"""From a normalised coordinate to the cells of one axis that it reads."""

import jax
import jax.numpy as jnp
from jax import lax

MODES = ("bilinear", "nearest", "bicubic")
PADDING_MODES = ("zeros", "border", "reflection")
# PyTorch's and OpenCV's choice of Keys' parameter; -0.5 is Catmull and Rom's.
CUBIC = -0.75


def axis_window(
    coordinate: jax.Array,
    size: int,
    *,
    mode: str,
    padding_mode: str,
    align_corners: bool,
) -> tuple[jax.Array, list[jax.Array]]:
    """The window of cells that a coordinate reads along one axis, and its weights.

    Args:
        coordinate: any shape, normalised: −1 and 1 are the two ends of the axis.
        size: cells of the axis, at least 1.
        mode: one of `MODES`.
        padding_mode: one of `PADDING_MODES`.
        align_corners: whether the ends are the centres of the outermost cells, or their
            outer edges.

    Returns:
        The first cell of each window, int32, and the weights of its cells in turn, all
        of the shape of `coordinate`. Windows lie in the axis: what padding adds to a
        cell is added to its weight, and what lies in zeros has none.
    """
    place = _place(coordinate, size, padding_mode, align_corners)
    if mode != "bicubic" and padding_mode != "zeros":
        # Bicubic sampling pads cell by cell, below; the others move the place.
        if padding_mode == "reflection":
            place = _reflect(place, size, align_corners)
        place = _clip(place, size)
    if mode == "nearest":
        first = jnp.round(place)
        weights = [jnp.ones_like(place)]
    elif mode == "bilinear":
        first = jnp.floor(place)
        right = place - first
        weights = [1 - right, right]
    else:
        first = jnp.floor(place) - 1
        weights = _cubic_weights(place - jnp.floor(place))
    cells = [first + i for i in range(len(weights))]
    if mode == "bicubic" and padding_mode == "reflection":
        cells = [_reflect(cell, size, align_corners) for cell in cells]
    # Cells beyond the axis have no weight: in zeros they add nothing, and the second
    # cell of a bilinear place on the border has the weight 0 anyway.
    in_axis = mode == "bicubic" and padding_mode != "zeros"
    outermost = (0, size - 1) if in_axis else (-1, size)
    cells = [jnp.clip(cell, *outermost).astype(jnp.int32) for cell in cells]
    return _fit(cells, weights, size)


def _place(
    coordinate: jax.Array, size: int, padding_mode: str, align_corners: bool
) -> jax.Array:
    """The coordinate counted in cells from the centre of cell 0, and finite.

    What is not finite lies outside in zeros. Else NaN stands for −1, and infinity for
    1 or −1, its end of the axis, or for −1 too where it would be reflected.
    """

    def placed(coordinate: jax.Array) -> jax.Array:
        if align_corners:
            return (coordinate + 1) * ((size - 1) / 2)
        return (coordinate + 1) * (size / 2) - 0.5

    place = placed(coordinate)
    first = jnp.full_like(place, -1)
    if padding_mode == "zeros":
        instead = jnp.full_like(place, -8)
    elif padding_mode == "border":
        # The end of the axis, not the centre of its last cell: bicubic windows around
        # the two differ.
        instead = placed(jnp.where(coordinate > 0, -first, first))
    else:
        instead = placed(first)
    return jnp.where(jnp.isfinite(place), place, instead)


def _clip(place: jax.Array, size: int) -> jax.Array:
    """Into the axis; the derivative is 0 on its two ends too, as PyTorch has it."""
    return jnp.where(place <= 0, 0, jnp.where(place >= size - 1, size - 1, place))


def _reflect(place: jax.Array, size: int, align_corners: bool) -> jax.Array:
    """Mirrored at the centres of the outermost cells, or at their outer edges."""
    low, span = (0.0, size - 1) if align_corners else (-0.5, size)
    if span == 0:
        return jnp.zeros_like(place)
    period = jnp.asarray(2 * span, place.dtype)
    there = lax.rem(jnp.abs(place - low), jnp.broadcast_to(period, place.shape))
    return jnp.where(there > span, period - there, there) + low


def _cubic_weights(t: jax.Array) -> list[jax.Array]:
    """Of the cells at −1, 0, 1 and 2 from the one before the place: Keys' kernel."""

    def near(d):
        return ((CUBIC + 2) * d - (CUBIC + 3)) * d * d + 1

    def far(d):
        return ((CUBIC * d - 5 * CUBIC) * d + 8 * CUBIC) * d - 4 * CUBIC

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


def _fit(
    cells: list[jax.Array], weights: list[jax.Array], size: int
) -> tuple[jax.Array, list[jax.Array]]:
    """Gather the weights of cells into a window that lies in the axis."""
    window = min(len(cells), size)
    first = cells[0]
    for cell in cells[1:]:
        first = jnp.minimum(first, cell)
    start = jnp.clip(first, 0, size - window)
    found = []
    for j in range(window):
        parts = [
            jnp.where(cell == start + j, weight, 0)
            for cell, weight in zip(cells, weights, strict=True)
        ]
        found.append(sum(parts[1:], parts[0]))
    return start, found

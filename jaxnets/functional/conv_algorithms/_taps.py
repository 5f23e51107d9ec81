"""What each tap of the window sees of a padded input."""

from collections.abc import Iterator
from itertools import product

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.functional._shapes import dilated_size
from jaxnets.functional.conv_algorithms._spec import ConvSpec


def tap_views(
    padded: jax.Array,
    spec: ConvSpec,
    window: tuple[int, ...],
    positions: tuple[int, ...],
) -> Iterator[jax.Array]:
    """For every tap in row-major order what it meets: `(batch, *positions, in)`."""
    for tap in product(*map(range, window)):
        view = padded
        for axis, place in enumerate(tap):
            view = _view(view, 1 + axis, place, axis, spec, positions)
        yield view


def patches(
    padded: jax.Array,
    spec: ConvSpec,
    window: tuple[int, ...],
    positions: tuple[int, ...],
) -> jax.Array:
    """Every window as one row: `(batch, *positions, taps · in)`.

    One axis after the other, from the last: window sizes are added, not multiplied, in
    the number of slices (14 instead of 49 for 7x7), which is what takes long to
    compile, and all but the first copy long runs.
    """
    for axis in reversed(range(len(window))):
        views = [
            _view(padded, 1 + axis, tap, axis, spec, positions)
            for tap in range(window[axis])
        ]
        padded = jnp.concatenate(views, axis=-1) if len(views) > 1 else views[0]
    return padded


def stacked_views(
    padded: jax.Array,
    spec: ConvSpec,
    window: tuple[int, ...],
    positions: tuple[int, ...],
) -> jax.Array:
    """The views of all taps: `(*window, batch, *positions, in)`, axis after axis."""
    for done, axis in enumerate(reversed(range(len(window)))):
        views = [
            _view(padded, done + 1 + axis, tap, axis, spec, positions)
            for tap in range(window[axis])
        ]
        padded = jnp.stack(views)
    return padded


def _view(
    x: jax.Array,
    where: int,
    tap: int,
    axis: int,
    spec: ConvSpec,
    positions: tuple[int, ...],
) -> jax.Array:
    """What one tap of one spatial axis meets, which is axis `where` of x."""
    first = tap * spec.dilation[axis]
    last = first + dilated_size(positions[axis], spec.strides[axis])
    return lax.slice_in_dim(x, first, last, spec.strides[axis], where)

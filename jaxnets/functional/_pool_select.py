"""Maximum and minimum over windows with their own derivative.

A window's maximum is one of its cells, y = x[i], so its derivative is that of the
selected cell: dy = dx[i]. Among equal cells the first is selected, as PyTorch does; a
NaN beats every number, and the last NaN of a window is selected, also as PyTorch does.
The rule is linear in dx and made of slices, sums and `where`, so forward mode, reverse
mode and higher orders follow. XLA's own gradient (`select_and_scatter`) knows no
dilation and took 20 times as long on CPU (2×2, 128×24×24×64).
"""

from collections.abc import Callable
from functools import partial, reduce, wraps
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnets.functional._pool_blocks import blocks_of, selected
from jaxnets.functional._pool_geometry import Geometry, empty_result, fit, no_windows
from jaxnets.functional._pool_stages import Kind, Stage, lowest, stages_of


def extreme(x: jax.Array, geometry: Geometry, kind: Kind) -> jax.Array:
    """The largest (smallest) cell of every window of a channels-last x."""
    if no_windows(geometry):
        return empty_result(x, geometry, x.ndim - len(geometry) - 1)
    for stage in stages_of(geometry):
        x = _extreme(x, stage, kind)
    return x


def extreme_with_indices(
    x: jax.Array, geometry: Geometry, kind: Kind
) -> tuple[jax.Array, jax.Array]:
    """The same, and the flat place of the selected cell in its plane, as int32."""
    if no_windows(geometry):
        y = empty_result(x, geometry, x.ndim - len(geometry) - 1)
        return y, y.astype(jnp.int32)
    sizes = [a.size for a in geometry]
    batch = (1,) * (x.ndim - len(sizes) - 1)
    places = jnp.arange(prod(sizes), dtype=jnp.int32).reshape(*batch, *sizes, 1)
    # Added to zeros, not broadcast: so they are cut over a mesh as x is.
    places = places + jnp.zeros_like(x, jnp.int32)
    for stage in stages_of(geometry):
        x, tap = _select(x, stage, kind)
        places = selected(places, tap, stage)
    return x, places


def _one_program(function: Callable) -> Callable:
    """The function of x, stage and kind as one operation for the debugging modes.

    Padding is infinite, and `jax_debug_infs` reports an infinite array wherever it
    meets one between two compiled programs. An enclosing program takes the operations
    in one by one, as without this.
    """
    compiled = jax.jit(function, static_argnums=(1, 2), inline=True)

    @wraps(function)
    def run(x: jax.Array, stage: Stage, kind: Kind) -> Any:
        with jax.disable_jit(False):
            return compiled(x, stage, kind)

    return run


@partial(jax.custom_jvp, nondiff_argnums=(1, 2))
@_one_program
def _extreme(x: jax.Array, stage: Stage, kind: Kind) -> jax.Array:
    if stage.whole:
        blocks = blocks_of(x, stage, lowest(x, kind))
        reducer = jnp.max if kind == "max" else jnp.min
        return reducer(blocks, stage.inner_axes(x.ndim))
    larger = jnp.maximum if kind == "max" else jnp.minimum
    return reduce(larger, _taps(x, stage, kind))


@_extreme.defjvp
def _extreme_jvp(stage, kind, primals, tangents):
    y, tap = _select(primals[0], stage, kind)
    return y, selected(tangents[0], tap, stage)


@partial(jax.custom_jvp, nondiff_argnums=(1, 2))
@_one_program
def _select(x: jax.Array, stage: Stage, kind: Kind) -> tuple[jax.Array, jax.Array]:
    """The extreme cell of each window and the number of the tap that saw it."""
    if stage.whole:
        return _select_whole(x, stage, kind)
    beats = lax.gt if kind == "max" else lax.lt
    best, *others = _taps(x, stage, kind)
    # Padding never beats data, but data may equal it (−inf): begin at the first tap
    # that sees data, so that the selected cell is always one of x.
    tap = jnp.broadcast_to(stage.first_taps(x.ndim), best.shape)
    for number, value in enumerate(others, start=1):
        won = beats(value, best) | (value != value)
        best = jnp.where(won, value, best)
        tap = jnp.where(won, jnp.asarray(number, tap.dtype), tap)
    return best, tap


@_select.defjvp
def _select_jvp(stage, kind, primals, tangents):
    y, tap = _select(primals[0], stage, kind)
    dy = selected(tangents[0], tap, stage)
    return (y, tap), (dy, np.zeros(tap.shape, jax.dtypes.float0))


def _select_whole(
    x: jax.Array, stage: Stage, kind: Kind
) -> tuple[jax.Array, jax.Array]:
    """The same for windows side by side: reductions, however many taps there are."""
    inner = stage.inner_axes(x.ndim)
    blocks = blocks_of(x, stage, lowest(x, kind))
    best = (jnp.max if kind == "max" else jnp.min)(blocks, inner, keepdims=True)
    number = stage.tap_numbers(x.ndim, (0,) * len(stage.windows))
    # Smallest key wins: the first equal cell, but the last NaN before any of them.
    none = jnp.asarray(stage.taps, number.dtype)
    key = jnp.where(blocks == best, number, none)
    if stage.padded:
        key = jnp.where(stage.real_blocks(x.ndim), key, none)
    key = jnp.where(blocks != blocks, -1 - number, key)
    key = jnp.min(key, inner)
    return jnp.squeeze(best, inner), jnp.where(key < 0, -1 - key, key)


def _taps(x: jax.Array, stage: Stage, kind: Kind) -> list[jax.Array]:
    """What each tap sees, as strided slices, in row-major order of the window."""
    first = x.ndim + stage.axis
    fill = lowest(x, kind)
    for axis, a in enumerate(stage.windows, start=first):
        x = fit(x, axis, a, fill)
    return stage.tap_slices(x)

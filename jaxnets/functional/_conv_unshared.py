"""The product of patches with kernels that differ from position to position.

`local_conv` is the case of as many tiles as positions.
"""

import itertools
from collections.abc import Sequence
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from jaxnets.functional import _conv_primitive
from jaxnets.functional._checks import check_integer, check_integers
from jaxnets.functional._conv_accuracy import is_relaxed
from jaxnets.functional._conv_canonical import _precision, common_dtype
from jaxnets.functional._conv_plan import ConvPlan
from jaxnets.functional._dtypes import wide_dtype
from jaxnets.functional._pool_geometry import (
    Geometry,
    fit,
    from_channels_last,
    no_windows,
    pool_geometry,
    to_channels_last,
)
from jaxnets.functional._shapes import DataFormat, IntOrInts, Padding, dilated_size
from jaxnets.functional._unfold import taps
from jaxnets.functional.conv_algorithms import ConvSpec
from jaxnets.functional.conv_algorithms._varying import zeros_varying

# Up to 2×2 tiles each is a convolution of its own, 32×28×28×32 → 32 in 13 ms where the
# product of patches takes 56 ms. With 4×4 tiles a training step takes 73 and 34 ms.
MOST_PHASES = 4
AUTO = ConvPlan()


def unshared_conv(
    function: str,
    arrays: tuple[ArrayLike, ArrayLike, ArrayLike | None],
    windows: tuple[IntOrInts, Padding, IntOrInts],
    groups: int,
    data_format: DataFormat,
    precision: Any,
    accuracy: str | None,
    preferred: DTypeLike | None,
) -> jax.Array:
    """Checks, canonical form, product and bias of the two functions."""
    x, kernel = jnp.asarray(arrays[0]), jnp.asarray(arrays[1])
    each = "positions" if function == "local_conv" else "tiles"
    if kernel.ndim < 4 or kernel.ndim % 2:
        raise ValueError(
            f"{function}: kernel must be (*{each}, *window, in // groups, out), two "
            f"axes a spatial axis and two; got kernel.shape={kernel.shape}"
        )
    rank = kernel.ndim // 2 - 1
    strides, padding, dilation = windows
    strides = check_integers(function, "strides", strides, length=rank, minimum=1)
    geometry = pool_geometry(
        function,
        x.shape,
        kernel.shape[rank : 2 * rank],
        strides=strides,
        padding=padding,
        dilation=dilation,
        ceil_mode=False,
        data_format=data_format,
    )
    groups = check_integer(function, "groups", groups, minimum=1)
    relaxed = is_relaxed(function, accuracy)
    shapes = f"x.shape={x.shape}, kernel.shape={kernel.shape}"
    counts, (fan_in, out) = kernel.shape[:rank], kernel.shape[-2:]
    positions = tuple(a.outputs for a in geometry)
    if function == "local_conv" and counts != positions:
        raise ValueError(
            f"{function}: kernel is made for positions {counts} but x has {positions} "
            f"({shapes}, strides={strides}, padding={padding!r})"
        )
    # An empty axis of x has no positions, and no kernels of its own.
    least = 0 if function == "local_conv" else 1
    check_integers(function, f"kernel's {each}", counts, length=rank, minimum=least)
    x = to_channels_last(x, rank, data_format)
    if fan_in * groups != x.shape[-1]:
        raise ValueError(
            f"{function}: kernel has {groups} groups of {fan_in} input channels but x "
            f"has {x.shape[-1]} ({shapes})"
        )
    if out % groups:
        raise ValueError(
            f"{function}: groups must divide the output channels; got {out} channels "
            f"in {groups} groups ({shapes})"
        )
    dtype = common_dtype(function, (x, kernel), preferred)
    wide = wide_dtype(dtype)
    batch = x.shape[: -rank - 1]
    x = x.reshape(prod(batch), *x.shape[-rank - 1 :]).astype(dtype)
    kernel = _first(kernel.astype(dtype), range(rank), positions)
    if no_windows(geometry):
        y = zeros_varying((len(x), *positions, out), wide, x)
    else:
        phases = prod(kernel.shape[:rank])
        if phases <= MOST_PHASES:
            y = _phases(x, kernel, geometry, groups, precision, relaxed)
        else:
            y = _patches(x, kernel, geometry, groups, precision)
        y = y.astype(wide)
        y = _first(y, range(1, rank + 1), positions)
    if arrays[2] is not None:
        bias = jnp.asarray(arrays[2])
        if bias.shape not in ((out,), (*counts, out)):
            raise ValueError(
                f"{function}: bias must have shape {(out,)} or {(*counts, out)}; got "
                f"{bias.shape}"
            )
        if bias.ndim > 1:
            times = (-(-n // t) for n, t in zip(positions, counts, strict=True))
            bias = _first(jnp.tile(bias, (*times, 1)), range(rank), positions)
        y = y + jnp.broadcast_to(bias.astype(wide), y.shape)
    y = y.astype(dtype).reshape(*batch, *y.shape[1:])
    return from_channels_last(y, rank, data_format)


def _first(array: jax.Array, axes: Sequence[int], counts: Sequence[int]) -> jax.Array:
    """The first of the entries along each of these axes, at most so many."""
    stop = list(array.shape)
    for axis, count in zip(axes, counts, strict=True):
        stop[axis] = min(stop[axis], count)
    return lax.slice(array, [0] * array.ndim, stop)


def _whole_turns(geometry: Geometry, tiles: Sequence[int]) -> Geometry:
    """The windows, and as many behind them as make the last turn of tiles whole."""
    return tuple(
        a._replace(outputs=-(-a.outputs // t) * t)
        for a, t in zip(geometry, tiles, strict=True)
    )


def _patches(
    x: jax.Array, kernel: jax.Array, geometry: Geometry, groups: int, precision: Any
) -> jax.Array:
    """All patches times the kernel of their tile: one product, batched over tiles.

    Positions lead in the patches, as the product wants them: 16×28×28×16 → 32 takes
    4.4 ms forward and 17 ms in training where batch first takes 4.9 and 24 ms.
    """
    rank = len(geometry)
    tiles = kernel.shape[:rank]
    patches = taps(jnp.moveaxis(x, 0, -2), _whole_turns(geometry, tiles), 0)
    for i in reversed(range(rank)):
        turns = patches.shape[i] // tiles[i]
        shape = patches.shape
        patches = patches.reshape(*shape[:i], turns, tiles[i], *shape[i + 1 :])
    window = prod(kernel.shape[rank : 2 * rank])
    fan_in, out = kernel.shape[-2:]
    # (turns, tiles, turns, tiles, ..., batch, window, groups, fan_in)
    patches = patches.reshape(*patches.shape[:-1], window, groups, fan_in)
    weights = kernel.reshape(*tiles, window, fan_in, groups, out // groups)
    of_tiles = [2 * i + 1 for i in range(rank)]
    y = lax.dot_general(
        patches,
        weights,
        (
            ((2 * rank + 1, 2 * rank + 3), (rank, rank + 1)),
            ((*of_tiles, 2 * rank + 2), (*range(rank), rank + 2)),
        ),
        precision=precision,
        preferred_element_type=wide_dtype(x.dtype),
    )
    # (tiles, ..., groups, turns, ..., batch, out // groups)
    order = [axis for i in range(rank) for axis in (rank + 1 + i, i)]
    y = y.transpose(2 * rank + 1, *order, rank, 2 * rank + 2)
    return _merge(y, rank)


def _phases(
    x: jax.Array,
    kernel: jax.Array,
    geometry: Geometry,
    groups: int,
    precision: Any,
    relaxed: bool,
) -> jax.Array:
    """One convolution a tile, at that many times the stride, and their interleaving."""
    rank = len(geometry)
    tiles, whole = kernel.shape[:rank], _whole_turns(geometry, kernel.shape[:rank])
    for axis, a in enumerate(whole, start=1):
        x = fit(x, axis, a, jnp.zeros((), x.dtype))
    turns = [a.outputs // t for a, t in zip(whole, tiles, strict=True)]
    steps = tuple(a.stride * t for a, t in zip(whole, tiles, strict=True))
    spec = ConvSpec(
        steps,
        ((0, 0),) * rank,
        tuple(a.dilation for a in whole),
        groups,
        _precision(precision),
        relaxed,
    )
    parts = []
    for tile in itertools.product(*map(range, tiles)):
        start, stop = [0] * x.ndim, list(x.shape)
        for axis, (a, t) in enumerate(zip(whole, tile, strict=True), start=1):
            start[axis] = t * a.stride
            reach = (turns[axis - 1] - 1) * steps[axis - 1]
            stop[axis] = start[axis] + reach + dilated_size(a.taps, a.dilation)
        part = lax.slice(x, start, stop)
        parts.append(_conv_primitive.conv(part, kernel[tile], spec, AUTO))
    # One axis of tiles at a time: `receptive_field` follows a stack whose parts are
    # evenly spaced.
    for count in reversed(tiles):
        parts = [
            jnp.stack(parts[i : i + count], 1 + rank)
            for i in range(0, len(parts), count)
        ]
    (y,) = parts
    order = [axis for i in range(rank) for axis in (1 + i, 1 + rank + i)]
    y = y.transpose(0, *order, y.ndim - 1)
    return _merge(y[..., None, :], rank)


def _merge(y: jax.Array, rank: int) -> jax.Array:
    """`(batch, turns, tiles, turns, tiles, ..., groups, rest)` as a batch of images."""
    # One pair at a time: JAX merges no two in one reshape on a mesh with explicit axes.
    for axis in range(1, rank + 2):
        cells = y.shape[axis] * y.shape[axis + 1]
        y = y.reshape(*y.shape[:axis], cells, *y.shape[axis + 2 :])
    return y

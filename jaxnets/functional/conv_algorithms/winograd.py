"""Convolution with windows of 3 cells by Winograd's minimal filtering, tile by tile.

    y = Aᵀ [(G k) ⊙ (Bᵀ x)]    along every axis, for tiles of m outputs

A tile of m outputs takes m + 2 products an axis instead of 3 m: with m = 4 in two
dimensions 36 instead of 144. The products over channels are matrix products, one for
each of the (m + 2)^rank components; the transforms of all axes are one product with a
Kronecker matrix, which XLA runs 2 to 3 times faster than chains of additions.

Cost: 2 · tiles · (m + 2)^rank · in · out / groups flops, and transforms: two of
    2 · (m + 2)^(2 rank) flops a tile and channel, one of 2 · (3 m + 6)^rank flops a
    channel of the kernel, which a small image with many channels does not repay.
Memory: tiles of about `BUFFER_BYTES` at a time.
Accuracy: relative error to float64 below 1e-5 in float32 (4e-7 for m = 2, 2e-6 for
    m = 4 are typical); halves are transformed in float32.
Does not support: windows other than 3 along every axis, strides, dilation, integers,
    complex numbers, more than 3 spatial axes.
Choose it: dense 3x3 windows with at least 32 channels each way.
"""

from functools import reduce
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnets.functional._dtypes import wide_dtype
from jaxnets.functional.conv_algorithms._blocks import (
    Blocks,
    cut,
    map_blocks,
    output_rows,
    sum_blocks,
)
from jaxnets.functional.conv_algorithms._groups import join_groups, split_groups
from jaxnets.functional.conv_algorithms._phases import input_grad_by
from jaxnets.functional.conv_algorithms._scratch import padded
from jaxnets.functional.conv_algorithms._spec import (
    ConvFacts,
    ConvSpec,
    Work,
    copied_bytes,
)
from jaxnets.functional.conv_algorithms._taps import tile_views
from jaxnets.functional.conv_algorithms._winograd_matrices import (
    INPUT,
    KERNEL,
    OUTPUT,
)

BUFFER_BYTES = 8 << 20
MOST_AXES = 3
FRESH_BYTES, FRESH_CALL_BYTES, REUSED_BYTES = 32 << 20, 32 << 10, 4 << 20
"""Tiles of 4 an axis would have 216 components in three dimensions; 2 gives 64.

A transformed kernel of more than `FRESH_BYTES` is fresh memory in every call on CPU,
and one of more than `REUSED_BYTES` within a network (`Work.fresh`): writing
`FRESH_CALL_BYTES` of it takes about as long as a call (512 x 512 channels: 20 to 40 ms,
whatever the image).
"""


def forward(x: jax.Array, kernel: jax.Array, spec: ConvSpec) -> jax.Array:
    """Tile by tile: transform, multiply component by component, transform back."""
    *window, fan_in, out = kernel.shape
    rank, positions = len(window), spec.positions(x.shape[1:-1], tuple(window))
    m = tile_size(positions)
    tiled = _tiled(spec, positions, m)
    tiles, components = _tiles(positions, m), (m + 2) ** rank
    wide = wide_dtype(x.dtype)
    weights = _product(KERNEL, m, rank, kernel.astype(wide), spec)
    weights = _by_group(weights.reshape(components, fan_in, out), spec.groups)

    def some(padded: jax.Array) -> jax.Array:
        here = (output_rows(padded, tiled, (2 * m,)), *tiles[1:])
        cells = split_groups(padded, spec.groups)
        split = _transform(INPUT, cells, m + 2, here, tiled)
        y = _dot(split, weights, 2, 1, spec).reshape(components, -1)
        y = jnp.matmul(_kronecker(OUTPUT, m, rank, wide), y, precision=spec.precision)
        y = y.astype(x.dtype).reshape(
            *(m,) * rank, len(cells), *here, out // spec.groups
        )
        order = [rank]
        for axis in range(rank):
            order += [rank + 1 + axis, axis]
        return join_groups(y.transpose(*order, 2 * rank + 1), spec.groups)

    blocks = _cut(x, out, tiles, components)
    y = map_blocks(some, x, tiled, (2 * m,) * rank, tiles, blocks)
    whole = y.reshape(len(x), *(n * m for n in tiles), out)
    return lax.slice(whole, (0,) * whole.ndim, (len(x), *positions, out))


def input_grad(
    g: jax.Array, kernel: jax.Array, spec: ConvSpec, spatial: tuple[int, ...]
) -> jax.Array:
    """The convolution of g with the window turned over."""
    return input_grad_by(forward, g, kernel, spec, spatial)


def kernel_grad(
    x: jax.Array, g: jax.Array, spec: ConvSpec, window: tuple[int, ...]
) -> jax.Array:
    """Gᵀ [Σ (Bᵀ x) (A g)ᵀ] G: the transpose of `forward` in the kernel."""
    rank, positions = len(window), g.shape[1:-1]
    m = tile_size(positions)
    tiled = _tiled(spec, positions, m)
    tiles, components = _tiles(positions, m), (m + 2) ** rank
    out, fan_in = g.shape[-1], x.shape[-1] // spec.groups
    missing = [(0, n * m - size) for n, size in zip(tiles, positions, strict=True)]
    whole = jnp.pad(g, [(0, 0), *missing, (0, 0)])
    by_tile_row = whole.reshape(len(g), tiles[0], m, *whole.shape[2:])

    def some(padded: jax.Array, g: jax.Array) -> jax.Array:
        here = (g.shape[1], *tiles[1:])
        cells = split_groups(padded, spec.groups)
        split = _transform(INPUT, cells, m + 2, here, tiled)
        rows = split_groups(g, spec.groups)
        rows = rows.reshape(len(rows), rows.shape[1] * m, *rows.shape[3:])
        spread = _transform(OUTPUT, rows, m, here, tiled)
        return _dot(split, spread, 1, 1, spec)

    # Every block adds to the sum, which should not be more to move than its tiles.
    moved = components * fan_in * out * wide_dtype(x.dtype).itemsize
    blocks = _cut(x, out, tiles, components, moved)
    total = sum_blocks(some, x, by_tile_row, tiled, (2 * m,) * rank, blocks)
    total = _ungroup(total, spec.groups).reshape(components, -1)
    back = _kronecker(KERNEL, m, rank, total.dtype).T
    dk = jnp.matmul(back, total, precision=spec.precision)
    return dk.reshape(*window, fan_in, out).astype(x.dtype)


def unsupported(facts: ConvFacts) -> str | None:
    """Windows, steps and dtypes that the tiles are not made for."""
    if set(facts.window) != {3}:
        return f"needs a window of 3 cells along every axis; got {facts.window}"
    if set(facts.spec.strides) != {1}:
        return f"needs strides of 1; got {facts.spec.strides}"
    if set(facts.spec.dilation) != {1}:
        return f"needs a dilation of 1; got {facts.spec.dilation}"
    if len(facts.window) > MOST_AXES:
        return f"has tiles for {MOST_AXES} spatial axes at most; got {facts.window}"
    if not jnp.issubdtype(facts.dtype, jnp.floating):
        return f"works on floating-point numbers; got {facts.dtype} (cast x and kernel)"
    return None


def work(part: str, facts: ConvFacts) -> Work:
    """Products a component and the transforms; all tiles are written and read."""
    rank = len(facts.window)
    results = facts.spatial if part == "input_grad" else facts.positions
    m = tile_size(results)
    tiles = facts.batch * prod(_tiles(results, m))
    components, size = (m + 2) ** rank, max(4, jnp.dtype(facts.dtype).itemsize)
    products = 2 * tiles * components * facts.fan_in * facts.out
    inputs, outputs = components**2, components * m**rank
    transforms = 2 * tiles * (facts.channels * inputs + facts.out * outputs)
    kernels = components * facts.fan_in * facts.out
    transforms += 2 * prod(facts.window) * kernels
    groups = facts.spec.groups
    touched = 2 * kernels * size
    touched += 2 * sum(
        copied_bytes(tiles * components * groups, channels, size)
        for channels in (facts.fan_in, facts.fan_out)
    )
    position = components * (facts.channels + facts.out) * size
    blocks = cut(facts.batch, _tiles(results, m), position, BUFFER_BYTES)
    calls = blocks.number(facts.batch, _tiles(results, m)) * (components + 4)
    fresh = kernels * size
    if fresh > FRESH_BYTES:
        calls += fresh // FRESH_CALL_BYTES
    if not REUSED_BYTES < fresh <= FRESH_BYTES:
        fresh = 0
    return Work(products + transforms, touched, calls, "dense", fresh)


def scratch(part: str, facts: ConvFacts) -> float:
    """The kernel's transform, a block of tiles and what it is cut from."""
    results = facts.spatial if part == "input_grad" else facts.positions
    size, m = jnp.dtype(wide_dtype(facts.dtype)).itemsize, tile_size(results)
    components, tiles = (m + 2) ** len(results), _tiles(results, m)
    position = components * (facts.channels + facts.out) * size
    blocks = cut(facts.batch, tiles, position, BUFFER_BYTES)
    block = blocks.images * blocks.rows * prod(tiles[1:]) * position
    images = facts.batch if blocks.rows < tiles[0] else blocks.images
    kernels = size * components * facts.fan_in * facts.out
    return 2.0 * (block + kernels) + images * padded(part, facts)


def tile_size(positions: tuple[int, ...]) -> int:
    """4 or 2 outputs a tile, whichever takes fewer products; 2 in three dimensions."""
    if len(positions) > 2:
        return 2
    rank = len(positions)
    return min(4, 2, key=lambda m: prod(_tiles(positions, m)) * (m + 2) ** rank)


def _tiles(positions: tuple[int, ...], m: int) -> tuple[int, ...]:
    return tuple(-(-size // m) for size in positions)


def _tiled(spec: ConvSpec, positions: tuple[int, ...], m: int) -> ConvSpec:
    """The tiles as windows of 2 m cells at strides of m, the last one filled up."""
    padding = tuple(
        (lo, hi + tiles * m - size + m - 2)
        for (lo, hi), tiles, size in zip(
            spec.padding, _tiles(positions, m), positions, strict=True
        )
    )
    return spec._replace(strides=(m,) * len(positions), padding=padding)


def _transform(
    matrices: dict,
    cells: jax.Array,
    reach: int,
    tiles: tuple[int, ...],
    tiled: ConvSpec,
) -> jax.Array:
    """Components of every tile: `(components, [groups,] images · tiles, channels)`."""
    m, rank, channels = tiled.strides[0], len(tiles), cells.shape[-1]
    views = tile_views(cells, m, reach, tiles)
    wide = wide_dtype(cells.dtype)
    matrix = _kronecker(matrices, m, rank, wide)
    taps = reach**rank
    matrix = matrix if matrix.shape[1] == taps else matrix.T
    flat = views.astype(wide).reshape(taps, prod(views.shape[rank:]))
    components = jnp.matmul(matrix, flat, precision=tiled.precision)
    rows = len(cells) * prod(tiles)
    if tiled.groups == 1:
        return components.reshape(len(components), rows, channels)
    each = rows // tiled.groups
    return components.reshape(len(components), tiled.groups, each, channels)


def _by_group(x: jax.Array, groups: int) -> jax.Array:
    """`(..., in, out)` to `(..., groups, in, out // groups)`."""
    if groups == 1:
        return x
    split = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
    return jnp.moveaxis(split, -2, -3)


def _ungroup(x: jax.Array, groups: int) -> jax.Array:
    """Undo `_by_group`."""
    if groups == 1:
        return x
    joined = jnp.moveaxis(x, -3, -2)
    return joined.reshape(*joined.shape[:-2], groups * x.shape[-1])


def _dot(
    a: jax.Array, b: jax.Array, sum_a: int, sum_b: int, spec: ConvSpec
) -> jax.Array:
    """A product a component and group; axes to sum over counted without groups."""
    batch = tuple(range(a.ndim - 2))
    more = len(batch) - 1
    return lax.dot_general(
        a,
        b,
        (((sum_a + more,), (sum_b + more,)), (batch, batch)),
        precision=spec.precision,
    )


def _kronecker(matrices: dict, m: int, rank: int, dtype: np.dtype) -> jax.Array:
    """The transform of all axes as one matrix."""
    one = np.array(matrices[m], np.float64)
    return jnp.asarray(reduce(np.kron, [one] * rank), dtype)


def _cut(
    x: jax.Array, out: int, tiles: tuple[int, ...], components: int, least: int = 0
) -> Blocks:
    size = wide_dtype(x.dtype).itemsize
    position = components * (x.shape[-1] + out) * size
    return cut(len(x), tiles, position, max(BUFFER_BYTES, least))


def _product(matrices, m, rank, kernel, spec) -> jax.Array:
    taps = kernel.reshape(3**rank, -1)
    return jnp.matmul(
        _kronecker(matrices, m, rank, kernel.dtype), taps, precision=spec.precision
    )

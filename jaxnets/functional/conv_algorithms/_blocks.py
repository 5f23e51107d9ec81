"""Walking through a batch a few images, or a few rows of one image, at a time.

What an algorithm makes between its input and its output (patches, tiles, spectra) is
larger than both. Made for the whole batch it goes through main memory; made for a
block it stays in the cache, which is 2 to 4 times faster on CPU.
"""

from collections.abc import Callable
from math import prod
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.functional._shapes import dilated_size
from jaxnets.functional.conv_algorithms._spec import ConvSpec
from jaxnets.functional.conv_algorithms._varying import zeros_varying

Block = Callable[..., jax.Array]


class Blocks(NamedTuple):
    """How the output is cut: so many images, or so many rows of one image, a block."""

    images: int
    rows: int

    def number(self, batch: int, positions: tuple[int, ...]) -> int:
        """How many blocks there are."""
        return -(-batch // self.images) * -(-positions[0] // max(self.rows, 1))


def cut(
    batch: int,
    positions: tuple[int, ...],
    position_bytes: int,
    limit: int,
    image_limit: int = 0,
) -> Blocks:
    """Blocks whose buffer takes about `limit` bytes, at `position_bytes` a position.

    An image of up to `image_limit` bytes stays whole. Rows are shared out evenly:
    without a rest if up to twice as many blocks allow it, or else so that the last
    block is hardly smaller.
    """
    image = max(1, prod(positions) * position_bytes)
    if image <= max(limit, image_limit) or positions[0] <= 1:
        return Blocks(max(1, min(batch, limit // image)), max(1, positions[0]))
    parts = min(positions[0], -(-image // limit))
    even = (n for n in range(parts, 2 * parts) if positions[0] % n == 0)
    return Blocks(1, -(-positions[0] // next(even, parts)))


def pad(x: jax.Array, spec: ConvSpec) -> jax.Array:
    """X with its padding of zeros written out."""
    widths = [(0, 0, 0), *((lo, hi, 0) for lo, hi in spec.padding), (0, 0, 0)]
    return lax.pad(x, jnp.zeros((), x.dtype), widths)


def output_rows(padded: jax.Array, spec: ConvSpec, window: tuple[int, ...]) -> int:
    """How many rows of output a padded block gives."""
    span = dilated_size(window[0], spec.dilation[0])
    return (padded.shape[1] - span) // spec.strides[0] + 1


def map_blocks(
    some: Block,
    x: jax.Array,
    spec: ConvSpec,
    window: tuple[int, ...],
    positions: tuple[int, ...],
    blocks: Blocks,
) -> jax.Array:
    """The output, `some(padded)` block after block.

    Args:
        some: padded part of x `(images, *cells, in)` to `(images, rows, ..., out)`.
        x: `(batch, *spatial, in)`, not yet padded.
        spec: what the convolution does.
        window: its window.
        positions: spatial sizes of the output.
        blocks: how to cut.
    """
    if blocks.rows < positions[0]:
        padded, count = _padded_for_rows(x, spec, window, positions[0], blocks.rows)

        def one(index: jax.Array) -> jax.Array:
            return some(_rows(padded, index, count, spec, window, blocks.rows))[0]

        y = lax.map(one, jnp.arange(len(x) * count))
        y = y.reshape(len(x), count * blocks.rows, *y.shape[2:])
        return y[:, : positions[0]]
    if blocks.images >= len(x):
        return some(pad(x, spec))
    whole = len(x) // blocks.images * blocks.images
    parts = x[:whole].reshape(-1, blocks.images, *x.shape[1:])
    y = lax.map(lambda part: some(pad(part, spec)), parts)
    y = y.reshape(whole, *y.shape[2:])
    if whole == len(x):
        return y
    return jnp.concatenate([y, some(pad(x[whole:], spec))])


def sum_blocks(
    some: Block,
    x: jax.Array,
    g: jax.Array,
    spec: ConvSpec,
    window: tuple[int, ...],
    blocks: Blocks,
) -> jax.Array:
    """The sum of `some(padded, g)` over the blocks; g `(batch, positions[0], ...)`."""
    if blocks.rows < g.shape[1]:
        padded, count = _padded_for_rows(x, spec, window, g.shape[1], blocks.rows)
        widths = [(0, 0, 0)] * g.ndim
        widths[1] = (0, count * blocks.rows - g.shape[1], 0)
        g = lax.pad(g, jnp.zeros((), g.dtype), widths)
        zeros, size = (0,) * (g.ndim - 2), (1, blocks.rows, *g.shape[2:])

        def one(index: jax.Array) -> jax.Array:
            part = _rows(padded, index, count, spec, window, blocks.rows)
            # Of an array with an axis of blocks XLA on CPU would make a slow copy.
            begin = (index // count, index % count * blocks.rows, *zeros)
            return some(part, lax.dynamic_slice(g, begin, size))

        return _sum(one, jnp.arange(len(x) * count), x)
    if blocks.images >= len(x):
        return some(pad(x, spec), g)
    whole = len(x) // blocks.images * blocks.images
    split = [a[:whole].reshape(-1, blocks.images, *a.shape[1:]) for a in (x, g)]
    total = _sum(lambda part: some(pad(part[0], spec), part[1]), tuple(split), x)
    return total if whole == len(x) else total + some(pad(x[whole:], spec), g[whole:])


def _sum(some: Block, parts, like: jax.Array) -> jax.Array:
    shape = jax.eval_shape(lambda p: some(jax.tree.map(lambda a: a[0], p)), parts)
    zero = zeros_varying(shape.shape, shape.dtype, like)
    return lax.scan(lambda total, part: (total + some(part), None), zero, parts)[0]


def _padded_for_rows(x, spec, window, height, rows) -> tuple[jax.Array, int]:
    """Pad x so that every block of rows is whole; also give the number of blocks."""
    count = -(-height // rows)
    padded = pad(x, spec)
    span = dilated_size(window[0], spec.dilation[0])
    needed = (count * rows - 1) * spec.strides[0] + span
    widths = [(0, 0, 0)] * x.ndim
    widths[1] = (0, max(0, needed - padded.shape[1]), 0)
    return lax.pad(padded, jnp.zeros((), x.dtype), widths), count


def _rows(padded, index, count, spec, window, rows) -> jax.Array:
    """The cells of one image that block `index` of output rows looks at."""
    span = dilated_size(window[0], spec.dilation[0])
    size = (rows - 1) * spec.strides[0] + span
    start = index % count * (rows * spec.strides[0])
    begin = (index // count, start, *(0,) * (padded.ndim - 2))
    return lax.dynamic_slice(padded, begin, (1, size, *padded.shape[2:]))

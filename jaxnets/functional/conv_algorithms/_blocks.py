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
    if blocks.number(len(x), positions) == 1:
        return some(pad(x, spec))
    walk = _Walk(x, spec, window, positions[0], blocks)

    def put(index: jax.Array, y: jax.Array) -> jax.Array:
        part = some(walk.cells(index))
        return lax.dynamic_update_slice(y, part, walk.begin(index, y.ndim))

    part = jax.eval_shape(lambda: some(walk.cells(jnp.zeros((), int))))
    whole = (len(x), positions[0], *part.shape[2:])
    return lax.fori_loop(0, walk.number, put, zeros_varying(whole, part.dtype, x))


def sum_blocks(
    some: Block,
    x: jax.Array,
    g: jax.Array,
    spec: ConvSpec,
    window: tuple[int, ...],
    blocks: Blocks,
) -> jax.Array:
    """The sum of `some(padded, g)` over the blocks; g `(batch, positions[0], ...)`."""
    if blocks.number(len(x), g.shape[1:]) == 1:
        return some(pad(x, spec), g)
    walk = _Walk(x, spec, window, g.shape[1], blocks)

    def one(index: jax.Array) -> jax.Array:
        return some(walk.cells(index), walk.results(g, index))

    shape = jax.eval_shape(lambda: one(jnp.zeros((), int)))
    zero = zeros_varying(shape.shape, shape.dtype, x)
    return lax.fori_loop(0, walk.number, lambda i, total: total + one(i), zero)


class _Walk:
    """The blocks by their number: which cells of x each sees, and which results.

    All are equally large; the last one begins earlier where it has to, and meets some
    results a second time. A rest of its own would be compiled once more, and cutting x
    and putting the results together copies both (a fifth of the time of 128 images in
    blocks of 12). In sums, what is met again counts as 0.
    """

    def __init__(
        self,
        x: jax.Array,
        spec: ConvSpec,
        window: tuple[int, ...],
        height: int,
        blocks: Blocks,
    ) -> None:
        self.spec, self.window = spec, window
        self.by_rows = blocks.rows < height
        self.x = pad(x, spec) if self.by_rows else x
        length, most = (
            (height, blocks.rows) if self.by_rows else (len(x), blocks.images)
        )
        self.length, self.count = length, -(-length // most)
        self.size = -(-length // self.count)
        self.number = self.count * (len(x) if self.by_rows else 1)

    def _first(self, index: jax.Array) -> jax.Array:
        """First row or image of a block."""
        return jnp.minimum(index % self.count * self.size, self.length - self.size)

    def begin(self, index: jax.Array, ndim: int) -> list[jax.Array]:
        """Where a block begins in the results, an index an axis."""
        where = [index // self.count] if self.by_rows else []
        where.append(self._first(index))
        zero = jnp.zeros((), index.dtype)
        return where + [zero] * (ndim - len(where))

    def cells(self, index: jax.Array) -> jax.Array:
        """What a block sees of x, padded."""
        if not self.by_rows:
            part = lax.dynamic_slice_in_dim(self.x, self._first(index), self.size)
            return pad(part, self.spec)
        begin = self.begin(index, self.x.ndim)
        begin[1] *= self.spec.strides[0]
        span = dilated_size(self.window[0], self.spec.dilation[0])
        rows = (self.size - 1) * self.spec.strides[0] + span
        return lax.dynamic_slice(self.x, begin, (1, rows, *self.x.shape[2:]))

    def results(self, g: jax.Array, index: jax.Array) -> jax.Array:
        """The part of g that belongs to a block and to no earlier one."""
        size = (1, self.size) if self.by_rows else (self.size, g.shape[1])
        # Of an array with an axis of blocks XLA on CPU would make a slow copy.
        begin = self.begin(index, g.ndim)
        part = lax.dynamic_slice(g, begin, (*size, *g.shape[2:]))
        if self.length % self.size == 0:
            return part
        seen = index % self.count * self.size - self._first(index)
        places = lax.broadcasted_iota(index.dtype, part.shape, int(self.by_rows))
        return jnp.where(places < seen, jnp.zeros((), g.dtype), part)

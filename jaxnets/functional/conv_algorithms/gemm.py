"""Convolution as matrix products over patches (im2col), a block at a time.

The input gradient of a layer with fewer inputs than outputs is the transpose written
as such: one product, whose results are shifted and added (`_fold.py`).

Cost: the flops of `direct`, as products that run at the speed of the platform's GEMM.
Memory: a patch buffer of about `BUFFER_BYTES`, window times larger than what it
    covers; up to `IMAGE_BYTES` for one large image, and beyond that of a few rows of
    it. Patches of the whole batch would go through main memory: 2 to 4 times slower
    on CPU. Products to be shifted take about `FOLD_BYTES`, for one large image up to
    `IMAGE_BYTES` · out / in.
Programs: axes of more than 64 taps are read in a loop; strides of more than 16 phases
    become channels (`_stride_channels.py`).
Accuracy: that of `direct`; the sums are formed in another order.
Does not support: nothing; every spec is honoured. A window of one cell, or of
    all cells of the image, has no patches: it is the one product of `shift`.
Choose it: on CPU, where XLA's own convolution is slow, above all its kernel gradient.
"""

from math import prod

import jax
import jax.numpy as jnp

from jaxnets.functional._dtypes import wide_dtype
from jaxnets.functional.conv_algorithms import _stride_channels, shift
from jaxnets.functional.conv_algorithms._blocks import (
    Blocks,
    cut,
    map_blocks,
    output_rows,
    sum_blocks,
)
from jaxnets.functional.conv_algorithms._fft_core import (
    forward_facts,
    input_grad_facts,
    kernel_grad_facts,
)
from jaxnets.functional.conv_algorithms._fold import fold_input_grad
from jaxnets.functional.conv_algorithms._groups import join_groups, split_groups
from jaxnets.functional.conv_algorithms._lay_out import grouped_dot, lay_out
from jaxnets.functional.conv_algorithms._phases import input_grad_by
from jaxnets.functional.conv_algorithms._scratch import arrays, padded
from jaxnets.functional.conv_algorithms._spec import (
    ConvFacts,
    ConvSpec,
    Work,
    copied_bytes,
)
from jaxnets.functional.conv_algorithms._stride_channels import MOST_PHASES
from jaxnets.functional.conv_algorithms._taps import patches

BUFFER_BYTES, IMAGE_BYTES, FOLD_BYTES = 2 << 20, 16 << 20, 8 << 20
"""Of the patches of several images, of one that is not cut into blocks of rows, and of
what is added up by `_fold.py`.

Rows of patches cost more than leaving the cache does: 4 x 100 x 100 x 8 by 5x5 takes
37 ms in rows and 4.4 in images.
"""

MOST_FOLDED = 128
"""Taps that `_fold.py` writes out, each a term of a sum to compile."""


def forward(x: jax.Array, kernel: jax.Array, spec: ConvSpec) -> jax.Array:
    """y[n, p, g, o] = Σ_{t,c} patches[n, p, g, t, c] kernel[t, c, g, o]."""
    *window, fan_in, out = kernel.shape
    if prod(window) == 1:
        return shift.forward(x, kernel, spec)
    if _sees_all(spec, x.shape[1:-1], tuple(window)):
        ones = (1,) * len(window)
        cells = x.reshape(len(x), *ones, prod(x.shape[1:]))
        return shift.forward(cells, kernel.reshape(*ones, -1, out), spec)
    if _stride_channels.suits(spec, tuple(window)):
        facts = forward_facts(x, kernel, spec)
        return _stride_channels.forward(forward, x, kernel, facts)
    window, positions = tuple(window), spec.positions(x.shape[1:-1], tuple(window))
    split = kernel.reshape(prod(window), fan_in, spec.groups, out // spec.groups)
    weights = split.transpose(2, 0, 1, 3).reshape(
        spec.groups, prod(window) * fan_in, out // spec.groups
    )

    def some(padded: jax.Array) -> jax.Array:
        here = (output_rows(padded, spec, window), *positions[1:])
        rows = _patches(padded, spec, window, here)
        y = grouped_dot(rows, weights, (((2,), (1,)), ((0,), (0,))), spec).astype(
            x.dtype
        )
        y = y.reshape(spec.groups * len(padded), *here, out // spec.groups)
        return join_groups(y, spec.groups)

    return map_blocks(some, x, spec, window, positions, _cut(x, window, positions))


def input_grad(
    g: jax.Array, kernel: jax.Array, spec: ConvSpec, spatial: tuple[int, ...]
) -> jax.Array:
    """Phase by phase, each a convolution of stride 1 with its taps turned over.

    Where that needs larger patches than `_fold.py` does, the latter.
    """
    *window, fan_in, out = kernel.shape
    if prod(window) == 1:
        return shift.input_grad(g, kernel, spec, spatial)
    if _sees_all(spec, spatial, tuple(window)):
        ones = (1,) * len(window)
        dx = shift.input_grad(g, kernel.reshape(*ones, -1, out), spec, ones)
        return dx.reshape(len(g), *spatial, fan_in)
    if _side_by_side(spec, tuple(window)):
        return lay_out(g, kernel, spec, spatial)
    if _stride_channels.suits(spec, tuple(window)):
        facts = input_grad_facts(g, kernel, spec, spatial)
        return _stride_channels.input_grad(input_grad, g, kernel, facts)
    image = prod(g.shape[1:-1]) * prod(window) * fan_in * spec.groups
    image *= wide_dtype(g.dtype).itemsize
    folds = _folds(prod(window), fan_in, out // spec.groups, image)
    if folds and prod(spec.strides) <= MOST_PHASES:
        images = max(1, FOLD_BYTES // max(1, image))
        ones = (1,) * len(window)
        whole = spec._replace(strides=ones, padding=((0, 0),) * len(window))
        return map_blocks(
            lambda part: fold_input_grad(part, kernel, spec, spatial),
            g,
            whole,
            ones,
            spatial,
            Blocks(images, spatial[0]),
        )
    return input_grad_by(forward, g, kernel, spec, spatial)


def kernel_grad(
    x: jax.Array, g: jax.Array, spec: ConvSpec, window: tuple[int, ...]
) -> jax.Array:
    """dk[t, c, g, o] = Σ_{n,p} patches[n, p, g, t, c] g[n, p, g, o]."""
    if prod(window) == 1:
        return shift.kernel_grad(x, g, spec, window)
    if _sees_all(spec, x.shape[1:-1], window):
        ones = (1,) * len(window)
        cells = x.reshape(len(x), *ones, prod(x.shape[1:]))
        dk = shift.kernel_grad(cells, g, spec, ones)
        return dk.reshape(*window, x.shape[-1], g.shape[-1])
    if _stride_channels.suits(spec, window):
        facts = kernel_grad_facts(x, g, spec, window)
        return _stride_channels.kernel_grad(kernel_grad, x, g, facts)
    taps, out, fan_in = prod(window), g.shape[-1], x.shape[-1] // spec.groups

    def some(padded: jax.Array, g: jax.Array) -> jax.Array:
        rows = _patches(padded, spec, window, g.shape[1:-1])
        columns = split_groups(g, spec.groups).reshape(
            spec.groups, len(g) * prod(g.shape[1:-1]), out // spec.groups
        )
        return grouped_dot(rows, columns, (((1,), (1,)), ((0,), (0,))), spec)

    # Every block adds to the sum, which should not be more to move than its patches.
    moved = taps * fan_in * out * wide_dtype(x.dtype).itemsize
    blocks = _cut(x, window, g.shape[1:-1], moved)
    total = sum_blocks(some, x, g, spec, window, blocks)
    dk = jnp.moveaxis(total.reshape(spec.groups, taps, fan_in, -1), 0, 2)
    return dk.reshape(*window, fan_in, out).astype(x.dtype)


def unsupported(facts: ConvFacts) -> str | None:
    """Nothing."""
    return None


def work(part: str, facts: ConvFacts) -> Work:
    """The patches are written once and read once by the product."""
    if prod(facts.window) == 1:
        return shift.work(part, facts)
    if _sees_all(facts.spec, facts.spatial, facts.window):
        ones = (1,) * len(facts.window)
        cells = facts.channels * prod(facts.spatial)
        flat = facts._replace(spatial=ones, window=ones, channels=cells)
        return shift.work(part, flat)
    side_by_side = _side_by_side(facts.spec, facts.window)
    if _stride_channels.suits(facts.spec, facts.window) and not (
        part == "input_grad" and side_by_side
    ):
        return work(part, _stride_channels.reduced(facts))
    taps, size = prod(facts.window), jnp.dtype(facts.dtype).itemsize
    inner, outer = facts.channels, facts.out
    cells, results = facts.spatial, facts.positions
    arrays = size * facts.batch * prod(cells) * inner
    arrays += size * (facts.batch * prod(results) * outer + facts.kernel_cells)
    kind = "grouped" if facts.spec.groups > 1 else "dense"
    calls, products = 1, float(facts.products)
    if part == "input_grad" and side_by_side:
        return Work(2 * products, 2 * arrays, calls, kind)
    image = size * prod(facts.positions) * taps * facts.channels
    phases = prod(facts.spec.strides)
    folds = phases <= MOST_PHASES and _folds(taps, facts.fan_in, facts.fan_out, image)
    if part == "input_grad" and folds:
        calls = -(-facts.batch // max(1, FOLD_BYTES // max(1, image)))
        moved = 2 * facts.batch * image + arrays
        return Work(2 * products, moved, calls, kind)
    if part == "input_grad":
        inner, outer, cells, results = outer, inner, results, cells
        products = facts.every_cell_products
        calls = phases if phases <= MOST_PHASES else 1
        products *= phases / calls
        taps = -(-taps // calls)
    runs = facts.batch * prod(results) * taps * facts.spec.groups
    copied = copied_bytes(runs, inner // facts.spec.groups, size)
    limit = max(1, taps * inner * size)
    blocks = cut(facts.batch, results, limit, BUFFER_BYTES, IMAGE_BYTES)
    calls *= blocks.number(facts.batch, results)
    return Work(2 * products, 2 * copied + arrays, calls, kind)


def scratch(part: str, facts: ConvFacts) -> float:
    """A block of patches, and what it is cut from with its padding."""
    taps, size = prod(facts.window), jnp.dtype(facts.dtype).itemsize
    wide = jnp.dtype(wide_dtype(facts.dtype)).itemsize
    if taps == 1 or _sees_all(facts.spec, facts.spatial, facts.window):
        return shift.scratch(part, facts)
    if part == "input_grad" and _side_by_side(facts.spec, facts.window):
        return float(wide * facts.batch * prod(facts.positions) * taps * facts.channels)
    if _stride_channels.suits(facts.spec, facts.window):
        return 2 * arrays(facts) + scratch(part, _stride_channels.reduced(facts))
    inner, results = facts.channels, facts.positions
    phases = prod(facts.spec.strides)
    image = wide * prod(facts.positions) * taps * facts.channels
    if part == "input_grad":
        if phases <= MOST_PHASES and _folds(taps, facts.fan_in, facts.fan_out, image):
            return float(2 * max(image, FOLD_BYTES))
        inner, results = facts.out, facts.spatial
        if phases <= MOST_PHASES:
            pairs = zip(results, facts.spec.strides, strict=True)
            results, taps = tuple(-(-n // s) for n, s in pairs), -(-taps // phases)
    position = taps * inner * size
    blocks = cut(facts.batch, results, position, BUFFER_BYTES, IMAGE_BYTES)
    block = blocks.images * blocks.rows * prod(results[1:]) * position
    images = facts.batch if blocks.rows < results[0] else blocks.images
    # Patches are laid out one axis after the other, from one array into the next.
    return 2.0 * block + images * padded(part, facts)


def _side_by_side(spec: ConvSpec, window: tuple[int, ...]) -> bool:
    """Whether every cell of the image is seen by one window."""
    return window == spec.strides and set(spec.dilation) == {1}


def _folds(taps: int, fan_in: int, fan_out: int, image_bytes: int) -> bool:
    """Whether an input gradient adds up one product for all taps.

    That of one image may be the larger, the larger its patches would be.
    """
    few = 2 * fan_in <= fan_out and taps <= MOST_FOLDED
    return few and image_bytes * fan_in <= IMAGE_BYTES * fan_out


def _sees_all(
    spec: ConvSpec, spatial: tuple[int, ...], window: tuple[int, ...]
) -> bool:
    """Whether the one window is the whole image: a dense layer."""
    return (
        spec.groups == 1
        and spatial == window
        and all(pair == (0, 0) for pair in spec.padding)
        and set(spec.dilation) == {1}
    )


def _cut(
    x: jax.Array, window: tuple[int, ...], positions: tuple[int, ...], least: int = 0
) -> Blocks:
    """Blocks whose patches fill the buffer, which has `least` bytes or more."""
    position = prod(window) * x.shape[-1] * x.dtype.itemsize
    return cut(len(x), positions, position, max(BUFFER_BYTES, least), IMAGE_BYTES)


def _patches(
    padded: jax.Array,
    spec: ConvSpec,
    window: tuple[int, ...],
    positions: tuple[int, ...],
) -> jax.Array:
    """Every window as a row: `(groups, batch · positions, taps · fan_in)`."""
    rows = patches(split_groups(padded, spec.groups), spec, window, positions)
    return rows.reshape(spec.groups, len(padded) * prod(positions), rows.shape[-1])

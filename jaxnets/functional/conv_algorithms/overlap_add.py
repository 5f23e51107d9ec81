"""Convolution by transforms of short pieces, for long signals and large images.

An axis is cut into tiles of L cells with L − taps + 1 results each; L is the fast
length of least cost

    cost = (tiles · (in + out) + products) · 2.5 V log2 V + 4 · tiles · products · V

over candidate lengths, with V = L_1 · ... · L_r the cells of a tile and `products` =
in · out / groups, among those that fit in `memory`. An axis that is no
longer than its best tile stays whole, as in `fft`. Internally the tiles overlap in x
and what wraps round is dropped (overlap-save): the same cost as adding the tails of y,
and no tile waits for the one before it. The input gradient is cut in the same way, and
the kernel gradient sums the spectra of all tiles before its one way back.

Cost: as above. A short kernel takes tiles of some 4 to 8 times its length, so that a
    point costs log2 of that, not of the length of the signal.
Memory: at most `memory` bytes, `MEMORY_BYTES` if not given, beyond x, y and a copy of
    each with the channels leading, for the spectra of the kernel and of the tiles that
    go together; only a kernel too large for it takes more, with tiles of the least
    length that makes sense, twice the kernel's.
Accuracy: as `fft`, or better by the shorter transforms; relative error 2e-7 to 4e-7 in
    float32 and 2e-15 in float64.
Does not support: integers and complex numbers.
Choose it: when the window is long (as for `fft`) and the image is much longer.

Source: Oppenheim, Schafer, Discrete-Time Signal Processing (1989), section 8.9.3.
"""

from functools import cache
from itertools import product
from math import log2, prod

import jax
import jax.numpy as jnp

from jaxnets.functional._dtypes import wide_dtype
from jaxnets.functional.conv_algorithms import _fft_core as core
from jaxnets.functional.conv_algorithms import _fft_work
from jaxnets.functional.conv_algorithms._fft_sizes import (
    Axis,
    fast_length,
    reduce_axes,
)
from jaxnets.functional.conv_algorithms._fft_tiles import Plan, Tile
from jaxnets.functional.conv_algorithms._fft_work import unsupported as unsupported
from jaxnets.functional.conv_algorithms._scratch import arrays, spectra
from jaxnets.functional.conv_algorithms._spec import ConvFacts, ConvSpec, Work

MEMORY_BYTES = 64 << 20
STEP_BYTES = 4 << 20
LEAST_LENGTH = 16
COPIES = 6


def forward(
    x: jax.Array, kernel: jax.Array, spec: ConvSpec, *, memory: int = MEMORY_BYTES
) -> jax.Array:
    """y[n, p, o], tile by tile: the F⁻¹(F(x) · conj(F(kernel))) that does not wrap."""
    facts = core.forward_facts(x, kernel, spec)
    return core.forward(x, kernel, facts, plan(facts, memory))


def input_grad(
    g: jax.Array,
    kernel: jax.Array,
    spec: ConvSpec,
    spatial: tuple[int, ...],
    *,
    memory: int = MEMORY_BYTES,
) -> jax.Array:
    """dx[n, i, c], tile by tile: the F⁻¹(F(g) · F(kernel)) that does not wrap."""
    facts = core.input_grad_facts(g, kernel, spec, spatial)
    return core.input_grad(g, kernel, facts, plan(facts, memory))


def kernel_grad(
    x: jax.Array,
    g: jax.Array,
    spec: ConvSpec,
    window: tuple[int, ...],
    *,
    memory: int = MEMORY_BYTES,
) -> jax.Array:
    """dk[t, c, o] = F⁻¹(Σ F(x) · conj(F(g))), summed over images and tiles."""
    facts = core.kernel_grad_facts(x, g, spec, window)
    return core.kernel_grad(x, g, facts, plan(facts, memory))


def work(part: str, facts: ConvFacts) -> Work:
    """Flops, bytes and calls of `part`, as `_fft_work` counts them."""
    return _fft_work.work(part, facts, plan(facts))


def scratch(part: str, facts: ConvFacts) -> float:
    """The spectra of the kernel and of one step, and copies with channels leading."""
    return spectra(facts, plan(facts)) + 2 * arrays(facts)


def plan(facts: ConvFacts, memory: int = MEMORY_BYTES) -> Plan | None:
    """The tiles of least cost, and how many of them and of the images go together."""
    spec = facts.spec._replace(precision=None, relaxed=False)
    return _plan(facts._replace(spec=spec), memory)


@cache
def _plan(facts: ConvFacts, memory: int) -> Plan | None:
    axes = reduce_axes(facts.spatial, facts.window, facts.spec)
    if axes is None or 0 in (facts.batch, facts.channels, facts.out):
        return None
    channels = facts.channels * prod(axis.channels for axis in axes)
    phases = prod(axis.images for axis in axes)
    products = channels * facts.fan_out
    itemsize = jnp.dtype(wide_dtype(facts.dtype)).itemsize
    tile_bytes = COPIES * itemsize * phases * (channels + facts.out)

    def bytes_of(tiles: tuple[Tile, ...]) -> int:
        return prod(t.length for t in tiles) * (tile_bytes + 2 * itemsize * products)

    def cost(tiles: tuple[Tile, ...]) -> float:
        points = prod(t.length for t in tiles)
        count = facts.batch * phases
        count *= prod(t.count(a.outputs) for t, a in zip(tiles, axes, strict=True))
        planes = count * (channels + facts.out) + products
        return points * (2.5 * planes * log2(max(points, 2)) + 4 * count * products)

    choices = list(product(*map(_candidates, axes)))
    fitting = [c for c in choices if bytes_of(c) <= memory]
    tiles = min(fitting, key=cost) if fitting else min(choices, key=bytes_of)

    points = prod(t.length for t in tiles)
    spare = memory - 2 * itemsize * products * points
    budget = max(0, min(spare, COPIES * STEP_BYTES)) // (tile_bytes * points)
    images = max(1, min(facts.batch, budget))
    last = max((i for i, t in enumerate(tiles) if t.step), default=None)
    if last is not None and budget > images:
        count = tiles[last].count(axes[last].outputs)
        at_once = -(-count // -(-count // (budget // images)))
        cut = tiles[last]._replace(at_once=at_once)
        tiles = (*tiles[:last], cut, *tiles[last + 1 :])
    return Plan(axes, tiles, images)


def _candidates(axis: Axis) -> list[Tile]:
    """Tiles of 2 to 64 times the taps that are shorter than the whole axis."""
    whole = axis.circle
    tiles = [Tile(whole)]
    for eighths in (16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 192, 256, 512):
        length = fast_length(max(eighths * axis.taps // 8, LEAST_LENGTH))
        if length < whole:
            tiles.append(Tile(length, length - axis.taps + 1))
    return tiles

"""Convolution by kernels in C++ (`jaxnets.native`), on CPU.

Cost: the flops of `direct`, at 80 to 95 % of the processor's peak where groups have
    many channels; the bandwidth of memory where they have one. The input gradient
    towards few channels adds up one product of all taps, as `gemm` does. At stride 1,
    depthwise convolutions with long windows, and others from 3 x 3 on, go by transforms
    of short tiles where that takes less: 5 N log2 N for N points of a channel, and
    8 for a point of an input and an output.
Memory: a copy of the kernel, or its spectrum, of 128 MB at most; a few megabytes for
    each thread, and at most 16 MB of tiles. Of dilated windows only pixels that taps
    meet are copied. A thread releases scratch of more than 16 MB at the end of a task.
Accuracy: that of `direct`; the sums are formed in another order, in float32. By
    transforms that of `fft`, 2e-7 to 4e-7 relative to the largest cells of a tile, all
    of which has what is not finite. `precision="highest"` does not allow that: it keeps
    to sums.
Does not support: dtypes but float32, more than three spatial axes, platforms but CPU,
    and installations without the compiled library.
Choose it: on CPU, nearly always.
"""

from math import prod

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets import native
from jaxnets.functional.conv_algorithms import _fft_core as core
from jaxnets.functional.conv_algorithms._native_sums import (
    scratch_of_sums,
    work_of_sums,
)
from jaxnets.functional.conv_algorithms._native_transforms import tiles
from jaxnets.functional.conv_algorithms._spec import ConvFacts, ConvSpec, Work

RANK = 3
"""Spatial axes of the kernels."""


def forward(x: jax.Array, kernel: jax.Array, spec: ConvSpec) -> jax.Array:
    """y[n, p, o] = Σ_{t,c} x[n, s·p + d·t − lo, c] kernel[t, c, o]."""
    window = kernel.shape[:-2]
    positions = spec.positions(x.shape[1:-1], window)
    shape = (len(x), *positions, kernel.shape[-1])
    facts = core.forward_facts(x, kernel, spec)
    y = _call("forward", _cells(x), _window(kernel), facts, _deep(shape))
    return y.reshape(shape)


def input_grad(
    g: jax.Array, kernel: jax.Array, spec: ConvSpec, spatial: tuple[int, ...]
) -> jax.Array:
    """dx[n, i, c] = Σ_{p,t: s·p + d·t − lo = i} Σ_o g[n, p, o] kernel[t, c, o]."""
    shape = (len(g), *spatial, kernel.shape[-2] * spec.groups)
    facts = core.input_grad_facts(g, kernel, spec, spatial)
    dx = _call("input_grad", _cells(g), _window(kernel), facts, _deep(shape))
    return dx.reshape(shape)


def kernel_grad(
    x: jax.Array, g: jax.Array, spec: ConvSpec, window: tuple[int, ...]
) -> jax.Array:
    """dk[t, c, o] = Σ_{n,p} x[n, s·p + d·t − lo, c] g[n, p, o]."""
    shape = (*window, x.shape[-1] // spec.groups, g.shape[-1])
    deep = (1,) * (RANK - len(window)) + shape
    facts = core.kernel_grad_facts(x, g, spec, window)
    return _call("kernel_grad", _cells(x), _cells(g), facts, deep).reshape(shape)


def unsupported(facts: ConvFacts) -> str | None:
    """Other dtypes, a fourth spatial axis, no library."""
    if facts.dtype != "float32":
        return f"needs float32; got {facts.dtype}"
    if len(facts.window) > RANK:
        return f"needs at most {RANK} spatial axes; got {len(facts.window)}"
    return native.missing()


def work(part: str, facts: ConvFacts) -> Work:
    """What the transforms or the sums take, whichever it is done by."""
    sums = work_of_sums(part, facts)
    by_tiles = tiles(part, facts, sums.flops)
    if by_tiles is None:
        return sums
    size = jnp.dtype(facts.dtype).itemsize
    arrays = facts.batch * prod(facts.spatial) * facts.channels
    arrays += facts.batch * prod(facts.positions) * facts.out
    moved = size * (arrays + 2 * by_tiles.spectra)
    return Work(by_tiles.flops, moved, 1, "transforms")


def scratch(part: str, facts: ConvFacts) -> float:
    """The spectra of the kernel, or what sums copy."""
    by_tiles = tiles(part, facts, work_of_sums(part, facts).flops)
    if by_tiles is None:
        return scratch_of_sums(part, facts)
    return scratch_of_sums(part, facts) + 8 * by_tiles.spectra


def _call(
    part: str, a: jax.Array, b: jax.Array, facts: ConvFacts, shape: tuple[int, ...]
) -> jax.Array:
    spec, rank = facts.spec, len(facts.window)
    none, one = (0,) * (RANK - rank), (1,) * (RANK - rank)
    by_tiles = tiles(part, facts, work_of_sums(part, facts).flops)
    lengths = () if by_tiles is None else one + by_tiles.lengths
    # Of the type of `a`, which says what it varies over in a `shard_map`.
    like = jax.typeof(a).update(shape=shape, weak_type=False)
    call = jax.ffi.ffi_call(f"jaxnets_conv_{part}", like)
    return call(
        a,
        b,
        strides=np.array(one + spec.strides, np.int64),
        lo=np.array(none + tuple(lo for lo, _ in spec.padding), np.int64),
        dilation=np.array(one + spec.dilation, np.int64),
        groups=np.int64(spec.groups),
        lengths=np.array(lengths, np.int64),
        instructions="",
    )


def _cells(x: jax.Array) -> jax.Array:
    """An array of images with all spatial axes that the kernels know."""
    return x.reshape(_deep(x.shape))


def _deep(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], *(1,) * (RANK + 2 - len(shape)), *shape[1:])


def _window(kernel: jax.Array) -> jax.Array:
    return kernel.reshape((1,) * (RANK + 2 - kernel.ndim) + kernel.shape)

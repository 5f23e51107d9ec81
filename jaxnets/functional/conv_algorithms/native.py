"""Convolution by kernels in C++ (`jaxnets.native`), on CPU.

Cost: the flops of `direct`, at 80 to 95 % of the processor's peak where groups have
    many channels; the bandwidth of memory where they have one.
Memory: a copy of the kernel, and a few hundred kilobytes for each thread.
Accuracy: that of `direct`; the sums are formed in another order, in float32.
Does not support: dtypes but float32, more than three spatial axes, platforms but CPU,
    and installations without the compiled library.
Choose it: on CPU, for windows of up to some tens of taps.
"""

from math import prod

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets import native
from jaxnets.functional.conv_algorithms._spec import ConvFacts, ConvSpec, Work

RANK, LANES = 3, 16
"""Spatial axes of the kernels, and the floats of their widest vectors."""


def forward(x: jax.Array, kernel: jax.Array, spec: ConvSpec) -> jax.Array:
    """y[n, p, o] = Σ_{t,c} x[n, s·p + d·t − lo, c] kernel[t, c, o]."""
    window = kernel.shape[:-2]
    positions = spec.positions(x.shape[1:-1], window)
    shape = (len(x), *positions, kernel.shape[-1])
    return _call("forward", _cells(x), _window(kernel), spec, _deep(shape)).reshape(
        shape
    )


def input_grad(
    g: jax.Array, kernel: jax.Array, spec: ConvSpec, spatial: tuple[int, ...]
) -> jax.Array:
    """dx[n, i, c] = Σ_{p,t: s·p + d·t − lo = i} Σ_o g[n, p, o] kernel[t, c, o]."""
    shape = (len(g), *spatial, kernel.shape[-2] * spec.groups)
    dx = _call("input_grad", _cells(g), _window(kernel), spec, _deep(shape))
    return dx.reshape(shape)


def kernel_grad(
    x: jax.Array, g: jax.Array, spec: ConvSpec, window: tuple[int, ...]
) -> jax.Array:
    """dk[t, c, o] = Σ_{n,p} x[n, s·p + d·t − lo, c] g[n, p, o]."""
    shape = (*window, x.shape[-1] // spec.groups, g.shape[-1])
    deep = (1,) * (RANK - len(window)) + shape
    return _call("kernel_grad", _cells(x), _cells(g), spec, deep).reshape(shape)


def unsupported(facts: ConvFacts) -> str | None:
    """Other dtypes, a fourth spatial axis, no library."""
    if facts.dtype != "float32":
        return f"needs float32; got {facts.dtype}"
    if len(facts.window) > RANK:
        return f"needs at most {RANK} spatial axes; got {len(facts.window)}"
    return native.missing()


def work(part: str, facts: ConvFacts) -> Work:
    """Lanes of vectors that nothing fills count as work, as do spread channels."""
    groups, size = facts.spec.groups, jnp.dtype(facts.dtype).itemsize
    terms, results = facts.fan_in, facts.fan_out
    cells = facts.batch * prod(facts.spatial)
    if part == "input_grad":
        terms, results = results, terms
        cells = facts.batch * prod(facts.positions)
    kind, spread, lanes = "dense", 0.0, LANES
    if groups > 1 and results < LANES:
        kind = "depthwise" if facts.fan_in == facts.fan_out == 1 else "grouped"
        in_line = part != "kernel_grad" and facts.spec.strides[-1] == 1
        if kind == "depthwise" and in_line:
            lanes = 1  # vectors span the results of a row
        spread = cells * terms * -(-groups * results // lanes) * lanes
        if terms > results:  # inputs of more than one vector, taken one at a time
            spread *= LANES
        results *= groups
    filled = -(-results // lanes) * lanes / max(1, results)
    arrays = facts.batch * prod(facts.spatial) * facts.channels
    arrays += facts.batch * prod(facts.positions) * facts.out
    calls = prod(facts.spec.strides) if part == "input_grad" else 1
    moved = size * (arrays + 2 * facts.kernel_cells + spread / 8)
    return Work(2 * facts.products * filled, moved, calls, kind)


def _call(
    part: str, a: jax.Array, b: jax.Array, spec: ConvSpec, shape: tuple[int, ...]
) -> jax.Array:
    rank = len(spec.strides)
    none, one = (0,) * (RANK - rank), (1,) * (RANK - rank)
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
        instructions="",
    )


def _cells(x: jax.Array) -> jax.Array:
    """An array of images with all spatial axes that the kernels know."""
    return x.reshape(_deep(x.shape))


def _deep(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], *(1,) * (RANK + 2 - len(shape)), *shape[1:])


def _window(kernel: jax.Array) -> jax.Array:
    return kernel.reshape((1,) * (RANK + 2 - kernel.ndim) + kernel.shape)

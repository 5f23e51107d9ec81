"""Convolution as a product of spectra, by real transforms over the spatial axes.

    y = F⁻¹( Σ_c F(x)_c · conj(F(kernel)_c) )

on a circle as long as the image with its padding, or less: the padding on both sides
is shared. A stride makes channels and a dilation makes images of the phases of an
axis, so that nothing is computed to be thrown away; both kinds of gradient are
transforms as well. Inside one `jit` the spectra that the forward pass and the
gradients have in common are computed once, as long as they go in one step.

Cost: 2.5 N log2 N flops a plane of N cells (x, y and the kernel, fan-in · out planes),
    and 4 N a product of two planes; it hardly depends on the size of the window.
Memory: the spectrum of the kernel, 4 N · fan-in · out bytes in float32, and several
    times the planes of x and y, as long as these take up to `WHOLE_BYTES`; more goes in
    steps of `STEP_BYTES`, a few images at a time. Bounded steps are faster where memory
    is contended (62 and 95 ms for a training step of a depthwise 31 x 31 over
    8 x 56 x 56 x 64 on two busy cores), sharing spectra is where it is not (48 and 37).
Accuracy: relative error (2-norm, to float64) 2e-7 to 4e-7 in float32 in one to four
    dimensions, and 2e-15 in float64; halves are computed in float32. The error
    is relative to the largest cells: small ones next to large ones lose digits.
Does not support: integers and complex numbers.
Choose it: for windows of 15 taps a side and more, or 256 in one dimension.

Sources: Mathieu, Henaff, LeCun, arXiv:1312.5851; Vasilache et al., arXiv:1412.7580.
"""

from math import prod

import jax
import jax.numpy as jnp

from jaxnets.functional._dtypes import wide_dtype
from jaxnets.functional.conv_algorithms import _fft_core as core
from jaxnets.functional.conv_algorithms import _fft_work
from jaxnets.functional.conv_algorithms._fft_sizes import reduce_axes
from jaxnets.functional.conv_algorithms._fft_tiles import Plan, Tile
from jaxnets.functional.conv_algorithms._fft_work import unsupported as unsupported
from jaxnets.functional.conv_algorithms._scratch import arrays, spectra
from jaxnets.functional.conv_algorithms._spec import ConvFacts, ConvSpec, Work

WHOLE_BYTES = 24 << 20
STEP_BYTES = 4 << 20


def forward(x: jax.Array, kernel: jax.Array, spec: ConvSpec) -> jax.Array:
    """y[n, p, o] = F⁻¹(F(x) · conj(F(kernel))), a correlation."""
    facts = core.forward_facts(x, kernel, spec)
    return core.forward(x, kernel, facts, plan(facts))


def input_grad(
    g: jax.Array, kernel: jax.Array, spec: ConvSpec, spatial: tuple[int, ...]
) -> jax.Array:
    """dx[n, i, c] = F⁻¹(F(g) · F(kernel)), a convolution."""
    facts = core.input_grad_facts(g, kernel, spec, spatial)
    return core.input_grad(g, kernel, facts, plan(facts))


def kernel_grad(
    x: jax.Array, g: jax.Array, spec: ConvSpec, window: tuple[int, ...]
) -> jax.Array:
    """dk[t, c, o] = F⁻¹(Σ_n F(x) · conj(F(g))), a correlation."""
    facts = core.kernel_grad_facts(x, g, spec, window)
    return core.kernel_grad(x, g, facts, plan(facts))


def work(part: str, facts: ConvFacts) -> Work:
    """Flops, bytes and calls of `part`, as `_fft_work` counts them."""
    return _fft_work.work(part, facts, plan(facts))


def scratch(part: str, facts: ConvFacts) -> float:
    """The spectra of the kernel and of one step, and copies with channels leading."""
    return spectra(facts, plan(facts)) + 2 * arrays(facts)


def plan(facts: ConvFacts) -> Plan | None:
    """One tile, the whole circle, of as many images as go well together."""
    axes = reduce_axes(facts.spatial, facts.window, facts.spec)
    if axes is None or 0 in (facts.batch, facts.channels, facts.out):
        return None
    tiles = tuple(Tile(axis.circle) for axis in axes)
    channels = facts.channels * prod(axis.channels for axis in axes)
    cells = prod(t.length for t in tiles) * prod(axis.images for axis in axes)
    itemsize = jnp.dtype(wide_dtype(facts.dtype)).itemsize
    image = cells * (channels + facts.out) * itemsize
    whole = facts.batch * image <= WHOLE_BYTES
    images = facts.batch if whole else max(1, STEP_BYTES // image)
    return Plan(axes, tiles, min(images, facts.batch))

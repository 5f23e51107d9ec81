"""A convolution without the taps and results that meet nothing but padding.

Along every axis, with x of n pixels,

    y[p] = Σ_t x[s · p + d · t − lo] kernel[t]

Taps whose pixel lies outside x for every p are dropped, as are results all of whose
pixels do; strides that no second result takes, and dilations that no second tap takes,
are 1. If s and d have a common divisor, only every so-many-th pixel is met, and both
are divided by it. What is left spans little more than x, whatever the options were.
"""

from collections.abc import Callable
from functools import cache
from math import gcd
from types import ModuleType
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.functional.conv_algorithms._spec import ConvFacts
from jaxnets.functional.conv_algorithms._varying import zeros_varying


class _Part(NamedTuple):
    """`kept` of `size` entries along an axis: `first`, `first` + `step`, ..."""

    first: int
    kept: int
    size: int
    step: int = 1


class _Axis(NamedTuple):
    """One axis after trimming, and the options that hold for it."""

    taps: _Part
    results: _Part
    pixels: _Part
    stride: int
    dilation: int
    padding: tuple[int, int]


class Trimmed(NamedTuple):
    """What is left of a convolution.

    Attributes:
        facts: the convolution that is left.
        taps: which taps of the kernel it has, an axis each.
        results: which results.
        pixels: which pixels of x.
    """

    facts: ConvFacts
    taps: tuple[_Part, ...]
    results: tuple[_Part, ...]
    pixels: tuple[_Part, ...]

    @property
    def removes(self) -> bool:
        """Whether something is removed."""
        parts = (*self.taps, *self.results, *self.pixels)
        return any(part.kept < part.size for part in parts)


@cache
def trim(facts: ConvFacts) -> Trimmed | None:
    """What is left of a convolution; None if no tap meets a pixel."""
    spec, axes = facts.spec, []
    for size, taps, stride, dilation, (lo, _), positions in zip(
        facts.spatial,
        facts.window,
        spec.strides,
        spec.dilation,
        spec.padding,
        facts.positions,
        strict=True,
    ):
        axis = _trim_axis(size, taps, stride, dilation, lo, positions)
        if axis is None:
            return None
        axes.append(axis)
    taps, results, pixels, strides, dilation, padding = zip(*axes, strict=True)
    left = facts._replace(
        spatial=tuple(part.kept for part in pixels),
        window=tuple(part.kept for part in taps),
        spec=spec._replace(strides=strides, dilation=dilation, padding=padding),
    )
    return Trimmed(left, taps, results, pixels)


def supported(algorithm: ModuleType, facts: ConvFacts) -> ConvFacts:
    """The convolution that an algorithm runs: what is left of it, if it can."""
    left = trim(facts)
    if left is None or algorithm.unsupported(left.facts) is not None:
        return facts
    return left.facts


def forward(
    algorithm: ModuleType, x: jax.Array, kernel: jax.Array, facts: ConvFacts
) -> jax.Array:
    """`algorithm.forward` of what is left, with zeros for the other results."""
    left = trim(facts)
    if left is None:
        return zeros_varying((len(x), *facts.positions, facts.out), x.dtype, x)
    if algorithm.unsupported(left.facts) is not None:
        return algorithm.forward(x, kernel, facts.spec)
    y = algorithm.forward(
        _take(x, left.pixels, 1), _take(kernel, left.taps, 0), left.facts.spec
    )
    return _put(y, left.results, 1)


def input_grad(
    algorithm: ModuleType, g: jax.Array, kernel: jax.Array, facts: ConvFacts
) -> jax.Array:
    """`algorithm.input_grad` of what is left, with zeros for the other pixels."""
    left = trim(facts)
    if left is None:
        return zeros_varying((len(g), *facts.spatial, facts.channels), g.dtype, g)
    if algorithm.unsupported(left.facts) is not None:
        return algorithm.input_grad(g, kernel, facts.spec, facts.spatial)
    dx = algorithm.input_grad(
        _take(g, left.results, 1),
        _take(kernel, left.taps, 0),
        left.facts.spec,
        left.facts.spatial,
    )
    return _put(dx, left.pixels, 1)


def kernel_grad(
    algorithm: ModuleType, x: jax.Array, g: jax.Array, facts: ConvFacts
) -> jax.Array:
    """`algorithm.kernel_grad` of what is left, with zeros for the other taps."""
    left = trim(facts)
    if left is None:
        return zeros_varying((*facts.window, facts.fan_in, facts.out), x.dtype, x)
    if algorithm.unsupported(left.facts) is not None:
        return algorithm.kernel_grad(x, g, facts.spec, facts.window)
    dk = algorithm.kernel_grad(
        _take(x, left.pixels, 1),
        _take(g, left.results, 1),
        left.facts.spec,
        left.facts.window,
    )
    return _put(dk, left.taps, 0)


RUN_TRIMMED: dict[str, Callable[..., jax.Array]] = {
    "forward": forward,
    "input_grad": input_grad,
    "kernel_grad": kernel_grad,
}


def _trim_axis(
    size: int, taps: int, stride: int, dilation: int, lo: int, positions: int
) -> _Axis | None:
    """What is left of one axis; None if nothing is."""
    first_tap = first_result = first_pixel = 0
    step, pixels, kept, results = 1, size, taps, positions
    while True:
        before = kept, results, pixels
        skipped = max(0, -((dilation * (kept - 1) - lo) // stride))
        results = min(results, (pixels - 1 + lo) // stride + 1) - skipped
        first_result, lo = first_result + skipped, lo - skipped * stride
        if results < 1:
            return None
        skipped = max(0, -((stride * (results - 1) - lo) // dilation))
        kept = min(kept, (pixels - 1 + lo) // dilation + 1) - skipped
        first_tap, lo = first_tap + skipped, lo - skipped * dilation
        if kept < 1:
            return None
        stride = 1 if results == 1 else stride
        dilation = 1 if kept == 1 else dilation
        common = gcd(stride, dilation)
        if common > 1:
            first = -lo % common
            first_pixel += first * step
            step *= common
            pixels = len(range(first, pixels, common))
            if pixels < 1:
                return None
            stride, dilation = stride // common, dilation // common
            lo = (lo + first) // common
        if (kept, results, pixels) == before:
            break
    end = (results - 1) * stride + (kept - 1) * dilation + 1
    if kept == taps and results == positions and pixels == size and stride > 1:
        # As it was: what a last window leaves over behind it needs no cutting.
        end = max(end, min(size + lo, end + stride - 1))
    return _Axis(
        _Part(first_tap, kept, taps),
        _Part(first_result, results, positions),
        _Part(first_pixel, pixels, size, step),
        stride,
        dilation,
        (lo, end - pixels - lo),
    )


def _take(x: jax.Array, parts: tuple[_Part, ...], first: int) -> jax.Array:
    """Those entries of x, along the axes from `first` on."""
    for axis, part in enumerate(parts, first):
        if part.kept < part.size:
            end = part.first + (part.kept - 1) * part.step + 1
            x = lax.slice_in_dim(x, part.first, end, part.step, axis)
    return x


def _put(x: jax.Array, parts: tuple[_Part, ...], first: int) -> jax.Array:
    """Undo `_take`, with zeros for the others."""
    widths = [(0, 0, 0)] * x.ndim
    for axis, part in enumerate(parts, first):
        end = part.first + (part.kept - 1) * part.step + 1
        widths[axis] = (part.first, part.size - end, part.step - 1)
    if not any(map(any, widths)):
        return x
    return lax.pad(x, jnp.zeros((), x.dtype), widths)

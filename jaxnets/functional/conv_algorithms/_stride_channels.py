"""A convolution of stride s as one of stride 1, the phases of its axes being channels.

    Σ_t x[s · p + t − lo] k[t] = Σ_r Σ_j x_r[p + j] k_r[j],
    x_r[i] = x[s · i + r − lo],   k_r[j] = k[s · j + r]

A window of T taps is then one of ⌈T / s⌉, and the input gradient is one convolution
instead of one for each phase: the program is as long for 256 phases as for 2. What the
last taps of a window leave over is multiplied as zeros.
"""

from collections.abc import Callable
from functools import partial
from math import prod

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.functional.conv_algorithms._fft_layout import transpose
from jaxnets.functional.conv_algorithms._spec import ConvFacts, ConvSpec

MOST_PHASES = 16
"""Of an input gradient that is a convolution for each."""

MOST_SLICES = 64
"""Taps of a window, all axes together, that are a slice each."""


def suits(
    spec: ConvSpec, window: tuple[int, ...], most_phases: int = MOST_PHASES
) -> bool:
    """Whether phases are too many to be written out, and can be channels."""
    axes = zip(spec.strides, spec.dilation, window, strict=True)
    if any(s > 1 and d > 1 and taps > 1 for s, d, taps in axes):
        return False
    phases = prod(spec.strides)
    return phases > most_phases or (phases > 1 and sum(window) > MOST_SLICES)


def reduced(facts: ConvFacts) -> ConvFacts:
    """The convolution of stride 1 that is done instead."""
    spec, spatial, window, padding = facts.spec, [], [], []
    channels = facts.channels
    for size, taps, s, pair, positions in zip(
        facts.spatial,
        facts.window,
        spec.strides,
        spec.padding,
        facts.positions,
        strict=True,
    ):
        kept = -(-taps // s)
        window.append(kept)
        spatial.append(size if s == 1 else positions + kept - 1)
        padding.append(pair if s == 1 else (0, 0))
        channels *= min(s, taps)
    ones = (1,) * len(window)
    dilation = tuple(
        d if s == 1 else 1 for d, s in zip(spec.dilation, spec.strides, strict=True)
    )
    return facts._replace(
        spatial=tuple(spatial),
        window=tuple(window),
        channels=channels,
        spec=spec._replace(strides=ones, dilation=dilation, padding=tuple(padding)),
    )


def forward(
    by: Callable[..., jax.Array], x: jax.Array, kernel: jax.Array, facts: ConvFacts
) -> jax.Array:
    """The output, from the `forward` of an algorithm."""
    less = reduced(facts)
    return by(_split_input(x, facts, less), _split_kernel(kernel, facts), less.spec)


def input_grad(
    by: Callable[..., jax.Array], g: jax.Array, kernel: jax.Array, facts: ConvFacts
) -> jax.Array:
    """The input gradient, from the `input_grad` of an algorithm."""
    less = reduced(facts)
    dx = by(g, _split_kernel(kernel, facts), less.spec, less.spatial)
    shape = (len(g), *facts.spatial, facts.channels)
    return transpose(partial(_split_input, facts=facts, less=less), shape, dx)


def kernel_grad(
    by: Callable[..., jax.Array], x: jax.Array, g: jax.Array, facts: ConvFacts
) -> jax.Array:
    """The kernel gradient, from the `kernel_grad` of an algorithm."""
    less = reduced(facts)
    dk = by(_split_input(x, facts, less), g, less.spec, less.window)
    shape = (*facts.window, facts.fan_in, facts.out)
    return transpose(partial(_split_kernel, facts=facts), shape, dk)


def _split_input(x: jax.Array, facts: ConvFacts, less: ConvFacts) -> jax.Array:
    """X with its phases as channels, those of a group side by side."""
    spec, rank, zero = facts.spec, len(facts.window), jnp.zeros((), x.dtype)
    widths = [
        (lo, n * s - size - lo, 0) if s > 1 else (0, 0, 0)
        for n, s, size, (lo, _) in zip(
            less.spatial, spec.strides, facts.spatial, spec.padding, strict=True
        )
    ]
    x = lax.pad(x, zero, [(0, 0, 0), *widths, (0, 0, 0)])
    dealt = [n for pair in zip(less.spatial, spec.strides, strict=True) for n in pair]
    x = x.reshape(len(x), *dealt, spec.groups, facts.fan_in)
    x = _used(x, facts, 2)
    places, phases = range(1, 1 + 2 * rank, 2), range(2, 2 + 2 * rank, 2)
    x = x.transpose(0, *places, x.ndim - 2, *phases, x.ndim - 1)
    return x.reshape(len(x), *less.spatial, less.channels)


def _split_kernel(kernel: jax.Array, facts: ConvFacts) -> jax.Array:
    """The kernel with its phases as channels."""
    *window, fan_in, out = kernel.shape
    strides, rank, zero = facts.spec.strides, len(window), jnp.zeros((), kernel.dtype)
    kept = [-(-taps // s) for taps, s in zip(window, strides, strict=True)]
    widths = [
        (0, n * s - taps, 0) for n, s, taps in zip(kept, strides, window, strict=True)
    ]
    kernel = lax.pad(kernel, zero, [*widths, (0, 0, 0), (0, 0, 0)])
    dealt = [n for pair in zip(kept, strides, strict=True) for n in pair]
    kernel = _used(kernel.reshape(*dealt, fan_in, out), facts, 1)
    taps, phases = range(0, 2 * rank, 2), range(1, 2 * rank, 2)
    kernel = kernel.transpose(*taps, *phases, 2 * rank, 2 * rank + 1)
    return kernel.reshape(*kept, -1, out)


def _used(x: jax.Array, facts: ConvFacts, first: int) -> jax.Array:
    """Those phases, every second axis from `first` on, that a tap meets."""
    for i, (s, taps) in enumerate(zip(facts.spec.strides, facts.window, strict=True)):
        x = lax.slice_in_dim(x, 0, min(s, taps), axis=first + 2 * i)
    return x

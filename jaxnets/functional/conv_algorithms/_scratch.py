"""Bytes that an algorithm takes beside the arrays of a convolution, estimated."""

from math import gcd, prod

import jax.numpy as jnp

from jaxnets.functional._dtypes import wide_dtype
from jaxnets.functional.conv_algorithms._fft_tiles import Plan
from jaxnets.functional.conv_algorithms._spec import ConvFacts
from jaxnets.functional.conv_algorithms._stride_channels import MOST_PHASES


def arrays(facts: ConvFacts) -> float:
    """Bytes of x, the kernel and the output."""
    numbers = facts.batch * prod(facts.spatial) * facts.channels
    numbers += facts.batch * prod(facts.positions) * facts.out + facts.kernel_cells
    return float(numbers * jnp.dtype(facts.dtype).itemsize)


def padded(part: str, facts: ConvFacts, most_phases: int = MOST_PHASES) -> float:
    """Bytes of an image with the padding that a part of a convolution writes out.

    That is an image of x; of an input gradient one of g, as a phase of the strides sees
    it, or spread out if these are too many.
    """
    spec, size = facts.spec, jnp.dtype(facts.dtype).itemsize
    if part != "input_grad":
        pairs = zip(facts.spatial, spec.padding, strict=True)
        cells = prod(n + max(lo, 0) + max(hi, 0) for n, (lo, hi) in pairs)
        return float(cells * facts.channels * size)
    cells, spread = 1, prod(spec.strides) > most_phases
    for n, taps, s, d in zip(
        facts.spatial, facts.window, spec.strides, spec.dilation, strict=True
    ):
        common = s if spread else gcd(s, d)
        met, phases = -(-taps * common // s), 1 if spread else s
        cells *= -(-n // phases) + (d if spread else d // common) * (met - 1)
    return float(cells * facts.out * size)


def spectra(facts: ConvFacts, plan: Plan | None) -> float:
    """Bytes of the spectra of a kernel, and of the tiles of one step."""
    if plan is None:
        return 0.0
    size = jnp.dtype(wide_dtype(facts.dtype)).itemsize
    channels, kernels = plan.planes(facts.channels, facts.fan_out)
    _, _, together = plan.counts("forward", facts.batch)
    points = prod(plan.lengths)
    # Spectra are as large as what is transformed; so is that, laid out with its zeros.
    return float(2 * size * points * (kernels + together * (channels + facts.out)))

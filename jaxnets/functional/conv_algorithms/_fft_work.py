"""What convolutions by transforms cost, and why they cannot do some."""

from math import log2, prod

import jax.numpy as jnp

from jaxnets.functional._dtypes import wide_dtype
from jaxnets.functional.conv_algorithms._fft_tiles import Plan
from jaxnets.functional.conv_algorithms._spec import ConvFacts, Work

CACHE_BYTES = 1 << 20
CALLS_A_STEP = 6


def unsupported(facts: ConvFacts) -> str | None:
    """Transforms need floating point: why `facts` cannot be had, or None."""
    if jnp.issubdtype(facts.dtype, jnp.floating):
        return None
    if jnp.issubdtype(facts.dtype, jnp.complexfloating):
        remedy = "convolve the real and the imaginary parts apart"
    else:
        remedy = "cast x and kernel to float32"
    return f"works on floats; got {jnp.dtype(facts.dtype)} ({remedy})"


def transform_flops(points: int) -> float:
    """2.5 N log2 N, for one real transform of N points."""
    return 2.5 * points * log2(max(points, 2))


def work(part: str, facts: ConvFacts, plan: Plan | None) -> Work:
    """Flops, bytes and calls of one part.

    Transforms count 2.5 N log2 N flops, a complex multiplication and addition 8. An
    array is read and written in its own layout and with the channels leading; spectra
    count where those of one step do not fit in `CACHE_BYTES`.
    """
    itemsize = jnp.dtype(wide_dtype(facts.dtype)).itemsize
    x = facts.batch * prod(facts.spatial) * facts.channels
    y = facts.batch * prod(facts.positions) * facts.out
    k = prod(facts.window) * facts.fan_in * facts.out
    kind = "depthwise" if facts.fan_in == 1 else "dense"
    if plan is None:
        result = {"forward": y, "input_grad": x, "kernel_grad": k}[part]
        return Work(0.0, float(result * itemsize), 1.0, kind)
    channels, kernels = plan.planes(facts.channels, facts.fan_out)
    tiles, steps, together = plan.counts(part, facts.batch)
    points = prod(plan.lengths)
    planes = tiles * (channels + facts.out)
    products = tiles * channels * facts.fan_out * (points // 2 + 1)
    flops = (planes + kernels) * transform_flops(points) + 8 * products
    volume = 3 * (x + y + k)
    if itemsize * points * (together * (channels + facts.out) + kernels) > CACHE_BYTES:
        volume += 4 * points * (planes + kernels)
        volume += 2 * points * kernels * (steps - 1)
    return Work(
        flops, float(volume * itemsize), float(CALLS_A_STEP * (steps + 1)), kind
    )

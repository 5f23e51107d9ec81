"""SciPy's and JAX's own FFT convolutions as contestants, for the long kernels.

Both are given channels and groups the way a user would: depthwise channels broadcast or
mapped, dense channels as one convolution a pair, then summed.
"""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._conv_cases import Layer
from benchmarks._conv_peers import Apply, Arrays, Contestant, threads


def oaconvolve_peer(layer: Layer, arrays: Arrays) -> Contestant:
    """`scipy.signal.oaconvolve`, the forward pass, on as many threads as the others."""
    import scipy.fft
    from scipy.signal import oaconvolve

    x, kernel, _ = arrays
    axes = tuple(range(1, 1 + layer.rank))
    flipped = np.flip(kernel, tuple(range(layer.rank)))[None]
    cut = (slice(None), *_cut(layer))

    def run() -> np.ndarray:
        with scipy.fft.set_workers(threads()):
            if layer.groups == 1:
                pairs = oaconvolve(x[..., None], flipped, axes=axes)
                return pairs[cut].sum(-2)
            return oaconvolve(x, flipped[..., 0, :], axes=axes)[cut]

    return Contestant(run)


def fftconvolve_apply(layer: Layer) -> Apply:
    """`jax.scipy.signal.fftconvolve`, mapped over batch and channels."""
    from jax.scipy.signal import fftconvolve

    cut = _cut(layer)

    def one(signal: jax.Array, kernel: jax.Array) -> jax.Array:
        return fftconvolve(signal, kernel)[cut]

    def all_pairs(image: jax.Array, kernel: jax.Array) -> jax.Array:
        to_one = jax.vmap(one, in_axes=-1, out_axes=-1)
        return jax.vmap(to_one, in_axes=(None, -1), out_axes=-1)(image, kernel).sum(-2)

    def wise(image: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.vmap(one, in_axes=-1, out_axes=-1)(image, kernel[..., 0, :])

    apply = all_pairs if layer.groups == 1 else wise

    def batch(x: jax.Array, kernel: jax.Array) -> jax.Array:
        flipped = jnp.flip(kernel, range(layer.rank))
        return jax.vmap(apply, in_axes=(0, None))(x, flipped)

    return batch


def _cut(layer: Layer) -> tuple[slice, ...]:
    """Where the layer's output lies in the full convolution."""
    axes = zip(layer.window, layer.pads, layer.positions, strict=True)
    return tuple(slice(k - 1 - lo, k - 1 - lo + p) for k, (lo, _), p in axes)

"""Spectra: there, back, and the sums of products frequency by frequency."""

import jax
import jax.numpy as jnp
from jax import lax

UNROLL = 16
XLA_AXES = 3
FORWARD = ("ngi...,gio...->ngo...", 2)
INPUT_GRAD = ("ngo...,gio...->ngi...", 3)
KERNEL_GRAD = ("ngi...,ngo...->gio...", 0)


def spectrum(a: jax.Array, lengths: tuple[int, ...]) -> jax.Array:
    """The real transform over the trailing axes, filled up with zeros."""
    lead = a.ndim - len(lengths)
    widths = [
        (0, length - size, 0)
        for length, size in zip(lengths, a.shape[lead:], strict=True)
    ]
    a = lax.pad(a, jnp.zeros((), a.dtype), [(0, 0, 0)] * lead + widths)
    a = lax.fft(a, lax.FftType.RFFT, lengths[-XLA_AXES:])
    for axis in range(lead, a.ndim - XLA_AXES):
        a = jnp.fft.fft(a, axis=axis)
    return a


def signal(
    a: jax.Array, lengths: tuple[int, ...], starts: list[int], sizes: list[int]
) -> jax.Array:
    """The way back from `spectrum`, of which the cells from `starts` on are kept."""
    lead = a.ndim - len(lengths)
    for axis in range(lead, a.ndim - XLA_AXES):
        a = jnp.fft.ifft(a, axis=axis)
    a = lax.fft(a, lax.FftType.IRFFT, lengths[-XLA_AXES:])
    limits = [start + size for start, size in zip(starts, sizes, strict=True)]
    return lax.slice(a, [0] * lead + starts, [*a.shape[:lead], *limits])


def contract(a: jax.Array, b: jax.Array, how: tuple[str, int]) -> jax.Array:
    """The sum over images or channels of products, frequency by frequency.

    Up to `UNROLL` terms are written out, as one loop over the trailing frequencies;
    a dot needs them in front, and moving them there costs more than so few products.
    """
    equation, axis = how
    left, right = equation.replace("...", "").split("->")[0].split(",")
    terms, others = a.shape[left.index("ngio"[axis])], 1
    for name in set("nio") - {"ngio"[axis]}:
        others *= (
            a.shape[left.index(name)] if name in left else b.shape[right.index(name)]
        )
    if terms > UNROLL and others > 1:
        return jnp.einsum(equation, a, b, precision=lax.Precision.HIGHEST)
    a = lax.expand_dims(a, [i for i, name in enumerate("ngio") if name not in left])
    b = lax.expand_dims(b, [i for i, name in enumerate("ngio") if name not in right])
    if terms > UNROLL:
        return (a * b).sum(axis)
    products = [
        lax.index_in_dim(a, term, axis, keepdims=False)
        * lax.index_in_dim(b, term, axis, keepdims=False)
        for term in range(terms)
    ]
    return sum(products[1:], start=products[0])

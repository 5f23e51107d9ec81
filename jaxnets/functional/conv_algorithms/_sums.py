"""The kernel gradient of depthwise convolutions: one long sum a tap and channel.

A sum over all axes but the last, of products made on the way, is taken by XLA on CPU a
number at a time. So the first adding is written out: a few rows of the image are added
to each other as whole arrays, which runs in vector units, and what is left is small.
On two cores that takes 0.45 ms instead of 1 for 56 x 56 x 128 by 3x3 and 1.3 instead of
4.3 for 56 x 56 x 96 by 7x7.
"""

from math import prod

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.functional._dtypes import wide_dtype
from jaxnets.functional.conv_algorithms._spec import ConvSpec
from jaxnets.functional.conv_algorithms._taps import tap_views

MOST_ADDED = 8
"""Rows that are added as arrays."""

MOST_WRITTEN = 256
"""Products in a program."""


def are_few(window: tuple[int, ...], height: int) -> bool:
    """Whether the products of all rows, by one row of taps, are few enough to write."""
    return prod(window[1:]) * min(height, MOST_ADDED) <= MOST_WRITTEN


def sums_of_taps(
    padded: jax.Array, g: jax.Array, spec: ConvSpec, window: tuple[int, ...]
) -> jax.Array:
    """Σ_{n,p} padded[n, s·p + d·t, c] g[n, p, o] for every tap t: `(taps, 1, out)`.

    Args:
        padded: `(batch, *cells, groups)`, of which a channel a group is seen.
        g: `(batch, *positions, out)`.
        spec: what the convolution does.
        window: its window.
    """
    wide, out = wide_dtype(g.dtype), g.shape[-1]
    piece = -(-g.shape[1] // MOST_ADDED)
    rows = jnp.split(g.astype(wide), [*range(piece, g.shape[1], piece)], axis=1)
    stride, step = spec.strides[0], spec.dilation[0]
    taps = (1, *window[1:])

    def of_row(tap: jax.Array) -> jax.Array:
        """Sums of one row of taps."""
        first = [tap * step if axis == 1 else 0 for axis in range(padded.ndim)]
        height = padded.shape[1] - step * (window[0] - 1)
        cells = lax.dynamic_slice(
            padded, first, (len(padded), height, *padded.shape[2:])
        )
        views = [
            tap_views(cells[:, i * piece * stride :], spec, taps, rows[i].shape[1:-1])
            for i in range(len(rows))
        ]
        sums = []
        for seen in zip(*views, strict=True):
            terms = (
                repeated(view.astype(wide), out // spec.groups) * row
                for view, row in zip(seen, rows, strict=True)
            )
            # The last piece may have fewer rows. Its products are filled up and not
            # what they are made of: 0 · NaN would be NaN.
            filled = (_with_rows(term, piece - term.shape[1]) for term in terms)
            sums.append(sum(filled, start=next(filled)))
        partial = jnp.stack(sums, axis=1)
        return jnp.sum(partial, [axis for axis in range(g.ndim) if axis != 1])

    # A loop also has what it reads put into memory of its own: within the sums, the
    # place of every number in x would be worked out again for every tap.
    return lax.map(of_row, jnp.arange(window[0])).reshape(prod(window), 1, out)


def repeated(view: jax.Array, times: int) -> jax.Array:
    """Every channel as often as its group has outputs."""
    return view if times == 1 else jnp.repeat(view, times, axis=-1)


def _with_rows(x: jax.Array, rows: int) -> jax.Array:
    """X with rows of zeros behind the last one."""
    if rows == 0:
        return x
    widths = [(0, rows if axis == 1 else 0, 0) for axis in range(x.ndim)]
    return lax.pad(x, jnp.zeros((), x.dtype), widths)

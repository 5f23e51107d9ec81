"""Convolution written out as the sparse matrix that it is."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.experimental.sparse import BCOO
from jax.typing import ArrayLike

from jaxnets.functional._checks import check_choice, check_integers, check_min_rank
from jaxnets.functional._conv import conv_output_shape
from jaxnets.functional._shapes import IntOrInts, Padding, canonical_padding

# What `numpy.pad` calls the contents of the padding; zeros have no cell of x behind.
_PAD_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def conv_matrix(
    kernel: ArrayLike,
    input_shape: Sequence[int],
    *,
    strides: IntOrInts = 1,
    padding: Padding = "SAME",
    dilation: IntOrInts = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    flip_kernel: bool = False,
) -> BCOO:
    """The sparse matrix of a convolution.

        vec(conv(x, kernel)) = M vec(x),
        M[(p, o), (i, c)] = kernel[t, c, o] where i = s · p + d · t − lo

    with both arrays unrolled in row-major order. Every entry of the kernel stands in
    many places of M and most of M is zero: in 1-D it is a Toeplitz matrix, in 2-D a
    Toeplitz matrix of Toeplitz blocks, circulant with `padding_mode="circular"`.

    Args:
        kernel: `(*window, in // groups, out)`; the matrix is linear in it.
        input_shape: `(*spatial, in)`, without a batch.
        strides: as in `conv`.
        padding: as in `conv`; zero padding leaves no entries.
        dilation: as in `conv`.
        groups: as in `conv`.
        padding_mode: as in `conv`.
        flip_kernel: as in `conv`.

    Returns:
        A `jax.experimental.sparse.BCOO` of shape
        `(positions · out, spatial · in)` in the kernel's dtype, with one entry for each
        connection of an output with an input, by rows. The places are computed with
        NumPy, from the shapes alone; this takes some 100 bytes an entry for a while.

    Raises:
        TypeError: as `conv` does.
        ValueError: as `conv` does, or if `input_shape` has a batch.

    Example:
        >>> import jax.numpy as jnp
        >>> kernel = jnp.array([1.0, 2.0, 3.0])[:, None, None]
        >>> matrix = conv_matrix(kernel, (3, 1), padding="FULL", flip_kernel=True)
        >>> matrix.todense().astype(int)
        Array([[1, 0, 0],
               [2, 1, 0],
               [3, 2, 1],
               [0, 3, 2],
               [0, 0, 3]], dtype=int32)
        >>> (matrix @ jnp.array([4.0, 5.0, 6.0])).tolist()
        [4.0, 13.0, 28.0, 27.0, 18.0]

    Source:
        Goodfellow, Bengio, Courville, Deep Learning (2016), section 9.1; Dumoulin and
        Visin, arXiv:1603.07285, section 4.1.
    """
    kernel = jnp.asarray(kernel)
    check_choice("conv_matrix", "padding_mode", padding_mode, ("zeros", *_PAD_MODES))
    *positions, out = matrix_output_shape(
        "conv_matrix",
        input_shape,
        kernel.shape,
        strides=strides,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )
    *spatial, channels = input_shape
    *window, fan_in, _ = kernel.shape
    rank = len(window)
    if flip_kernel:
        kernel = jnp.flip(kernel, range(rank))

    strides = check_integers("conv", "strides", strides, length=rank, minimum=1)
    dilation = check_integers("conv", "dilation", dilation, length=rank, minimum=1)
    pads = canonical_padding("conv", padding, spatial, window, strides, dilation)
    cell, real = np.zeros((1, 1), np.int64), np.ones((1, 1), bool)
    for axis, size in enumerate(spatial):
        source = _padded_cells(size, pads[axis], padding_mode)
        place = (
            np.arange(positions[axis])[:, None] * strides[axis]
            + np.arange(window[axis]) * dilation[axis]
        )
        met = source[place]
        cell = _outer(cell * size, np.maximum(met, 0), np.add)
        real = _outer(real, met >= 0, np.logical_and)

    count, taps = real.shape
    wanted = np.broadcast_to(real[:, None, :, None], (count, out, taps, fan_in))
    p, o, t, c = np.nonzero(wanted)
    row = p * out + o
    column = cell[p, t] * channels + o // (out // groups) * fan_in + c
    places = np.stack([row, column], axis=-1).astype(np.int32)
    in_order = padding_mode == "zeros"
    return BCOO(
        (kernel.reshape(-1)[(t * fan_in + c) * out + o], jnp.asarray(places)),
        shape=(count * out, int(np.prod(spatial)) * channels),
        indices_sorted=in_order,
        unique_indices=in_order,
    )


def matrix_output_shape(
    function: str, input_shape: Sequence[int], kernel_shape: Sequence[int], **options
) -> tuple[int, ...]:
    """`(*positions, out)`; raise unless `input_shape` is `(*spatial, in)`."""
    layout = "(*window, in // groups, out)"
    check_min_rank(function, "kernel", kernel_shape, 3, layout)
    rank = len(kernel_shape) - 2
    check_integers(function, "input_shape", input_shape, length=None, minimum=1)
    if len(input_shape) != rank + 1:
        raise ValueError(
            f"{function}: input_shape must have {rank + 1} entries, (*spatial, in) for "
            f"a kernel of {rank + 2} axes; got {tuple(input_shape)}"
        )
    return conv_output_shape(input_shape, kernel_shape, **options)


def _padded_cells(size: int, pads: tuple[int, int], padding_mode: str) -> np.ndarray:
    """The cell of x that each cell of the padded axis shows, −1 for a zero."""
    cells = np.arange(size)
    if padding_mode == "zeros":
        return np.pad(cells, pads, constant_values=-1)
    mode: Any = _PAD_MODES[padding_mode]
    return np.pad(cells, pads, mode=mode)


def _outer(table: np.ndarray, along: np.ndarray, combine: np.ufunc) -> np.ndarray:
    """A table of positions by taps with one more axis on both sides."""
    both = combine(table[:, None, :, None], along[None, :, None, :])
    return both.reshape(table.shape[0] * along.shape[0], -1)

"""Convolution and correlation as mathematics has them: signals, images, polynomials."""

from collections.abc import Sequence
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxnets.functional._checks import check_choice, check_min_rank
from jaxnets.functional._conv import conv
from jaxnets.functional._conv_accuracy import is_relaxed
from jaxnets.functional._convolve_axes import (
    Roles,
    check_axes,
    check_mode,
    exact_algorithm,
    padding,
    roles,
    size_of,
)
from jaxnets.functional.conv_algorithms import ALGORITHMS


def convolve(
    a: ArrayLike,
    b: ArrayLike,
    mode: str = "full",
    *,
    axes: int | Sequence[int] | None = None,
    algorithm: str = "auto",
    precision: Any = None,
    accuracy: str | None = None,
) -> jax.Array:
    """Convolve two arrays over some or all of their axes.

        (a ∗ b)[n] = Σ_m a[m] b[n − m]

    Commutative in mode `"full"`, and linear in a and in b. The axes that are not
    convolved broadcast: a batch of signals meets one kernel, or one signal many
    kernels, or pair by pair, and nothing is repeated in memory.

    Accuracy: by default the error of each result is at most c n ε Σ |a| |b| over its n
    terms, c about 1 (of complex numbers, for either part). `accuracy="relaxed"` permits
    FFT, whose errors are relative to the largest results.

    Args:
        a: an array of real, complex or whole numbers.
        b: another, of as many axes.
        mode: `"full"` (every cell where the two overlap, M + N − 1 an axis), `"same"`
            (the M cells in the middle of those, M the size of a) or `"valid"` (the
            cells where the smaller lies within the larger, which must be as large in
            every convolved axis).
        axes: the axis or axes to convolve over; None takes all.
        algorithm: `"auto"`, `"direct"` (sums), `"fft"`, `"overlap_add"` (FFT of
            blocks: a long signal and a short one), or any other name that `conv` takes.
        precision: as in `conv`.
        accuracy: as in `conv`.

    Returns:
        The axes in the order they have in a and b, in the promoted dtype. Integers are
        exact, up to overflow of that dtype.

    Raises:
        TypeError: for booleans, for axes that are no integers, and for integers where
            the algorithm needs floating point.
        ValueError: if the shapes, the mode and the axes do not fit together, or there
            is nothing to sum over.

    Example:
        >>> import jax.numpy as jnp
        >>> convolve(jnp.array([1, 2, 3]), jnp.array([4, 5, 6])).tolist()
        [4, 13, 28, 27, 18]
        >>> convolve(jnp.array([1, 2, 3]), jnp.array([4, 5, 6]), "same").tolist()
        [13, 28, 27]

    Source:
        Goodfellow, Bengio, Courville, Deep Learning (2016), equations 9.1 to 9.5; the
        modes are those of `scipy.signal.convolve`.
    """
    return _combine("convolve", a, b, mode, axes, algorithm, precision, accuracy)


def correlate(
    a: ArrayLike,
    b: ArrayLike,
    mode: str = "full",
    *,
    axes: int | Sequence[int] | None = None,
    algorithm: str = "auto",
    precision: Any = None,
    accuracy: str | None = None,
) -> jax.Array:
    """Correlate two arrays over some or all of their axes.

        (a ⋆ b)[n] = Σ_m a[n + m − (N − 1)] conj(b[m])

    with N the size of b: the convolution of a with b turned over and conjugated, which
    networks call convolution. It does not commute.

    Accuracy: as in `convolve`.

    Args:
        a: an array of real, complex or whole numbers.
        b: another, of as many axes; conjugated.
        mode: as in `convolve`.
        axes: as in `convolve`.
        algorithm: as in `convolve`.
        precision: as in `conv`.
        accuracy: as in `conv`.

    Returns:
        As `convolve` does. Entry N − 1 of mode `"full"` is the one without a shift.

    Raises:
        TypeError: as `convolve` does.
        ValueError: as `convolve` does.

    Example:
        >>> import jax.numpy as jnp
        >>> correlate(jnp.array([1, 2, 3]), jnp.array([4, 5, 6])).tolist()
        [6, 17, 32, 23, 12]

    Source:
        Goodfellow, Bengio, Courville, Deep Learning (2016), equation 9.6; complex
        numbers and modes as in `scipy.signal.correlate`.
    """
    return _combine("correlate", a, b, mode, axes, algorithm, precision, accuracy)


def polynomial_product(
    a: ArrayLike,
    b: ArrayLike,
    *,
    algorithm: str = "auto",
    precision: Any = None,
    accuracy: str | None = None,
) -> jax.Array:
    """Multiply polynomials given by their coefficients, lowest power first.

        c_i = Σ_{j=0}^{i} a_j b_{i−j},    C(x) = A(x) B(x)

    Accuracy: as in `convolve`.

    Args:
        a: `(*batch, M)`, the coefficients of degree M − 1.
        b: `(*batch, N)`; the batch axes of a and b broadcast.
        algorithm: as in `convolve`.
        precision: as in `conv`.
        accuracy: as in `conv`.

    Returns:
        `(*batch, M + N − 1)`.

    Raises:
        TypeError: as `convolve` does.
        ValueError: if a or b has no axis or no coefficients, or the batches do not fit.

    Example:
        (1 + 2 x) (3 + x²):

        >>> import jax.numpy as jnp
        >>> polynomial_product(jnp.array([1, 2]), jnp.array([3, 0, 1])).tolist()
        [3, 6, 1, 2]

    Source:
        Cormen, Leiserson, Rivest, Stein, Introduction to Algorithms, section 30.1.
    """
    a, b = jnp.asarray(a), jnp.asarray(b)
    for name, array in (("a", a), ("b", b)):
        layout = "the last one of coefficients"
        check_min_rank("polynomial_product", name, array.shape, 1, layout)
    ndim = max(a.ndim, b.ndim)
    a, b = (v.reshape((1,) * (ndim - v.ndim) + v.shape) for v in (a, b))
    return _combine(
        "polynomial_product", a, b, "full", -1, algorithm, precision, accuracy
    )


def _combine(
    function: str,
    a: ArrayLike,
    b: ArrayLike,
    mode: str,
    axes: int | Sequence[int] | None,
    algorithm: str,
    precision: Any,
    accuracy: str | None,
) -> jax.Array:
    """What the public functions do; `correlate` turns b over and conjugates it."""
    a, b = jnp.asarray(a), jnp.asarray(b)
    check_choice(function, "algorithm", algorithm, ("auto", *ALGORITHMS))
    is_relaxed(function, accuracy)  # raises for an unknown class
    space = check_axes(function, a.shape, b.shape, axes)
    check_mode(function, mode, a.shape, b.shape, space)
    dtype = jnp.result_type(a, b)
    algorithm = exact_algorithm(function, dtype, algorithm)
    sizes = [size_of(a.shape[i], b.shape[i], mode, i in space) for i in range(a.ndim)]
    if 0 in sizes:
        return jnp.zeros(sizes, dtype)

    # b turned over once, by `conv`'s own flip or by its absence: flips that cancel
    # would still be two passes over the arrays outside of `jit`.
    correlating = function == "correlate"
    if correlating and jnp.iscomplexobj(b):
        b = jnp.conj(b)
    swapped = prod(a.shape[i] for i in space) < prod(b.shape[i] for i in space)
    x, kernel = (jnp.flip(b, space) if correlating else b, a) if swapped else (a, b)
    pads = [padding(a.shape[i], b.shape[i], mode, swapped=swapped) for i in space]
    options = {
        "padding": tuple((max(lo, 0), max(hi, 0)) for lo, hi in pads),
        "flip_kernel": swapped or not correlating,
        "algorithm": algorithm,
        "precision": precision,
        "accuracy": accuracy,
    }
    for axis, (lo, hi) in zip(space, pads, strict=True):
        if lo < 0 or hi < 0:
            end = x.shape[axis] + min(hi, 0)
            x = lax.slice_in_dim(x, max(-lo, 0), end, axis=axis)
    parts = roles(x.shape, kernel.shape, space)

    def real(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return _real(x, kernel, parts, options)

    if not jnp.issubdtype(dtype, jnp.complexfloating):
        return real(x.astype(dtype), kernel.astype(dtype))
    return _complex(real, x, kernel, jnp.finfo(dtype).dtype)


def _real(x: jax.Array, kernel: jax.Array, parts: Roles, options: dict) -> jax.Array:
    """The convolution as one call of `conv`: batch, groups and output channels."""
    space, batch, pairs, outputs = parts
    spatial = tuple(x.shape[i] for i in space)
    window = tuple(kernel.shape[i] for i in space)
    many = tuple(x.shape[i] for i in batch)
    groups = tuple(x.shape[i] for i in pairs)
    fan_out = tuple(kernel.shape[i] for i in outputs)

    images = x.transpose(*batch, *space, *pairs, *outputs)
    images = images.reshape(*many, *spatial, prod(groups))
    bank = kernel.transpose(*space, *batch, *pairs, *outputs)
    bank = bank.reshape(*window, 1, prod(groups) * prod(fan_out))
    y = conv(images, bank, groups=prod(groups), **options)
    positions = y.shape[len(many) : -1]
    y = y.reshape(*many, *positions, *groups, *fan_out)
    order = (*batch, *space, *pairs, *outputs)
    return y.transpose(sorted(range(y.ndim), key=lambda place: order[place]))


def _complex(real: Any, x: jax.Array, kernel: jax.Array, part: Any) -> jax.Array:
    """All products of real and imaginary parts at once: as more batch and channels.

    Four real convolutions where both are complex, two where one is. Three would do
    (Gauss), but lose digits where the parts differ in size.
    """
    parts = [
        [v.real, v.imag] if jnp.iscomplexobj(v) else [v.astype(part)]
        for v in (x, kernel)
    ]
    pairwise = jax.vmap(jax.vmap(real, (None, 0)), (0, None))
    y = pairwise(*(jnp.stack(p).astype(part) for p in parts))
    match y.shape[:2]:
        case 2, 2:
            return lax.complex(y[0, 0] - y[1, 1], y[0, 1] + y[1, 0])
        case 2, 1:
            return lax.complex(y[0, 0], y[1, 0])
        case _:
            return lax.complex(y[0, 0], y[0, 1])

"""Integers only: which axes of two arrays are convolved, and what comes out."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxnets.functional._checks import check_choice, check_integer

MODES = ("full", "same", "valid")
_TRANSFORMS = ("fft", "overlap_add")


class Roles(NamedTuple):
    """Which axis of x (the larger array) and kernel (the smaller) plays which part.

    Attributes:
        space: the axes to convolve.
        batch: axes that x alone has; the kernel has size 1 there.
        pairs: axes that both have, or neither.
        outputs: axes that the kernel alone has.
    """

    space: tuple[int, ...]
    batch: tuple[int, ...]
    pairs: tuple[int, ...]
    outputs: tuple[int, ...]


def check_axes(
    function: str, a: Sequence[int], b: Sequence[int], axes: int | Sequence[int] | None
) -> tuple[int, ...]:
    """The axes to convolve over, counted from 0; raise unless the shapes fit them."""
    shapes = f"a.shape={tuple(a)}, b.shape={tuple(b)}"
    if len(a) != len(b):
        raise ValueError(
            f"{function}: a and b must have the same number of axes; got {len(a)} and "
            f"{len(b)} (add axes of size 1; {shapes})"
        )
    if not a:
        raise ValueError(f"{function}: a and b must have an axis; got scalars")
    named = range(len(a)) if axes is None else axes
    if hasattr(named, "__index__"):
        named = (named,)
    if isinstance(named, str) or not isinstance(named, Sequence):
        raise TypeError(
            f"{function}: axes must be an integer, several or None; got {axes!r}"
        )
    space = tuple(_axis(function, axis, len(a), shapes) for axis in named)
    if not space:
        raise ValueError(f"{function}: axes must name an axis; got {axes!r} ({shapes})")
    if len(set(space)) < len(space):
        raise ValueError(
            f"{function}: axes must differ; got {tuple(named)} for {len(a)} axes"
        )
    for axis, (m, n) in enumerate(zip(a, b, strict=True)):
        if axis in space and 0 in (m, n):
            raise ValueError(
                f"{function}: there is nothing to sum over along axis {axis}; got "
                f"{shapes}"
            )
        if axis not in space and m != n and 1 not in (m, n):
            raise ValueError(
                f"{function}: axes that are not convolved must be equal or 1; got "
                f"{m} and {n} on axis {axis} (axes={space}, {shapes})"
            )
    return tuple(sorted(space))


def _axis(function: str, axis: Any, ndim: int, shapes: str) -> int:
    axis = check_integer(function, "axes", axis, minimum=-ndim)
    if axis >= ndim:
        raise ValueError(
            f"{function}: axes must be below {ndim}, the number of axes; got {axis} "
            f"({shapes})"
        )
    return axis % ndim


def check_mode(
    function: str, mode: str, a: Sequence[int], b: Sequence[int], space: tuple[int, ...]
) -> None:
    """Raise unless the mode exists and the sizes allow it."""
    check_choice(function, "mode", mode, MODES)
    less = [i for i in space if a[i] < b[i]]
    more = [i for i in space if a[i] > b[i]]
    if mode == "valid" and less and more:
        raise ValueError(
            f"{function}: mode='valid' needs one array to be at least as large as the "
            f"other along every convolved axis; got a larger on axis {more[0]} and b "
            f"larger on axis {less[0]} (a.shape={tuple(a)}, b.shape={tuple(b)})"
        )


def roles(x: Sequence[int], kernel: Sequence[int], space: tuple[int, ...]) -> Roles:
    """What each axis is for."""
    others = [i for i in range(len(x)) if i not in space]
    return Roles(
        space,
        batch=tuple(i for i in others if x[i] != 1 and kernel[i] == 1),
        pairs=tuple(i for i in others if x[i] == kernel[i]),
        outputs=tuple(i for i in others if x[i] == 1 and kernel[i] != 1),
    )


def size_of(a: int, b: int, mode: str, convolved: bool) -> int:
    """Size of the result along one axis."""
    if not convolved:
        return b if a == 1 else a
    return {"full": a + b - 1, "same": a, "valid": abs(a - b) + 1}[mode]


def padding(a: int, b: int, mode: str, *, swapped: bool) -> tuple[int, int]:
    """Cells to put before and behind x; where negative, to take away."""
    x, kernel = (b, a) if swapped else (a, b)
    first = {"full": 0, "same": (b - 1) // 2, "valid": kernel - 1}[mode]
    size = size_of(a, b, mode, convolved=True)
    lo = kernel - 1 - first
    return lo, size + kernel - 1 - x - lo


def exact_algorithm(function: str, dtype: Any, algorithm: str) -> str:
    """The algorithm, for integers one that keeps them exact."""
    if dtype == jnp.bool_:
        raise TypeError(f"{function}: a and b must be numbers; got booleans (cast one)")
    if not jnp.issubdtype(dtype, jnp.integer):
        return algorithm
    if algorithm in _TRANSFORMS:
        raise TypeError(
            f"{function}: algorithm={algorithm!r} computes in floating point; got "
            f"{dtype} (take algorithm='direct', which is exact, or cast to a float)"
        )
    return "direct" if algorithm == "auto" else algorithm

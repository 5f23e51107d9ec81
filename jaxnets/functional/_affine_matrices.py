"""Matrices of rotations, moves, scalings and shears, x first, that compose with @."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnets.functional._checks import check_integer
from jaxnets.functional._dtypes import wide_dtype


def rotation(angle: ArrayLike, *, axis: ArrayLike | None = None) -> jax.Array:
    """The matrix of a rotation about the origin.

    [[cos a, −sin a, 0], [sin a, cos a, 0], [0, 0, 1]]; where y points down, as in
    images, a positive angle turns clockwise as seen. With an axis u in three dimensions
    R = cos a · I + sin a · [u]ₓ + (1 − cos a) u uᵀ.

    Args:
        angle: `(*batch,)`, floating, in radians.
        axis: `(3,)`, the direction to turn about, of any length but 0; None turns in
            the plane.

    Returns:
        `(*batch, 3, 3)`, or `(*batch, 4, 4)` with an axis.

    Raises:
        TypeError: if `angle` is not floating.
        ValueError: if `axis` does not have three entries.

    Example:
        >>> rotation(jnp.pi / 2).round(3) @ jnp.asarray([1.0, 0.0, 1.0])
        Array([0., 1., 1.], dtype=float32)

    Source:
        Rodrigues' formula; Hartley, Zisserman 2003, "Multiple view geometry in computer
        vision", appendix 4.
    """
    angle = _floating("rotation", "angle", angle)
    wide = angle.astype(wide_dtype(angle.dtype))
    cos, sin = jnp.cos(wide), jnp.sin(wide)
    if axis is None:
        return _matrix([[cos, -sin], [sin, cos]], [0, 0]).astype(angle.dtype)
    u = jnp.asarray(axis, wide.dtype)
    if u.shape != (3,):
        raise ValueError(f"rotation: axis must have shape (3,); got {u.shape}")
    x, y, z = u / jnp.sqrt(jnp.sum(u * u))
    c = 1 - cos
    rows = [
        [cos + x * x * c, x * y * c - z * sin, x * z * c + y * sin],
        [y * x * c + z * sin, cos + y * y * c, y * z * c - x * sin],
        [z * x * c - y * sin, z * y * c + x * sin, cos + z * z * c],
    ]
    return _matrix(rows, [0, 0, 0]).astype(angle.dtype)


def translation(offset: ArrayLike) -> jax.Array:
    """The matrix of a move: p ↦ p + offset.

    Args:
        offset: `(*batch, rank)`, floating, x first.

    Returns:
        `(*batch, rank + 1, rank + 1)`.

    Raises:
        TypeError: if `offset` is not floating.
        ValueError: if `offset` has no axis of coordinates.

    Example:
        >>> translation(jnp.asarray([2.0, 3.0])) @ jnp.asarray([1.0, 1.0, 1.0])
        Array([3., 4., 1.], dtype=float32)

    Source:
        Hartley, Zisserman 2003, "Multiple view geometry in computer vision", section
        2.4.
    """
    offset = _vectors("translation", "offset", offset)
    rank = offset.shape[-1]
    rows = [[int(i == j) for j in range(rank)] for i in range(rank)]
    return _matrix(rows, [offset[..., i] for i in range(rank)])


def scaling(factors: ArrayLike) -> jax.Array:
    """The matrix of a scaling along the axes: p ↦ factors · p.

    Args:
        factors: `(*batch, rank)`, floating, x first.

    Returns:
        `(*batch, rank + 1, rank + 1)`.

    Raises:
        TypeError: if `factors` is not floating.
        ValueError: if `factors` has no axis of coordinates.

    Example:
        >>> scaling(jnp.asarray([2.0, 3.0])) @ jnp.asarray([1.0, 1.0, 1.0])
        Array([2., 3., 1.], dtype=float32)

    Source:
        Hartley, Zisserman 2003, "Multiple view geometry in computer vision", section
        2.4.
    """
    factors = _vectors("scaling", "factors", factors)
    rank = factors.shape[-1]
    rows = [
        [factors[..., i] if i == j else 0 for j in range(rank)] for i in range(rank)
    ]
    return _matrix(rows, [0] * rank)


def shear(
    amount: ArrayLike, *, along: int = 0, by: int = 1, ndim: int = 2
) -> jax.Array:
    """The matrix of a shear: p[along] grows by amount · p[by].

    Args:
        amount: `(*batch,)`, floating.
        along: the coordinate that changes, 0 for x.
        by: the coordinate that says how much.
        ndim: how many coordinates there are.

    Returns:
        `(*batch, ndim + 1, ndim + 1)`.

    Raises:
        TypeError: if `amount` is not floating or a number not an integer.
        ValueError: if `along` and `by` are no two different coordinates.

    Example:
        >>> shear(jnp.asarray(0.5)) @ jnp.asarray([1.0, 2.0, 1.0])
        Array([2., 2., 1.], dtype=float32)

    Source:
        Hartley, Zisserman 2003, "Multiple view geometry in computer vision", section
        2.4.
    """
    amount = _floating("shear", "amount", amount)
    along, by, ndim = (
        check_integer("shear", name, value, minimum=least)
        for name, value, least in (
            ("along", along, 0),
            ("by", by, 0),
            ("ndim", ndim, 2),
        )
    )
    if along == by or max(along, by) >= ndim:
        raise ValueError(
            f"shear: along and by must be two different coordinates of {ndim}; got "
            f"{along} and {by}"
        )
    rows: list[list] = [[int(i == j) for j in range(ndim)] for i in range(ndim)]
    rows[along][by] = amount
    return _matrix(rows, [0] * ndim)


def inverse_affine(theta: ArrayLike) -> jax.Array:
    """The inverse of an affine map, by cofactors.

        [A | t] ↦ [A⁻¹ | −A⁻¹ t]

    Args:
        theta: `(*batch, rank, rank + 1)`, or `(*batch, rank + 1, rank + 1)` with the
            last row 0 ... 0 1, which is not looked at; floating, rank 1 to 3.

    Returns:
        The shape and dtype of `theta`; not finite where A has no inverse.

    Raises:
        TypeError: if `theta` is not floating.
        ValueError: if `theta` has another shape.

    Example:
        >>> inverse_affine(jnp.asarray([[2.0, 3.0]]))
        Array([[ 0.5, -1.5]], dtype=float32)

    Source:
        Cramer's rule.
    """
    theta = _floating("inverse_affine", "theta", theta)
    rows, columns = theta.shape[-2:] if theta.ndim > 1 else (0, 0)
    rank = columns - 1
    if rank not in (1, 2, 3) or rows not in (rank, columns):
        raise ValueError(
            "inverse_affine: theta must have shape (*batch, rank, rank + 1) or "
            f"(*batch, rank + 1, rank + 1) with rank 1 to 3; got {theta.shape}"
        )
    wide = theta.astype(wide_dtype(theta.dtype))
    a = [[wide[..., i, j] for j in range(rank)] for i in range(rank)]
    if rank == 1:
        cofactors = [[jnp.ones_like(a[0][0])]]
    elif rank == 2:
        cofactors = [[a[1][1], -a[1][0]], [-a[0][1], a[0][0]]]
    else:
        # Indices that run on cyclically carry the signs.
        cofactors = [
            [
                a[(i + 1) % 3][(j + 1) % 3] * a[(i + 2) % 3][(j + 2) % 3]
                - a[(i + 1) % 3][(j + 2) % 3] * a[(i + 2) % 3][(j + 1) % 3]
                for j in range(3)
            ]
            for i in range(3)
        ]
    determinant = sum(
        (a[0][j] * cofactors[0][j] for j in range(1, rank)), a[0][0] * cofactors[0][0]
    )
    inverse = [
        [cofactors[j][i] / determinant for j in range(rank)] for i in range(rank)
    ]
    moved = [
        -sum(inverse[i][j] * wide[..., j, rank] for j in range(rank))
        for i in range(rank)
    ]
    return _matrix(inverse, moved)[..., :rows, :].astype(theta.dtype)


def _matrix(rows: list[list], offsets: list) -> jax.Array:
    """[[rows, offsets], [0 ... 0, 1]] of scalars and arrays of one shape."""
    full = [[*row, offset] for row, offset in zip(rows, offsets, strict=True)]
    full.append([0] * len(rows) + [1])
    like = next(a for row in full for a in row if isinstance(a, jax.Array))
    entries = [
        jnp.stack(
            [jnp.full_like(like, a) if isinstance(a, int) else a for a in row], -1
        )
        for row in full
    ]
    return jnp.stack(entries, axis=-2)


def _floating(function: str, name: str, value: ArrayLike) -> jax.Array:
    array = jnp.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"{function}: {name} must be floating; got {array.dtype}")
    return array


def _vectors(function: str, name: str, value: ArrayLike) -> jax.Array:
    array = _floating(function, name, value)
    if array.ndim == 0 or array.shape[-1] not in (1, 2, 3):
        raise ValueError(
            f"{function}: {name} must have shape (*batch, rank) with rank 1 to 3; got "
            f"{array.shape}"
        )
    return array

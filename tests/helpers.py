"""Comparison of arrays: dtype, shape and value, with a tolerance by dtype."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

EPSILON = {
    name: float(jnp.finfo(name).eps)
    for name in ("bfloat16", "float16", "float32", "float64")
}


def tolerance(dtype: Any, reduction: int = 1) -> float:
    """Allowed error relative to the largest entry, for sums of `reduction` terms.

    Rounding errors of a sum grow like the square root of its length; the factor 16
    leaves room for the order of the terms and for a few operations around the sum.
    """
    dtype = jnp.dtype(dtype)
    if not jnp.issubdtype(dtype, jnp.inexact):
        return 0.0
    real = jnp.finfo(dtype).dtype.name
    return 16 * EPSILON[real] * max(reduction, 1) ** 0.5


def assert_close(
    actual: Any,
    expected: Any,
    *,
    reduction: int = 1,
    dtype: Any = None,
    tol: float | None = None,
) -> None:
    """Compare two pytrees of arrays leaf by leaf: dtype, shape, then value.

    Args:
        actual: what the library gave.
        expected: what an independent oracle gave; NumPy float64 is welcome.
        reduction: how many terms are summed into one entry; widens the tolerance.
        dtype: the dtype `actual` must have; None demands that of `expected`.
        tol: tolerance relative to max(1, |largest expected entry|) in place of the
            one of the table; the caller says why in a comment.
    """
    leaves, tree = jax.tree.flatten(actual)
    expected_leaves, expected_tree = jax.tree.flatten(expected)
    assert tree == expected_tree, f"structures differ: {tree} and {expected_tree}"
    for got, want in zip(leaves, expected_leaves, strict=True):
        demanded = jnp.dtype(dtype or want.dtype)
        assert got.dtype == demanded, f"dtype is {got.dtype}, not {demanded}"
        assert got.shape == want.shape, f"shape is {got.shape}, not {want.shape}"
        wide = np.complex128 if np.iscomplexobj(want) else np.float64
        got, want = np.asarray(got).astype(wide), np.asarray(want).astype(wide)
        finite = np.abs(want[np.isfinite(want)])
        scale = max(1.0, float(finite.max(initial=0.0)))
        allowed = (tolerance(demanded, reduction) if tol is None else tol) * scale
        np.testing.assert_allclose(got, want, rtol=0, atol=allowed)

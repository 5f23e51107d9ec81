"""Convolution as a linear operator that multiplies without being written out."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnets.functional._checks import check_choice, check_integers
from jaxnets.functional._conv import conv
from jaxnets.functional._conv_matrix import matrix_output_shape
from jaxnets.functional._shapes import IntOrInts, Padding, canonical_padding
from jaxnets.functional.conv_algorithms import ALGORITHMS


def _static() -> Any:
    return field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ConvOperator:
    """A convolution as a matrix of `shape` that is never formed; see `conv_operator`.

    A pytree whose only leaf is the kernel: it goes through `jit`, `grad` and `scan`.

    Attributes:
        kernel: `(*window, in // groups, out)`.
        input_shape: `(*spatial, in)`.
        output_shape: `(*positions, out)`.
        options: those of `conv`, as pairs of name and value.
        transposed: whether this is the transpose of the convolution.
    """

    kernel: Any
    input_shape: tuple[int, ...] = _static()
    output_shape: tuple[int, ...] = _static()
    options: tuple[tuple[str, Any], ...] = _static()
    transposed: bool = _static()

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        outputs, inputs = prod(self.output_shape), prod(self.input_shape)
        return (inputs, outputs) if self.transposed else (outputs, inputs)

    @property
    def T(self) -> "ConvOperator":
        """The transpose."""
        return replace(self, transposed=not self.transposed)

    def __matmul__(self, v: ArrayLike) -> jax.Array:
        """Multiply a vector `(columns,)`, or the columns of `(columns, n)`."""
        v = jnp.asarray(v)
        rows, columns = self.shape
        if v.ndim not in (1, 2) or len(v) != columns:
            raise ValueError(
                f"ConvOperator: an operator of shape {self.shape} multiplies vectors "
                f"({columns},) or matrices ({columns}, n); got {v.shape}"
            )
        dtype = jnp.result_type(v, self.kernel)
        kernel = jnp.asarray(self.kernel).astype(dtype)
        count = prod(v.shape[1:])
        batch = v.T.reshape(count, columns).astype(dtype)

        def forward(x: jax.Array) -> jax.Array:
            return conv(x, kernel, **dict(self.options))

        if self.transposed:
            g = batch.reshape(count, *self.output_shape)
            x = jax.ShapeDtypeStruct((count, *self.input_shape), dtype)
            (y,) = jax.linear_transpose(forward, x)(g)
        else:
            y = forward(batch.reshape(count, *self.input_shape))
        return y.reshape(count, rows).T.reshape(rows, *v.shape[1:])

    def todense(self) -> jax.Array:
        """The matrix, by multiplying every unit vector."""
        return self @ jnp.eye(self.shape[1], dtype=jnp.result_type(self.kernel))


def conv_operator(
    kernel: ArrayLike,
    input_shape: Sequence[int],
    *,
    strides: IntOrInts = 1,
    padding: Padding = "SAME",
    dilation: IntOrInts = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    flip_kernel: bool = False,
    algorithm: str = "auto",
    precision: Any = None,
    accuracy: str | None = None,
) -> ConvOperator:
    """A convolution as a matrix-free linear operator, for iterative solvers.

        A @ vec(x) = vec(conv(x, kernel)),    A.T @ vec(g) = vec(the gradient in x)

    The product and that with the transpose run at the speed of `conv` and of its
    gradient, and need memory for the arrays only, where `conv_matrix` needs it for
    every connection.

    Accuracy: as in `conv`, in both directions.

    Args:
        kernel: `(*window, in // groups, out)`.
        input_shape: `(*spatial, in)`, without a batch.
        strides: as in `conv`.
        padding: as in `conv`.
        dilation: as in `conv`.
        groups: as in `conv`.
        padding_mode: as in `conv`.
        flip_kernel: as in `conv`.
        algorithm: as in `conv`.
        precision: as in `conv`.
        accuracy: as in `conv`.

    Returns:
        An operator of `shape` `(positions · out, spatial · in)` with `@` for vectors
        and matrices, `.T` and `.todense()`.

    Raises:
        TypeError: as `conv` does.
        ValueError: as `conv` does, or if `input_shape` has a batch.

    Example:
        A blurred signal made sharp again by least squares: conjugate gradients on the
        normal equations.

        >>> import jax, jax.numpy as jnp
        >>> blur = jnp.array([0.25, 0.5, 0.25])[:, None, None]
        >>> A = conv_operator(blur, (6, 1), padding="FULL")
        >>> sharp = jnp.array([0.0, 0.0, 8.0, 0.0, 4.0, 0.0])
        >>> blurred = A @ sharp
        >>> blurred.tolist()
        [0.0, 0.0, 2.0, 4.0, 3.0, 2.0, 1.0, 0.0]
        >>> again, _ = jax.scipy.sparse.linalg.cg(
        ...     lambda v: A.T @ (A @ v), A.T @ blurred
        ... )
        >>> bool(jnp.allclose(again, sharp, atol=1e-4))
        True

    Source:
        Dumoulin and Visin, arXiv:1603.07285, section 4.1; Nagy and O'Leary, Restoring
        images degraded by spatially variant blur, SIAM J. Sci. Comput. 19 (1998).
    """
    kernel = jnp.asarray(kernel)
    check_choice("conv_operator", "algorithm", algorithm, ("auto", *ALGORITHMS))
    sizes = {"strides": strides, "dilation": dilation, "groups": groups}
    output_shape = matrix_output_shape(
        "conv_operator", input_shape, kernel.shape, padding=padding, **sizes
    )
    window, spatial = kernel.shape[:-2], tuple(input_shape[:-1])
    for name in ("strides", "dilation"):
        sizes[name] = check_integers(
            "conv", name, sizes[name], length=len(window), minimum=1
        )
    # Static fields of a pytree are compared and hashed, so lists become tuples.
    pads = canonical_padding(
        "conv", padding, spatial, window, sizes["strides"], sizes["dilation"]
    )
    options = {
        **sizes,
        "padding": pads,
        "padding_mode": padding_mode,
        "flip_kernel": flip_kernel,
        "algorithm": algorithm,
        "precision": tuple(precision) if isinstance(precision, list) else precision,
        "accuracy": accuracy,
    }
    operator = ConvOperator(
        kernel, tuple(input_shape), output_shape, tuple(options.items()), False
    )
    # `conv` refuses here what it would refuse in the first product.
    jax.eval_shape(operator.__matmul__, jnp.zeros(operator.shape[1], kernel.dtype))
    return operator

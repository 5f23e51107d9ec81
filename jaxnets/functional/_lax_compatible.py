"""jaxnets' convolution behind the signature of `jax.lax.conv_general_dilated`."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from jaxnets.functional._checks import check_integers
from jaxnets.functional._conv import conv
from jaxnets.functional._shapes import MOST_PIXELS, dilated_size


def lax_compatible_conv(
    lhs: ArrayLike,
    rhs: ArrayLike,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: DTypeLike | None = None,
    out_sharding: Any = None,
) -> jax.Array:
    """`jax.lax.conv_general_dilated` by the algorithms of `conv`.

    For code that takes its convolution as an argument, above all Flax's:
    `nnx.Conv(..., conv_general_dilated=lax_compatible_conv)`.

    Args:
        lhs: the input, in the layout of `dimension_numbers`.
        rhs: the kernel, in the layout of `dimension_numbers`.
        window_strides: cells from one window to the next, one an axis.
        padding: `"SAME"`, `"VALID"`, `"SAME_LOWER"`, or a pair an axis; negative
            padding is refused.
        lhs_dilation: `lhs_dilation − 1` zeros go between the cells of lhs.
        rhs_dilation: cells from one tap to the next.
        dimension_numbers: as `lax` takes them; None means channels first.
        feature_group_count: the channels are cut into this many groups.
        batch_group_count: must be 1; it occurs in gradients only, which `conv` has
            of its own.
        precision: as in `lax`.
        preferred_element_type: dtype of the products and the result; None keeps that of
            lhs and rhs.
        out_sharding: sharding of the result on a mesh with explicit axes; None leaves
            it to `conv`.

    Returns:
        The convolution, in the layout of `dimension_numbers`.

    Raises:
        TypeError: if an option has the wrong type.
        ValueError: as `conv` does, and for what it does not have.

    Example:
        >>> import jax.numpy as jnp
        >>> x, kernel = jnp.ones((1, 2, 8, 8)), jnp.ones((4, 2, 3, 3))
        >>> lax_compatible_conv(x, kernel, (1, 1), "SAME").shape
        (1, 4, 8, 8)

    Source:
        The signature is that of `jax.lax.conv_general_dilated`.
    """
    name = "lax_compatible_conv"
    lhs, rhs = jnp.asarray(lhs), jnp.asarray(rhs)
    if lhs.ndim != rhs.ndim or lhs.ndim < 3:
        raise ValueError(
            f"{name}: lhs and rhs must have the same number of axes, at least 3; got "
            f"lhs.shape={lhs.shape}, rhs.shape={rhs.shape}"
        )
    if batch_group_count != 1:
        raise ValueError(
            f"{name}: batch_group_count must be 1; got {batch_group_count} "
            "(jax.lax.conv_general_dilated has it)"
        )
    layout = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    image, window, result = layout.lhs_spec, layout.rhs_spec, layout.out_spec
    rank = lhs.ndim - 2
    if preferred_element_type is not None:
        lhs, rhs = (a.astype(preferred_element_type) for a in (lhs, rhs))
    x = lhs.transpose(image[0], *image[2:], image[1])
    kernel = rhs.transpose(*window[2:], window[1], window[0])
    if lhs_dilation is not None:
        spread = check_integers(
            name, "lhs_dilation", tuple(lhs_dilation), length=rank, minimum=1
        )
        if max(spread) > 1 and isinstance(padding, str):
            raise ValueError(
                f"{name}: padding must be pairs of numbers where lhs_dilation is not "
                f"1; got padding={padding!r}, lhs_dilation={lhs_dilation}"
            )
        for axis, (size, n) in enumerate(zip(x.shape[1:-1], spread, strict=True)):
            if dilated_size(size, n) > MOST_PIXELS:
                raise ValueError(
                    f"{name}: lhs_dilation must leave at most {MOST_PIXELS} pixels "
                    f"along an axis; {n} makes {dilated_size(size, n)} of spatial "
                    f"axis {axis} (lhs.shape={lhs.shape})"
                )
        edges = [(0, 0, 0), *((0, 0, n - 1) for n in spread), (0, 0, 0)]
        x = lax.pad(x, jnp.zeros((), x.dtype), edges)
    y = conv(
        x,
        kernel,
        strides=tuple(window_strides),
        padding=padding if isinstance(padding, str) else tuple(map(tuple, padding)),
        dilation=1 if rhs_dilation is None else tuple(rhs_dilation),
        groups=feature_group_count,
        precision=precision,
    )
    order = [0] * (rank + 2)
    for axis, place in enumerate((result[0], *result[2:], result[1])):
        order[place] = axis
    y = y.transpose(order)
    return y if out_sharding is None else jax.sharding.reshard(y, out_sharding)

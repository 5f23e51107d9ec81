"""Does a layer do to a moved image what it does to the image, moved?"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnets.functional._checks import check_integer

Action = Callable[[jax.Array], jax.Array]


def equivariance_error(
    f: Action, action: Action, x: ArrayLike, *, action_out: Action | None = None
) -> jax.Array:
    """How far a function is from commuting with a transformation of its input.

        error = max |f(g(x)) − g'(f(x))| / max |g'(f(x))|

    It is zero, up to rounding, where f is equivariant to g, and of the order of 1 where
    it is not. f is invariant to g if that holds with g' the identity.

    Args:
        f: the function, such as a layer with its parameters bound.
        action: g, a function of an input: `shift_action`, `rotate_action`,
            `reflect_action`, or any other.
        x: an input of f.
        action_out: g', what g means for an output of f; None takes g again. After a
            stride of s a shift by s of the input is a shift by 1 of the output.

    Returns:
        A scalar in the dtype of the output; where the output is all zero, the greatest
        difference itself.

    Raises:
        ValueError: if the two sides have different shapes.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxnets.functional import conv
        >>> x = jax.random.normal(jax.random.key(0), (8, 8, 1))
        >>> kernel = jax.random.normal(jax.random.key(1), (3, 3, 1, 4))
        >>> def layer(x):
        ...     return conv(x, kernel, padding_mode="circular")
        >>> bool(equivariance_error(layer, shift_action((2, 5)), x) < 1e-5)
        True
        >>> bool(equivariance_error(layer, rotate_action(1), x) > 0.1)
        True

    Source:
        Goodfellow, Bengio, Courville, Deep Learning (2016), section 9.2.
    """
    x = jnp.asarray(x)
    moved_first = f(action(x))
    moved_last = (action_out or action)(f(x))
    if moved_first.shape != moved_last.shape:
        raise ValueError(
            "equivariance_error: f(action(x)) and action_out(f(x)) must have one "
            f"shape; got {moved_first.shape} and {moved_last.shape} (give action_out, "
            "what the action means for an output)"
        )
    difference = jnp.max(jnp.abs(moved_first - moved_last), initial=0)
    scale = jnp.max(jnp.abs(moved_last), initial=0)
    return difference / jnp.where(scale > 0, scale, jnp.ones_like(scale))


def shift_action(
    offsets: Sequence[int], *, axes: Sequence[int] | None = None
) -> Action:
    """The circular shift of an image, as a function.

        g(x)[i] = x[(i − offset) mod size]

    Args:
        offsets: cells to shift by, one an axis.
        axes: the axes; None takes those before the last one, which is of channels.

    Returns:
        A function from an array to one of the same shape.

    Raises:
        TypeError: if an offset or an axis is no integer.
        ValueError: if there are not as many axes as offsets.

    Example:
        >>> import jax.numpy as jnp
        >>> shift_action((1,))(jnp.array([[1], [2], [3]])).tolist()
        [[3], [1], [2]]

    Source:
        Cohen and Welling, arXiv:1602.07576, section 4.
    """
    steps = tuple(_integer("shift_action", "offsets", step) for step in offsets)
    if axes is None:
        places = tuple(range(-1 - len(steps), -1))
    else:
        places = tuple(_integer("shift_action", "axes", axis) for axis in axes)
    if len(places) != len(steps):
        raise ValueError(
            f"shift_action: axes must be as many as offsets; got {len(places)} axes "
            f"and {len(steps)} offsets"
        )
    return lambda x: jnp.roll(x, steps, places)


def rotate_action(quarter_turns: int, *, axes: tuple[int, int] = (-3, -2)) -> Action:
    """The rotation of an image by quarters of a turn, as a function.

        g(x)[i, j] = x[j, H − 1 − i]  for one quarter, from the first axis to the second

    Args:
        quarter_turns: how many, of 90 degrees each; negative turns back.
        axes: the two axes that span the plane.

    Returns:
        A function from an array to the turned one.

    Raises:
        TypeError: if something is no integer.
        ValueError: if the two axes are one, once an image is given.

    Example:
        >>> import jax.numpy as jnp
        >>> image = jnp.array([[1, 2], [3, 4]])[..., None]
        >>> rotate_action(1)(image)[..., 0].tolist()
        [[2, 4], [1, 3]]

    Source:
        Cohen and Welling, arXiv:1602.07576, section 4.
    """
    turns = _integer("rotate_action", "quarter_turns", quarter_turns)
    first, second = axes
    plane = (
        _integer("rotate_action", "axes", first),
        _integer("rotate_action", "axes", second),
    )
    return lambda x: jnp.rot90(x, turns, plane)


def reflect_action(*, axis: int = -2) -> Action:
    """The reflection of an image along one axis, as a function.

        g(x)[i] = x[size − 1 − i]

    Args:
        axis: the axis; the default is the last spatial one: left becomes right.

    Returns:
        A function from an array to the reflected one.

    Raises:
        TypeError: if the axis is no integer.

    Example:
        >>> import jax.numpy as jnp
        >>> reflect_action()(jnp.array([[1], [2], [3]])).tolist()
        [[3], [2], [1]]

    Source:
        Cohen and Welling, arXiv:1602.07576, section 4.
    """
    place = _integer("reflect_action", "axis", axis)
    return lambda x: jnp.flip(x, place)


def _integer(function: str, name: str, value: int) -> int:
    """An integer of either sign."""
    return check_integer(function, name, value, minimum=-(2**63))

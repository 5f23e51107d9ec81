"""Argument checks with one message style: `function: rule, value got (remedy)`."""

from collections.abc import Collection, Sequence
from typing import Any


def check_choice(
    function: str, name: str, value: Any, choices: Collection[Any]
) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{function}: {name} must be one of {listed}; got {value!r}")


def check_integer(function: str, name: str, value: Any, *, minimum: int) -> int:
    """Return `value` as an int; raise unless it is an integer of at least `minimum`."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{function}: {name} must be an integer; got {value!r}")
    value = value.__index__()
    if value < minimum:
        raise ValueError(f"{function}: {name} must be at least {minimum}; got {value}")
    return value


def check_integers(
    function: str, name: str, value: Any, *, length: int | None, minimum: int
) -> tuple[int, ...]:
    """Return `value`, an integer for all axes or one an axis, as a tuple.

    Args:
        function: the public function's name, the first word of the message.
        name: the argument's name.
        value: an integer, or a sequence of integers.
        length: how many axes there are; None takes any sequence and no lone integer.
        minimum: the smallest integer allowed.

    Returns:
        A tuple of `length` ints.

    Raises:
        TypeError: if something is not an integer.
        ValueError: if there are too many or too few, or one is below `minimum`.
    """
    if hasattr(value, "__index__") and length is not None:
        return (check_integer(function, name, value, minimum=minimum),) * length
    if isinstance(value, str) or not isinstance(value, Sequence):
        kind = "a sequence of integers" if length is None else "an integer or several"
        raise TypeError(f"{function}: {name} must be {kind}; got {value!r}")
    if length is not None and len(value) != length:
        raise ValueError(
            f"{function}: {name} must have {length} entries, one a spatial axis; "
            f"got {len(value)} in {tuple(value)}"
        )
    return tuple(check_integer(function, name, v, minimum=minimum) for v in value)


def check_min_rank(
    function: str, name: str, shape: Sequence[int], rank: int, layout: str
) -> None:
    """Raise ValueError unless `shape` has at least `rank` axes, as `layout` says."""
    if len(shape) < rank:
        raise ValueError(
            f"{function}: {name} must have at least {rank} axes, {layout}; "
            f"got {name}.shape={tuple(shape)}"
        )


def check_shape(
    function: str, name: str, shape: Sequence[int], expected: Sequence[int], why: str
) -> None:
    """Raise ValueError unless `shape` is `expected`; `why` says what demands it."""
    if tuple(shape) != tuple(expected):
        raise ValueError(
            f"{function}: {name} must have shape {tuple(expected)} ({why}); "
            f"got {tuple(shape)}"
        )

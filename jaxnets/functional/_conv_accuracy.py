"""The accuracy class of convolutions: the option, and the context for a program."""

from types import TracebackType

import jax

from jaxnets.functional._checks import check_choice

ACCURACIES = ("elementwise", "relaxed")

_in_force = jax.make_user_context(None)


class conv_accuracy:
    """Set the accuracy class of all convolutions that do not name one themselves.

        elementwise:  |error| ≤ c n ε Σ |x| |k|    over the terms of each result
        relaxed:      |error| ≤ c ε max Σ |x| |k|  over the results of a tile or array

    It is in force from the call on, or in a `with` block until its end, for every
    function and layer whose `accuracy` is None. Functions that were compiled under
    another class are traced again.

    Args:
        accuracy: `"elementwise"`, `"relaxed"`, or None for the default of each:
            elementwise in `functional`, relaxed in `nn` and `models`.

    Raises:
        ValueError: if there is no such class.

    Example:
        >>> from jaxnets.functional import conv_plan
        >>> shapes = (8, 64, 64, 1), (63, 63, 1, 1)
        >>> options = {"dtype": "float64", "precision": "default", "platform": "cpu"}
        >>> conv_plan(*shapes, **options).forward in ("direct", "gemm", "shift")
        True
        >>> with conv_accuracy("relaxed"):
        ...     conv_plan(*shapes, **options).forward
        'fft'

    Source:
        Higham, Accuracy and Stability of Numerical Algorithms (2002), sections 3.1
        and 24.1.
    """

    def __init__(self, accuracy: str | None) -> None:
        self._accuracy = check_accuracy("conv_accuracy", accuracy)
        self._before = _in_force.get_global()
        _in_force.set_global(accuracy)

    def __enter__(self) -> None:
        """In force already, unless an earlier block has ended."""
        _in_force.set_global(self._accuracy)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Restore what was in force before."""
        _in_force.set_global(self._before)


def check_accuracy(function: str, accuracy: str | None) -> str | None:
    """Raise unless `accuracy` is the name of a class or None; return it."""
    check_choice(function, "accuracy", accuracy, (*ACCURACIES, None))
    return accuracy


def is_relaxed(function: str, accuracy: str | None) -> bool:
    """Whether an `accuracy` argument permits relaxed errors; None asks the context."""
    return (check_accuracy(function, accuracy) or _in_force.value) == "relaxed"


def layer_accuracy(accuracy: str | None) -> str:
    """The class of a layer: its own, that of the context, or else relaxed."""
    return accuracy or _in_force.value or "relaxed"

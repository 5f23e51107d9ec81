"""What a parameter carries with it: regularizer, constraint, trainable.

The three are entries of the metadata of an NNX variable, so they work on Flax's own
layers too: `nnx.Linear(..., kernel_metadata={"regularizer": f})`. They travel with the
graph definition through `nnx.split`, `nnx.merge` and `nnx.clone`.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxnets.functional._dtypes import wide_dtype

Regularizer = Callable[[jax.Array], Any]
Constraint = Callable[[jax.Array], jax.Array]
Path = tuple[Any, ...]


class ActivityPenalty(nnx.Variable):
    """The penalty on what a layer gave at its last call, a scalar.

    A layer with an `activity_regularizer` holds one and overwrites it at every call in
    training mode; `penalty` adds it to the model's. A layer that is called twice in one
    pass counts with its last call. In evaluation mode (`model.eval()`) the layer does
    not write it and `penalty` does not add it.
    """


def annotate(
    target: nnx.Module | nnx.Variable,
    *,
    regularizer: Regularizer | None = None,
    constraint: Constraint | None = None,
    trainable: bool | None = None,
) -> None:
    """Set a parameter's regularizer, constraint or trainability after it was made.

    Args:
        target: a variable, or a module, which means every `nnx.Param` in it.
        regularizer: takes the array, returns a scalar; None leaves what is there.
        constraint: takes the array, returns the projected array; None leaves it.
        trainable: False for a parameter that `freeze` holds; None leaves it.

    Raises:
        TypeError: if something is not callable, or `trainable` is not a bool.

    Example:
        >>> from flax import nnx
        >>> from jaxnets.functional._penalties import l2
        >>> layer = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
        >>> annotate(layer.kernel, regularizer=l2)
        >>> annotate(layer, trainable=False)
        >>> layer.bias.get_metadata("trainable")
        False
    """
    given = parameter_metadata("annotate: ", regularizer, constraint, trainable)
    if isinstance(target, nnx.Variable):
        target.set_metadata(**given)
        return
    # nnx.state would give copies, whose metadata is nobody's.
    for _, node in nnx.iter_graph(target):
        if isinstance(node, nnx.Param):
            node.set_metadata(**given)


def parameter_metadata(
    prefix: str, regularizer: Any, constraint: Any, trainable: Any
) -> dict[str, Any]:
    """Those of the three that are not None, checked, as metadata of a variable."""
    given = {"regularizer": regularizer, "constraint": constraint}
    given = {name: value for name, value in given.items() if value is not None}
    for name, value in given.items():
        if not callable(value):
            raise TypeError(
                f"{prefix}{name} must be a function of an array; got {value!r} "
                "(for one with options use functools.partial)"
            )
    if trainable is not None:
        if not isinstance(trainable, bool):
            raise TypeError(f"{prefix}trainable must be a bool; got {trainable!r}")
        given["trainable"] = trainable
    return given


def penalty(model: nnx.Module) -> jax.Array:
    """Sum of all penalties of a model, to be added to its loss.

    Σ regularizer(parameter) over the trainable variables that carry one, each shared
    variable once, plus the activity penalties of the last call of the layers that are
    in training mode. Half types are widened to float32 before they are summed. Frozen
    parameters add nothing, as in Keras.

    Args:
        model: any NNX module, called before if it has activity regularizers.

    Returns:
        A float32 scalar, or a float64 one if a term is; 0 if there is no penalty.

    Raises:
        ValueError: if a regularizer does not return a scalar.

    Example:
        >>> import functools
        >>> from flax import nnx
        >>> from jaxnets.functional._penalties import l2
        >>> half = functools.partial(l2, strength=0.5)
        >>> ones = nnx.initializers.ones
        >>> model = nnx.Linear(
        ...     2, 3, kernel_init=ones, kernel_metadata={"regularizer": half},
        ...     rngs=nnx.Rngs(0),
        ... )
        >>> penalty(model)
        Array(3., dtype=float32)
    """
    terms = _activity_penalties(model)
    for path, variable in variables(model):
        regularizer = variable.get_metadata("regularizer", None)
        if regularizer is not None and is_trainable(variable):
            value = variable[...]
            term = jnp.asarray(regularizer(value.astype(wide_dtype(value.dtype))))
            if term.shape:
                raise ValueError(
                    "penalty: a regularizer must return a scalar; that of "
                    f"{path_name(path)} returned shape {term.shape} (sum it)"
                )
            terms.append(term)
    wide = any(term.dtype == jnp.float64 for term in terms)
    dtype = jnp.float64 if wide else jnp.float32
    return sum((term.astype(dtype) for term in terms), start=jnp.zeros((), dtype))


def _activity_penalties(model: nnx.Module) -> list[jax.Array]:
    """The activity penalties, without those of layers in evaluation mode."""
    nodes = [node for _, node in nnx.iter_graph(model)]
    stale = {
        id(getattr(node, "activity_penalty", None))
        for node in nodes
        if getattr(node, "deterministic", False)
    }
    found = [node for node in nodes if isinstance(node, ActivityPenalty)]
    return [node[...] for node in found if id(node) not in stale]


def variables(model: Any) -> Iterator[tuple[Path, nnx.Variable]]:
    """Path and variable of all variables of a model, a shared one at its first path.

    Plain arrays, such as the mask of a convolution, are no variables.
    """
    state = nnx.to_flat_state(nnx.state(model))
    return ((path, leaf) for path, leaf in state if isinstance(leaf, nnx.Variable))


def is_trainable(variable: nnx.Variable) -> bool:
    """Whether the variable is free to change: it is unless it says otherwise."""
    return variable.get_metadata("trainable", True)


def path_name(path: Path) -> str:
    """The path as people write it: `layers/0/kernel`."""
    return "/".join(str(key) for key in path)

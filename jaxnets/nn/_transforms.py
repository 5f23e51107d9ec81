"""Optax transformations that read what a model's parameters carry."""

from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jaxnets.nn._metadata import is_trainable, path_name, variables


def constrain(model: nnx.Module) -> optax.GradientTransformation:
    """Keep parameters inside their constraints: project what an update leads to.

    update' = project(parameter + update) − parameter, so the parameter becomes
    project(parameter + update) to one rounding, and exactly so where that is 0.

    It stands last, after everything that changes the size of an update:
    `optax.chain(optax.adam(1e-3), constrain(model))`. Parameters are found by their
    path, in an `nnx.State` (the loop of `nnx.Optimizer`) or in nested dicts
    (`nnx.to_pure_dict`, the trainer's); a part of the model's parameters is enough.
    The model's constraints are read here, once; frozen parameters are left alone.

    Args:
        model: the module whose parameters carry a `constraint`.

    Returns:
        An Optax transformation without a state; its update needs `params`.

    Raises:
        ValueError: at the update, if `params` is missing, is not of this model, or a
            constraint changes the shape.

    Example:
        >>> import optax
        >>> from flax import nnx
        >>> non_negative = optax.projections.projection_non_negative
        >>> model = nnx.Linear(
        ...     2, 1, kernel_metadata={"constraint": non_negative}, rngs=nnx.Rngs(0)
        ... )
        >>> params = {"kernel": jnp.asarray([[1.0], [2.0]]), "bias": jnp.zeros(1)}
        >>> updates = {"kernel": jnp.asarray([[-3.0], [-1.0]]), "bias": -jnp.ones(1)}
        >>> tx = constrain(model)
        >>> updates, _ = tx.update(updates, tx.init(params), params)
        >>> optax.apply_updates(params, updates)["kernel"]
        Array([[0.],
               [1.]], dtype=float32)

    Source:
        Projected gradient descent; Boyd, Vandenberghe: Convex optimization, 9.
    """
    known = _by_path(
        model,
        lambda v: v.get_metadata("constraint", None) if is_trainable(v) else None,
    )

    def init(params: Any) -> optax.EmptyState:
        _look_up("constrain", known, params)
        return optax.EmptyState()

    def update(
        updates: Any, state: Any, params: Any = None
    ) -> tuple[Any, optax.OptState]:
        if params is None:
            raise ValueError(
                "constrain: params must be given to update "
                "(optimizer.update(updates, state, params))"
            )
        constraints = _look_up("constrain", known, params)
        return jax.tree.map(_project, constraints, updates, params), state

    return optax.GradientTransformation(init, update)


def freeze(
    model: nnx.Module, optimizer: optax.GradientTransformation
) -> optax.GradientTransformationExtraArgs:
    """Let an optimizer see only the trainable parameters of a model.

    Parameters that carry `trainable=False` get updates of exact zero and no optimizer
    state; weight decay does not reach them. The others are updated as by `optimizer`
    alone. Parameters are found by their path, in an `nnx.State` or in nested dicts.
    Trainability is read here, once: after a change make the optimizer anew.

    Args:
        model: the module whose parameters may carry `trainable=False`.
        optimizer: what updates the trainable ones.

    Returns:
        An Optax transformation.

    Raises:
        ValueError: at init, if the parameters are not of this model.

    Example:
        >>> import jax, optax
        >>> from flax import nnx
        >>> model = nnx.Linear(
        ...     2, 3, kernel_metadata={"trainable": False}, rngs=nnx.Rngs(0)
        ... )
        >>> tx = freeze(model, optax.adam(1e-3))
        >>> state = tx.init(nnx.to_pure_dict(nnx.state(model, nnx.Param)))
        >>> [leaf.shape for leaf in jax.tree.leaves(state)]  # count, moments of bias
        [(), (3,), (3,)]

    Source:
        `optax.partition`.
    """
    known = _by_path(model, is_trainable)
    transforms: dict[Hashable, optax.GradientTransformation] = {
        True: optimizer,
        False: optax.set_to_zero(),
    }

    def labels(params: Any) -> Any:
        found = _look_up("freeze", known, params)
        return jax.tree.map(lambda leaf: leaf.value, found)

    # A gradient among the extra arguments (`optax.lbfgs`) is masked as the updates are.
    return optax.partition(transforms, labels, mask_compatible_extra_args=True)


class _Found:
    """A value looked up for a leaf; a leaf itself, whatever the value is."""

    def __init__(self, path: str, value: Any):
        self.path = path
        self.value = value


def _by_path(
    model: nnx.Module, read: Callable[[nnx.Variable], Any]
) -> dict[str, _Found]:
    named = ((path_name(path), variable) for path, variable in variables(model))
    return {name: _Found(name, read(variable)) for name, variable in named}


def _look_up(function: str, known: dict[str, _Found], params: Any) -> Any:
    """The tree of `params` with what is known of each leaf in its place."""

    def find(path: tuple[Any, ...], _: Any) -> _Found:
        # A Variable in an nnx.State is a node of its own, whose only child is .value.
        if path and path[-1] == jax.tree_util.GetAttrKey("value"):
            path = path[:-1]
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if name not in known:
            raise ValueError(
                f"{function}: params has a leaf at {name or 'its root'!r}, but the "
                f"model has no variable there; it has {', '.join(list(known)[:9])}"
            )
        return known[name]

    return jax.tree_util.tree_map_with_path(find, params)


def _project(found: _Found, update: jax.Array, param: jax.Array) -> jax.Array:
    if found.value is None:
        return update
    param, update = jnp.asarray(param), jnp.asarray(update)
    projected = found.value(optax.apply_updates(param, update))
    if projected.shape != param.shape:
        raise ValueError(
            f"constrain: the constraint of {found.path} must keep the shape "
            f"{param.shape}; it returned {projected.shape}"
        )
    # In the update's dtype: float32 updates of bfloat16 parameters stay exact.
    return projected.astype(update.dtype) - param.astype(update.dtype)

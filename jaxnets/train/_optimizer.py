"""Optimizers of optax in one form."""

from typing import Any

import jax
import optax

Optimizer = optax.GradientTransformation | optax.MultiSteps


def with_extra_args(tx: Optimizer) -> optax.GradientTransformationExtraArgs:
    """An optimizer whose update takes, and ignores if need be, extra arguments."""
    if isinstance(tx, optax.MultiSteps):
        # Its `gradient_transformation` would refuse extra arguments.
        update: Any = tx.update
        return optax.GradientTransformationExtraArgs(tx.init, update)
    return optax.with_extra_args_support(tx)


def fill_masked(tree: Any, full: Any) -> Any:
    """`tree` with the subtrees of `full` where it has an `optax.MaskedNode`."""

    def masked(node: Any) -> bool:
        return isinstance(node, optax.MaskedNode)

    return jax.tree.map(
        lambda part, whole: whole if masked(part) else part, tree, full, is_leaf=masked
    )

"""Looking for numbers that are not finite, on the device, without waiting for it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

SMALL = 4096  # numbers; leaves up to this size are looked through together


def select(condition: jax.Array, new: Any, old: Any) -> Any:
    """Choose between two pytrees, leaf by leaf, without a branch."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


def all_finite(tree: Any) -> jax.Array:
    """Whether every number in a pytree is finite, a bool scalar."""
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    leaves = [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    # One reduction a small leaf would cost more than the step of a deep, narrow network
    # does (200 leaves of 8 x 8 on the CPU: 0.6 ms of 2.3 ms, and seconds to compile).
    small = [leaf.size <= SMALL for leaf in leaves]
    checks = [
        jnp.all(jnp.isfinite(leaf))
        for leaf, is_small in zip(leaves, small, strict=True)
        if not is_small
    ]
    flags = [
        jnp.isfinite(leaf).reshape(-1)
        for leaf, is_small in zip(leaves, small, strict=True)
        if is_small
    ]
    if flags:
        checks.append(jnp.all(jnp.concatenate(flags)))
    return jnp.all(jnp.stack(checks)) if checks else jnp.ones((), bool)


def update_if(
    good: jax.Array, update: Callable[..., Any], given: Any, new: Any, old: Any
) -> Any:
    """The updated state if the step was good, else the old one."""

    def branch(good: jax.Array, given: Any, new: Any, old: Any) -> Any:
        return jax.lax.cond(good, update, lambda given, new, old: old, given, new, old)

    def without_branch(good: jax.Array, given: Any, new: Any, old: Any) -> Any:
        return select(good, update(given, new, old), old)

    # On the CPU a branch costs a tenth of 600 selects (see above); on a GPU it would
    # have the host wait for the condition, which selecting does not.
    return jax.lax.platform_dependent(
        good, given, new, old, cpu=branch, default=without_branch
    )

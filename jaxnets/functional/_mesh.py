"""Layouts of operands, cotangents and auxiliary arguments on meshes of devices."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec
from jax.typing import ArrayLike


def vary_alike(*arrays: Any) -> list:
    """Inside `shard_map`, let all vary over the axes that any of them varies over."""
    every = [jax.typeof(a).manual_axis_type.varying for a in arrays]
    over = frozenset().union(*every)
    return [
        a if own == over else lax.pcast(a, tuple(over - own), to="varying")
        for a, own in zip(arrays, every, strict=True)
    ]


def cut_like(cotangent: Any, operand: Any) -> Any:
    """The cotangent cut over an explicit mesh as its operand is, if that is."""
    sharding = operand.aval.sharding
    if sharding.mesh.empty or jax.typeof(cotangent).sharding == sharding:
        return cotangent
    return jax.sharding.reshard(cotangent, sharding)


def mesh_of(*avals: Any) -> Any:
    """The mesh of the first type that has one: that of a constant is empty."""
    meshes = [aval.sharding.mesh for aval in avals]
    return next((mesh for mesh in meshes if not mesh.empty), meshes[0])


def match_sharding(
    value: ArrayLike, like: Any, axes: Sequence[int] | None = None
) -> jax.Array:
    """Lay out a value over an explicit mesh as the axes of another array are.

    JAX refuses to combine two cuts in `where`, `vmap` and others, also a cut with a
    copy on every device, which is what constants and NumPy arrays are. Arguments that
    accompany a batch (lengths, masks, targets, states) go through here.

    Args:
        value: the argument; its axes of size 1 are never cut.
        like: the array, traced or not, that it accompanies.
        axes: the axis of `like` that each leading axis of `value` goes along with; the
            axes behind are not cut. None takes them in order.

    Returns:
        The value as an array.
    """
    value = jnp.asarray(value)
    value_type = jax.typeof(value)
    mesh = mesh_of(jax.typeof(like), value_type)
    if not mesh.explicit_axes:
        return value
    spec = jax.typeof(like).sharding.spec
    axes = range(value.ndim) if axes is None else axes
    cuts = [
        None if size == 1 else spec[axis]
        for size, axis in zip(value.shape, axes, strict=False)
    ]
    aim = NamedSharding(mesh, PartitionSpec(*cuts))
    return value if value_type.sharding == aim else jax.sharding.reshard(value, aim)

"""Operands and cotangents that are cut over meshes of devices, for our primitives."""

from typing import Any

import jax
from jax import lax


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

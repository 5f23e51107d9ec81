"""Pytrees as flat dicts of named arrays, which is what a checkpoint holds."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

KEY = "key:"


def is_key(leaf: Any) -> bool:
    """Whether a leaf is an array of PRNG keys."""
    return isinstance(leaf, jax.Array) and jnp.issubdtype(
        leaf.dtype, jax.dtypes.prng_key
    )


def flatten(tree: Any, prefix: str) -> dict[str, Any]:
    """Every leaf under its path: `params.dense.kernel`, `opt_state.0.mu...`."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {join(prefix, path): leaf for path, leaf in leaves}


def unflatten(template: Any, flat: dict[str, Any], prefix: str) -> Any:
    """The structure of `template` with the leaves of `flat`."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: flat[join(prefix, path)], template
    )


def join(prefix: str, path: Any) -> str:
    """The name of a leaf."""
    inner = jax.tree_util.keystr(path, simple=True, separator=".")
    return f"{prefix}.{inner}" if inner else prefix


def describe(leaf: Any) -> list[Any]:
    """Shape and dtype as JSON holds them: `[[3, 4], "float32"]`."""
    if is_key(leaf):
        return [list(leaf.shape), f"{KEY}{jax.random.key_impl(leaf)}"]
    leaf = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
    return [list(leaf.shape), str(leaf.dtype)]


def differences(
    saved: dict[str, list[Any]], expected: dict[str, list[Any]], prefix: str
) -> list[str]:
    """How two descriptions of arrays differ under a prefix, one line an array."""
    lines = []
    for name in sorted(saved.keys() | expected.keys()):
        if name != prefix and not name.startswith(f"{prefix}."):
            continue
        if name not in saved:
            lines.append(f"missing {name} {_show(expected[name])}")
        elif name not in expected:
            lines.append(f"unexpected {name} {_show(saved[name])}")
        elif saved[name] != expected[name]:
            change = f"{_show(saved[name])}, the model has {_show(expected[name])}"
            lines.append(f"changed {name} {change}")
    return lines


def _show(description: list[Any]) -> str:
    shape, dtype = description
    return f"{dtype}[{', '.join(map(str, shape))}]"

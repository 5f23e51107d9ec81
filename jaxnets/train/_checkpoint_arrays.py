"""The arrays of a checkpoint: how they are stored, checked and read back."""

import hashlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxnets.train._flatten import KEY, is_key


class BadCheckpoint(ValueError):
    """A folder that is no complete checkpoint; the message says why."""


def to_stored(arrays: dict[str, Any]) -> dict[str, Any]:
    """What Orbax is given: the words of PRNG keys, and no array without entries."""
    return {
        name: jax.random.key_data(leaf) if is_key(leaf) else leaf
        for name, leaf in arrays.items()
        if size(leaf)
    }


def content(leaf: Any) -> str | None:
    """SHA-256 of an array's values; None if this process has a part of them alone."""
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        if not leaf.is_fully_replicated:
            return None
        leaf = leaf.addressable_data(0)
    return hashlib.sha256(np.asarray(leaf).tobytes()).hexdigest()


def read_arrays(
    path: Path, meta: dict[str, Any], like: dict[str, Any]
) -> dict[str, Any]:
    """Read the arrays of a verified checkpoint.

    Args:
        path: the folder.
        meta: what `verify_checkpoint` gave.
        like: arrays of the running model by name; one that spans several devices says
            where the array of that name goes.

    Returns:
        All arrays by name: those of `like` on several devices placed as there, the
        others on the default device.

    Raises:
        BadCheckpoint: if an array has other values than were passed in to be saved.
    """
    targets, keys = {}, {}
    for name, (shape, dtype) in meta["arrays"].items():
        if dtype.startswith(KEY):
            # The words behind a key, as wide as its implementation has them.
            keys[name] = dtype.removeprefix(KEY)
            words = jax.random.key_data(jax.random.key(0, impl=keys[name]))
            shape, dtype = (*shape, *words.shape), words.dtype
        sharding = getattr(like.get(name), "sharding", None)
        if name in keys or sharding is None or len(sharding.device_set) == 1:
            targets[name] = np.empty(shape, jax.numpy.dtype(dtype))
        else:
            targets[name] = jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)
    stored = {name: target for name, target in targets.items() if size(target)}
    with ocp.StandardCheckpointer() as checkpointer:
        read = checkpointer.restore((path / "arrays").absolute(), stored)
    flat = {}
    for name, target in targets.items():
        expected = meta.get("contents", {}).get(name)
        if expected and content(read[name]) not in (expected, None):
            raise BadCheckpoint(
                f"load: {path} is no complete checkpoint: {name} has other values than "
                "were saved (SHA-256)"
            )
        leaf = jax.numpy.asarray(read.get(name, target))
        flat[name] = (
            jax.random.wrap_key_data(leaf, impl=keys[name]) if name in keys else leaf
        )
    return flat


def size(leaf: Any) -> int:
    """The number of entries.

    Orbax refuses arrays without entries; their shape in the manifest is all of them.
    """
    return int(np.prod(leaf.shape)) if hasattr(leaf, "shape") else 1

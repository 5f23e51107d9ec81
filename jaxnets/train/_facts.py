"""What must be the same when a fit is resumed: facts, and how they differ."""

import hashlib
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from jaxnets.train._fingerprint import some_bytes
from jaxnets.train._optimizer_facts import changed_hyperparameters

# Where in an epoch a fit stands means nothing when one of these is another.
ORDER = ("data size", "batch_size", "seed", "shuffle")
# Facts that every checkpoint has; of the others an older version knew nothing.
ALWAYS = (*ORDER, "validation size")
LIBRARY_BOUND = ("optimizer", "loss", "metrics", "augment")
SHOWN = 200  # letters of a value in a message


def describe_arrays(tree: Any) -> str | None:
    """Dtypes, shapes and a hash of the values, or of some rows of large arrays."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    if not leaves:
        return None
    kinds, digest = [], hashlib.sha256()
    for path, leaf in leaves:
        leaf = np.asarray(leaf)
        kinds.append(f"{leaf.dtype}{list(leaf.shape)}")
        digest.update(f"{jax.tree_util.keystr(path)} {kinds[-1]}".encode())
        if not leaf.dtype.hasobject:
            digest.update(some_bytes(leaf))
    return f"{', '.join(kinds)} {digest.hexdigest()[:16]}"


def differences(
    saved: dict[str, Any], now: dict[str, Any], *, same_libraries: bool
) -> dict[str, tuple[Any, Any]]:
    """Name, old value and new value of every fact that differs.

    Args:
        saved: the facts of a checkpoint, which may come from an older version that knew
            fewer of them.
        now: the facts of this call.
        same_libraries: whether both come from the same versions of JAX, Flax and Optax.
            If not, only settings by name are compared, of those that both know.
    """
    found: dict[str, tuple[Any, Any]] = {}
    for name, value in now.items():
        old = saved.get(name)
        if name not in saved and name not in ALWAYS:
            continue
        if isinstance(value, dict):
            changed = _changed_entries(name, old or {}, value, same_libraries)
            for key in sorted(changed):
                found[f"{name}.{key}"] = ((old or {}).get(key), value.get(key))
        elif old != value and (same_libraries or name not in LIBRARY_BOUND):
            found[name] = (old, value)
    if "data size" in found:
        found.pop("data", None)
        found.pop("weights", None)
    if "validation size" in found:
        found.pop("validation data", None)
    return found


def check_facts(
    where: str,
    saved: dict[str, Any],
    now: dict[str, Any],
    *,
    allow: Iterable[str],
    in_epoch: bool,
    same_libraries: bool = True,
) -> dict[str, tuple[Any, Any]]:
    """The differences, all of them allowed.

    Args:
        where: the checkpoint, for the message.
        saved: its facts.
        now: the facts of this call.
        allow: what may differ: names, or what stands before a dot in them.
        in_epoch: whether the checkpoint was written in the middle of an epoch.
        same_libraries: see `differences`.

    Raises:
        ValueError: if something differs that may not, or `allow` has a name that no
            fact has.
    """
    allow = [allow] if isinstance(allow, str) else list(allow)
    found = differences(saved, now, same_libraries=same_libraries)
    names = [
        *now,
        *(f"{n}.{key}" for n, v in now.items() if isinstance(v, dict) for key in v),
        *found,
    ]
    for name in allow:
        if not any(_covers(name, known) for known in names):
            raise ValueError(
                f"fit: allow_changes must name facts; got {name!r}, there are "
                f"{', '.join(now)}"
            )
    refused = {
        name: values
        for name, values in found.items()
        if not any(_covers(one, name) for one in allow)
    }
    if refused:
        raise ValueError(
            f"fit: resume from {where}: a resumed fit needs\n{_listed(refused)}\n"
            "(give what it began with, or name what may differ: "
            f"allow_changes={list(refused)})"
        )
    moved = {name: values for name, values in found.items() if name in ORDER}
    if in_epoch and moved:
        raise ValueError(
            f"fit: resume from {where}, written in the middle of an epoch, needs\n"
            f"{_listed(moved)}\n(give what it began with, or resume from the end of an "
            "epoch)"
        )
    return found


def _covers(allowed: str, name: str) -> bool:
    return name == allowed or name.startswith(f"{allowed}.")


def _changed_entries(
    name: str, saved: dict[str, str], now: dict[str, str], same_libraries: bool
) -> set[str]:
    if not same_libraries:
        both = saved.keys() & now.keys() - {"update"}
        return {key for key in both if saved[key] != now[key]}
    if name == "optimizer":
        return changed_hyperparameters(saved, now)
    keys = saved.keys() | now.keys()
    return {key for key in keys if saved.get(key) != now.get(key)}


def _listed(found: dict[str, tuple[Any, Any]]) -> str:
    return "\n".join(
        f"  the {name} it began with; got {_short(new)}, the checkpoint has "
        f"{_short(old)}"
        for name, (old, new) in found.items()
    )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."

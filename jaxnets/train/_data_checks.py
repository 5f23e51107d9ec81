"""What can be wrong with data, found before the first step."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def check_arrays(function: str, **arrays: Any) -> int:
    """Return the number of rows; raise unless all arrays have it and it is not 0."""
    sizes = {}
    for name, tree in arrays.items():
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            label = name + jax.tree_util.keystr(path)
            if np.ndim(leaf) == 0:
                raise ValueError(
                    f"{function}: {label} must have a first axis, one entry an "
                    f"example; got {leaf!r}"
                )
            sizes[label] = np.shape(leaf)[0]
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{size} in {label}" for label, size in sizes.items())
        raise ValueError(
            f"{function}: all arrays must have the same number of examples; got "
            f"{listed}"
        )
    size = next(iter(sizes.values()), 0)
    if size == 0:
        raise ValueError(f"{function}: x must have examples; got an empty data set")
    return size


def check_finite(function: str, **arrays: Any) -> None:
    """Raise ValueError if an array has NaN or infinity, naming the first row."""
    for name, tree in arrays.items():
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            leaf = np.asarray(leaf)
            if leaf.size == 0 or not jnp.issubdtype(leaf.dtype, jnp.inexact):
                continue
            # NaN passes through min and max, and neither makes a copy as isfinite does.
            if np.isfinite(leaf.min()) and np.isfinite(leaf.max()):
                continue
            rows = ~np.isfinite(leaf.reshape(len(leaf), -1)).all(axis=1)
            label = name + jax.tree_util.keystr(path)
            raise ValueError(
                f"{function}: {label} must be finite; got NaN or infinity in "
                f"{int(rows.sum())} of {len(leaf)} rows, the first is row "
                f"{int(rows.argmax())} (clean the data, or give "
                "Trainer(nonfinite='skip'))"
            )


def check_labels(function: str, targets: Any, outputs: Any) -> None:
    """Raise ValueError if integer targets are no classes of the outputs.

    Targets are classes if they are integers and have the shape of the outputs without
    their last axis; anything else is left to the loss.

    Args:
        function: the public function's name.
        targets: the targets, any number of rows.
        outputs: the shape and dtype of the outputs of one batch.
    """
    if not (hasattr(outputs, "shape") and hasattr(targets, "shape")):
        return
    labels = np.asarray(targets)
    if not np.issubdtype(labels.dtype, np.integer) or labels.size == 0:
        return
    if labels.shape[1:] != outputs.shape[1:-1] or len(outputs.shape) < 2:
        return
    classes, low, high = outputs.shape[-1], int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise ValueError(
            f"{function}: labels must lie in 0 ... {classes - 1}, as the model has "
            f"{classes} outputs; got labels from {low} to {high}"
        )

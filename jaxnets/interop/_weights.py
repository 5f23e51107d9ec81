"""Weights of other libraries into our networks, and ours into theirs."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxnets.interop._load_report import LoadedArray, LoadReport
from jaxnets.interop._names_sources import names_for
from jaxnets.interop._names_transformers import check_resnet_config
from jaxnets.interop._weight_files import open_weights
from jaxnets.interop._weights_match import (
    Pair,
    check_match,
    check_shared,
    match,
    renamed,
)
from jaxnets.interop._weights_slots import arrays_of
from jaxnets.models import ResNet


def load_safetensors(
    model: nnx.Module,
    path: str | os.PathLike[str],
    *,
    source: str = "torchvision",
    strict: bool = True,
    skip_head: bool = False,
    exclude: Sequence[str] = (),
    rename: Callable[[str], str] | None = None,
    flattened: Mapping[str, tuple[int, int]] | None = None,
    revision: str | None = None,
    verbose: bool = False,
) -> LoadReport:
    """Fill a network with weights from a file of another library, or of ours.

    Names, shapes and dtypes are all checked before anything is read, and everything is
    read before anything is written: after an error the model is as it was. Values are
    brought to the dtype and the device of the model's own. Values that are NaN or
    infinite there are loaded, and the report counts them.

    An array that the model shares (two attributes that are one layer, or one `Param`)
    may stand in the file under any of its names, or under several with equal values.

    Args:
        model: a network of `jaxnets.models`, or a module of your own, whose attributes
            then have the names that the file has (see `rename`).
        path: a `.safetensors` file; a `.safetensors.index.json` with its shards; a
            folder as Hugging Face keeps it; `"owner/name"`, fetched from there if
            `huggingface_hub` is installed; Keras's `.weights.h5` or `.h5`; or torch's
            `.pth`, which torch reads with `weights_only=True` and in no other way.
        source: whose names and layouts the file has: `"torchvision"`, `"timm"`,
            `"transformers"`, `"keras"` or `"jaxnets"`.
        strict: whether missing and unexpected names are errors; False leaves them
            where they are. Shapes must fit in any case.
        skip_head: leave the layers that depend on the number of classes as they are,
            for transfer learning.
        exclude: patterns such as `"stages.3.*"`, of our names or theirs, of what is
            left out.
        rename: gives each name in the file the name that is looked for, such as
            `lambda name: name.removeprefix("module.")`.
        flattened: for a module of your own: its dense layers that follow a flattened
            map, and the rows and columns of the map.
        revision: branch, tag or commit of a name on Hugging Face.
        verbose: print the report.

    Returns:
        A `LoadReport`; printed it shows ours <- theirs with all shapes.

    Raises:
        FileNotFoundError: if there is no such file, folder or name.
        ModuleNotFoundError: if a package of the extra `weights` is needed.
        TypeError: if an array holds no floats.
        ValueError: if names or shapes do not fit, all of which are named, an array
            that the model shares has different values, or the file is damaged.

    Example:
        >>> import tempfile
        >>> from jaxnets import models
        >>> from jaxnets.interop import save_safetensors
        >>> small = {"width": 4, "stem": "small", "num_classes": 3}
        >>> model = models.ResNet((1,), **small, rngs=nnx.Rngs(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = f"{folder}/small.safetensors"
        ...     save_safetensors(model, path, source="torchvision")
        ...     other = models.ResNet((1,), **small, rngs=nnx.Rngs(1))
        ...     report = load_safetensors(other, path, source="torchvision")
        >>> print(str(report).splitlines()[1])
          stem.conv.kernel (3, 3, 3, 4) <- 'conv1.weight' (4, 3, 3, 3) F32
        >>> bool(jnp.all(other.head.kernel[...] == model.head.kernel[...]))
        True
    """
    function = "load_safetensors"
    if isinstance(exclude, str):
        raise TypeError(
            f"{function}: exclude must be a sequence of patterns; got {exclude!r} "
            f"(exclude=[{exclude!r}])"
        )
    names = names_for(function, model, source, flattened)
    arrays = arrays_of(model)
    path = path if isinstance(path, str) else Path(path)
    with ExitStack() as stack:
        found = open_weights(path, revision, stack)
        if source == "transformers" and found.config and isinstance(model, ResNet):
            check_resnet_config(model, found.config)
        stored = renamed(found.arrays, rename)
        matched = match(
            arrays,
            stored,
            names,
            source=source,
            exclude=exclude,
            skip_head=skip_head,
        )
        check_match(matched, stored, names, found.how, strict=strict)
        values = [pair.place.to_ours(pair.stored.read()) for pair in matched.pairs]
        check_shared(matched.pairs, values, found.how)
        _write(matched.pairs, values)
    report = LoadReport(
        found.how,
        source,
        tuple(
            LoadedArray(
                p.slot.name,
                p.slot.shape,
                p.place.name,
                p.stored.shape,
                p.stored.dtype,
                _not_finite(value, p.slot.variable.dtype),
            )
            for p, value in zip(matched.pairs, values, strict=True)
        ),
        tuple(slot.name for slot, _ in matched.missing),
        matched.unexpected,
        matched.excluded,
        matched.ignored,
    )
    if verbose:
        print(report)
    return report


def _not_finite(value: np.ndarray, dtype: Any) -> int:
    """How many values are NaN or infinite in the model's dtype, which may overflow."""
    with np.errstate(over="ignore"):
        return int(value.size - np.isfinite(np.asarray(value, dtype)).sum())


def _write(pairs: Sequence[Pair], values: Sequence[np.ndarray]) -> None:
    """Put all values in; the assignments at the end are all that changes the model."""
    new: dict[int, tuple[Any, Any]] = {}
    for pair, value in zip(pairs, values, strict=True):
        variable, place = pair.slot.variable, pair.slot.place
        if place is None:
            new[id(variable)] = (variable, value)
            continue
        if id(variable) not in new:
            new[id(variable)] = (variable, np.array(variable[...]))
        new[id(variable)][1][place] = value
    ready = []
    for variable, value in new.values():
        before = variable.get_value()
        array = jnp.asarray(np.asarray(value), before.dtype)
        sharding = getattr(before, "sharding", None)
        ready.append((variable, jax.device_put(array, sharding)))
    for variable, array in ready:
        variable.set_value(array)

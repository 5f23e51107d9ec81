"""Weights of our networks into files that other libraries read."""

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from flax import nnx

from jaxnets.interop._names_sources import names_for
from jaxnets.interop._stored import optional_package
from jaxnets.interop._weights_layouts import place_of
from jaxnets.interop._weights_match import COUNTS
from jaxnets.interop._weights_slots import arrays_of

# transformers reads no safetensors file that does not say so.
METADATA = {"torch": {"format": "pt"}, "jaxnets": {"format": "jaxnets"}}

# The order in which Keras expects the arrays of a layer.
ORDER = ("kernel", "gamma", "bias", "beta", "moving_mean", "moving_variance")


def save_safetensors(
    model: nnx.Module,
    path: str | os.PathLike[str],
    *,
    source: str = "jaxnets",
    flattened: Mapping[str, tuple[int, int]] | None = None,
) -> None:
    """Write a network's weights under our names, or another library's.

    What is written for a source is what that library reads: torch's modules through
    `load_state_dict(safetensors.torch.load_file(path))`, transformers through
    `from_pretrained` of a folder with `model.safetensors` and its `config.json`, Keras
    through `model.load_weights(path, by_name=True)` of an `.h5` file. The file appears
    whole or not at all. Weights keep their dtype. An array that the model shares is
    written once, under its first name; for torch's modules under each of its names.

    Args:
        model: a network of `jaxnets.models`, or a module of your own, whose attributes
            then name its layers.
        path: where to write: `.safetensors`, and `.h5` for Keras. A file there is
            replaced.
        source: `"jaxnets"`, `"torchvision"`, `"timm"`, `"transformers"` or `"keras"`.
        flattened: as in `load_safetensors`.

    Raises:
        FileNotFoundError: if the folder does not exist.
        ModuleNotFoundError: if a package of the extra `weights` is needed.
        ValueError: if the source has no place for an array of the model, or the ending
            of `path` is not the source's.

    Example:
        >>> import tempfile
        >>> from safetensors.numpy import load_file
        >>> model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_safetensors(model, f"{folder}/a.safetensors", source="torchvision")
        ...     arrays = load_file(f"{folder}/a.safetensors")
        >>> {name: array.shape for name, array in sorted(arrays.items())}
        {'bias': (2,), 'weight': (2, 3)}
    """
    function = "save_safetensors"
    names = names_for(function, model, source, flattened)
    path = Path(path).expanduser()
    ending = ".h5" if names.convention == "keras" else ".safetensors"
    if path.suffix != ending or path.name.endswith(".weights.h5"):
        keras = ", not in .weights.h5, so that Keras finds layers by their names"
        raise ValueError(
            f"{function}: path must end in {ending} for source {source!r}"
            f"{keras if ending == '.h5' else ''}; got {path.name!r}"
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"{function}: there is no folder {path.parent} (make it first)"
        )
    arrays = {}
    for slots in arrays_of(model):
        places = [(slot, place_of(function, slot, names)) for slot in slots]
        known = [(slot, place) for slot, place in places if place is not None]
        if not known:
            raise ValueError(
                f"{function}: source {source!r} has no place for {slots[0].name} "
                f"{slots[0].shape} (the names of source 'jaxnets' fit every model)"
            )
        # Torch asks for a shared array under each of its names.
        for slot, place in known if names.convention == "torch" else known[:1]:
            arrays[place.name] = np.array(place.to_theirs(slot.value()), order="C")
            if names.convention == "torch" and slot.role == "var":
                counts = place.name.removesuffix(".running_var") + COUNTS
                arrays[counts] = np.zeros((), np.int64)
    if names.convention == "keras":
        _write_whole(path, lambda temporary: _write_h5(temporary, arrays))
    else:
        package = optional_package("safetensors.numpy")
        metadata = METADATA[names.convention]
        _write_whole(path, lambda file: package.save_file(arrays, file, metadata))


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write under another name, then rename."""
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        write(temporary)
        temporary.replace(path)


def _write_h5(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Keras's older format, whose layers are found by name."""
    h5py = optional_package("h5py")
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        layer, role = name.rsplit("/", 1)
        layers.setdefault(layer, {})[role] = array
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = list(layers)
        for layer, roles in layers.items():
            group = file.create_group(layer)
            ordered = sorted(roles, key=ORDER.index)
            group.attrs["weight_names"] = [f"{layer}/{role}" for role in ordered]
            for role in ordered:
                group[f"{layer}/{role}"] = roles[role]

"""From a path or a name to arrays: single files, folders, shards."""

import json
import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from jaxnets.interop._hub import INDEX, REPOSITORY, from_hub
from jaxnets.interop._read_h5 import open_h5
from jaxnets.interop._read_safetensors import open_safetensors
from jaxnets.interop._read_torch import open_torch
from jaxnets.interop._stored import FUNCTION, Stored, bad_file

LARGEST_JSON = 16 * 2**20
TORCH = (".pth", ".pt", ".bin")
H5 = (".h5", ".hdf5")
ENDINGS = (".safetensors", ".json", *H5, *TORCH)


class Found(NamedTuple):
    """What was opened: the arrays by name, how, and the `config.json` beside them."""

    arrays: dict[str, Stored]
    how: str
    config: dict[str, Any]


def open_weights(path: str | Path, revision: str | None, stack: ExitStack) -> Found:
    """Open what a path or a Hugging Face name means, until the stack is closed.

    Raises:
        FileNotFoundError: if there is nothing.
        ValueError: if it cannot be believed.
    """
    place = Path(path).expanduser()
    name = path if isinstance(path, str) and not path.endswith(ENDINGS) else ""
    if REPOSITORY.fullmatch(name) and not place.exists():
        place, how = from_hub(name, revision, shard_names), f"Hugging Face {name}"
    else:
        how = str(place)
    if not place.exists():
        raise FileNotFoundError(f"{FUNCTION}: there is no file or folder {place}")
    config = {}
    if place.is_dir():
        config = (
            _read_json(place / "config.json")
            if (place / "config.json").exists()
            else {}
        )
        place = _weights_in(place)
    name = place.name
    if name.endswith(".safetensors"):
        return Found(open_safetensors(place, stack), f"{how} (safetensors)", config)
    if name.endswith(".index.json"):
        arrays, count = _open_shards(place, stack)
        return Found(arrays, f"{how} (safetensors, {count} shards)", config)
    if name.endswith(H5):
        return Found(open_h5(place, stack), f"{how} (HDF5)", config)
    if name.endswith(TORCH):
        how = f"{how} (a pickle, read by torch.load(weights_only=True))"
        return Found(open_torch(place), how, config)
    raise bad_file(
        place,
        "is of no kind that is read: .safetensors, .safetensors.index.json, .h5, "
        ".hdf5, .pth, .pt, .bin, or a folder",
    )


def shard_names(index: Path) -> Mapping[str, str]:
    """Array -> file of an index; every file must be a plain name, as it is written."""
    weight_map = _read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise bad_file(index, "has no weight_map from names to files")
    for array, file in weight_map.items():
        plain = isinstance(file, str) and re.fullmatch(r"[\w.-]+\.safetensors", file)
        if not plain:
            raise bad_file(
                index,
                f"says that {array!r} is in {file!r}; a shard must be a .safetensors "
                "file in the folder of the index",
            )
    return weight_map


def _open_shards(index: Path, stack: ExitStack) -> tuple[dict[str, Stored], int]:
    weight_map = shard_names(index)
    shards = {}
    for file in sorted(set(weight_map.values())):
        shard = index.parent / file
        _check_inside(index, shard)
        if not shard.is_file():
            raise FileNotFoundError(
                f"{FUNCTION}: {index} names the shard {file!r}, which is not there "
                "(fetch all of them)"
            )
        shards[file] = open_safetensors(shard, stack)
    for array, file in weight_map.items():
        if array not in shards[file]:
            raise bad_file(index, f"says that {array!r} is in {file!r}; it is not")
    arrays = {array: shards[file][array] for array, file in weight_map.items()}
    return arrays, len(shards)


def _check_inside(index: Path, shard: Path) -> None:
    """Links may not lead out, but for those of Hugging Face's own cache.

    It keeps `snapshots/<revision>/<file>` as links to `blobs/<hash>` beside them.
    """
    folder, target = index.parent.resolve(), shard.resolve()
    cached = folder.parent.name == "snapshots"
    blobs = folder.parent.parent / "blobs"
    if target.parent != folder and not (cached and target.parent == blobs):
        raise bad_file(
            index, f"names the shard {shard.name!r}, a link out of its folder"
        )


def _weights_in(folder: Path) -> Path:
    for name in ("model.safetensors", INDEX):
        if (folder / name).exists():
            return folder / name
    files = sorted(folder.glob("*.safetensors"))
    if len(files) == 1:
        return files[0]
    there = ", ".join(file.name for file in files) or "no .safetensors file"
    raise FileNotFoundError(
        f"{FUNCTION}: {folder} must have model.safetensors, {INDEX}, or one other "
        f".safetensors file; it has {there} (a pickle is only read when it is named)"
    )


def _read_json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > LARGEST_JSON:
        raise bad_file(path, f"is larger than {LARGEST_JSON} bytes")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise bad_file(path, f"is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise bad_file(path, "is no JSON object")
    return found

"""Arrays of torch's own files, through torch, which unpickles weights only."""

import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jaxnets.interop._stored import Stored, bad_file, optional_package, reading

DTYPES = {
    "torch.float16": "F16",
    "torch.bfloat16": "BF16",
    "torch.float32": "F32",
    "torch.float64": "F64",
}


REMEDY = "convert it to safetensors where you trust it"


def open_torch(path: Path) -> dict[str, Stored]:
    """The tensors of a `state_dict`, read by `torch.load(weights_only=True)`.

    A pickle can run code; with `weights_only` torch refuses all but tensors and plain
    containers. Torch does not compare the checksums of its archives, so they are
    compared here.

    Raises:
        ValueError: if the file is damaged, holds more than weights, or is compressed,
            which torch's files never are (it could grow without bound).
    """
    torch = optional_package("torch")
    _check_archive(path)
    why = "is not read by torch.load(weights_only=True), the only way it is tried"
    with reading(path, why, REMEDY):
        found = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if not isinstance(found, Mapping):
        raise bad_file(path, f"holds {type(found).__name__}, no state_dict")
    arrays: dict[str, Stored] = {}
    for key, tensor in found.items():
        if not isinstance(tensor, torch.Tensor):
            continue
        name = str(key)
        if name in arrays:
            raise bad_file(path, f"has two arrays that are both {name!r}")
        dtype = DTYPES.get(str(tensor.dtype), str(tensor.dtype))
        read = partial(_to_numpy, torch, path, name, tensor)
        with reading(path, f"has no shape for {name!r}", REMEDY):
            shape = tuple(tensor.shape)
        arrays[name] = Stored(shape, dtype, read)
    return arrays


def _check_archive(path: Path) -> None:
    """Compare the checksums of a zip archive; torch's older files are none."""
    with reading(path, "is no whole zip archive", "damaged: fetch it again"):
        with path.open("rb") as file:
            if file.read(4) != b"PK\3\4" and not zipfile.is_zipfile(file):
                return
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type for entry in archive.infolist()):
                raise bad_file(path, "has compressed entries, which torch never writes")
            damaged = archive.testzip()
        if damaged is not None:
            raise bad_file(
                path, f"has a wrong checksum for {damaged!r} (damaged: fetch it again)"
            )


def _to_numpy(torch: Any, path: Path, name: str, tensor: Any) -> np.ndarray:
    with reading(path, f"cannot be read at {name!r}", REMEDY):
        tensor = tensor.detach()
        # NumPy has no bfloat16 of its own; float32 holds it exactly.
        tensor = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
        return tensor.resolve_neg().numpy()

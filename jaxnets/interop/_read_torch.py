"""Arrays of torch's own files, through torch, which unpickles weights only."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxnets.interop._stored import Stored, bad_file, optional_package

DTYPES = {
    "torch.float16": "F16",
    "torch.bfloat16": "BF16",
    "torch.float32": "F32",
    "torch.float64": "F64",
}


def open_torch(path: Path) -> dict[str, Stored]:
    """The tensors of a `state_dict`, read by `torch.load(weights_only=True)`.

    A pickle can run code; with `weights_only` torch refuses all but tensors and plain
    containers.

    Raises:
        ValueError: if the file is damaged, holds more than weights, or is compressed,
            which torch's files never are (it could grow without bound).
    """
    torch = optional_package("torch")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type for entry in archive.infolist()):
                raise bad_file(path, "has compressed entries, which torch never writes")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever it meets
        raise bad_file(
            path,
            "is not read by torch.load(weights_only=True), the only way it is tried: "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__} "
            "(convert it to safetensors where you trust it)",
        ) from error
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if not isinstance(found, Mapping):
        raise bad_file(path, f"holds {type(found).__name__}, no state_dict")
    return {
        str(name): Stored(
            tuple(tensor.shape),
            DTYPES.get(str(tensor.dtype), str(tensor.dtype)),
            lambda tensor=tensor: _to_numpy(torch, tensor),
        )
        for name, tensor in found.items()
        if isinstance(tensor, torch.Tensor)
    }


def _to_numpy(torch: Any, tensor: Any) -> np.ndarray:
    # NumPy has no bfloat16 of its own; float32 holds it exactly.
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()

"""Arrays in files, described before they are read."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FUNCTION = "load_safetensors"
FLOATS = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8}
"""Dtypes that weights may have, and their bytes."""


class Stored(NamedTuple):
    """One array of a file: what the file says of it, and how to read it."""

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]


def optional_package(name: str) -> Any:
    """Import what only the extra `weights` brings."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        remedy = "torch" if name == "torch" else "'jaxnets[weights]'"
        raise ModuleNotFoundError(
            f"interop: this needs the package {name} (pip install {remedy})", name=name
        ) from error


def bad_file(path: Path, why: str) -> ValueError:
    """The error of a file that cannot be believed."""
    return ValueError(f"{FUNCTION}: {path} {why}")

"""Arrays in files, described before they are read."""

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


class BadFileError(ValueError):
    """A file cannot be believed; a `ValueError` to those who catch it."""


def bad_file(path: Path, why: str) -> BadFileError:
    """The error of a file that cannot be believed."""
    return BadFileError(f"{FUNCTION}: {path} {why}")


@contextmanager
def reading(path: Path, why: str, remedy: str) -> Iterator[None]:
    """Turn every error of a file's package into the error of that file.

    Damaged files make packages raise whatever their own code meets: KeyError,
    UnicodeDecodeError, RuntimeError, MemoryError and others.
    """
    try:
        yield
    except BadFileError:
        raise
    except Exception as error:
        first = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise bad_file(path, f"{why}: {first} ({remedy})") from error

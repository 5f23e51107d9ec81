"""Arrays of `.safetensors` files; only the header is read until one is asked for."""

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jaxnets.interop._stored import Stored, bad_file, optional_package, reading

# A name, a dtype, a shape and two offsets take about 100 bytes: 160,000 arrays.
LARGEST_HEADER = 16 * 2**20
REMEDY = "truncated? fetch it again"


def open_safetensors(path: Path, stack: ExitStack) -> dict[str, Stored]:
    """The arrays of a file by name, which can be read until the stack is closed.

    The package checks that the arrays named in the header cover the file, no more and
    no less, without gaps; the header's own size is bounded here.

    Raises:
        ValueError: if the file is truncated, or its header wrong or too large.
    """
    safetensors = optional_package("safetensors")
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    size = path.stat().st_size
    if header > min(LARGEST_HEADER, size):
        raise bad_file(
            path,
            f"claims a header of {header} bytes; the file has {size}, and a header at "
            f"most {LARGEST_HEADER} (truncated, or no safetensors file)",
        )
    found = {}
    with reading(path, "is no complete safetensors file", REMEDY):
        file = stack.enter_context(safetensors.safe_open(path, "numpy"))
        for name in file.keys():
            described = file.get_slice(name)
            shape = tuple(described.get_shape())
            read = partial(_read, path, file, name)
            found[name] = Stored(shape, described.get_dtype(), read)
    return found


def _read(path: Path, file: Any, name: str) -> np.ndarray:
    with reading(path, f"cannot be read at {name!r}", REMEDY):
        return file.get_tensor(name)

"""Arrays of Keras's HDF5 files: `.weights.h5` of Keras 3, and the older `.h5`.

Both are read as `layer/role`, such as `conv1_conv/kernel`. Nothing that points out of
the file is followed, and nothing but plain numbers is read.
"""

import math
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jaxnets.interop._stored import Stored, bad_file, optional_package, reading

DEEPEST = 32
MOST = 100_000
LARGEST_CHUNK = 2**20
REMEDY = "truncated or damaged: fetch it again"
# The optimizer's state and the seeds of dropout are no weights.
PASSED = ("optimizer", "optimizer_weights", "seed_generator")
NORM = ("gamma", "beta", "moving_mean", "moving_variance")
DTYPES = {np.dtype("float16"): "F16", np.dtype("float32"): "F32"} | {
    np.dtype("float64"): "F64"
}


def open_h5(path: Path, stack: ExitStack) -> dict[str, Stored]:
    """The arrays of a file as `layer/role`, readable until the stack is closed.

    Raises:
        ValueError: if the file is damaged, has links or objects, or two arrays have
            one name.
    """
    h5py = optional_package("h5py")
    found: dict[str, Stored] = {}
    with reading(path, "is no readable HDF5 file", REMEDY):
        file = stack.enter_context(h5py.File(path, "r"))
        for names, group, dataset in _datasets(h5py, path, file):
            name = _name(names, group)
            if name in found:
                raise bad_file(path, f"has two arrays that are both {name!r}")
            dtype = DTYPES.get(dataset.dtype, str(dataset.dtype))
            read = partial(_read, path, dataset)
            found[name] = Stored(tuple(dataset.shape), dtype, read)
    return found


def _datasets(h5py: Any, path: Path, file: Any) -> Iterator[tuple[list[str], Any, Any]]:
    """Every plain dataset with the names on its way and its group."""
    waiting, seen = [([], file)], 0
    while waiting:
        names, group = waiting.pop()
        if len(names) > DEEPEST:
            raise bad_file(path, f"has groups more than {DEEPEST} deep")
        for name in group:
            if name in PASSED:
                continue
            seen += 1
            if seen > MOST:
                raise bad_file(path, f"has more than {MOST} entries")
            where = "/".join([*names, name])
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise bad_file(path, f"has a link at {where!r}; none is followed")
            item = group[name]
            if isinstance(item, h5py.Group):
                waiting.append(([*names, name], item))
            elif isinstance(item, h5py.Dataset):
                _check_plain(path, where, item)
                yield [*names, name], group, item


def _check_plain(path: Path, where: str, dataset: Any) -> None:
    if dataset.external or dataset.is_virtual:
        raise bad_file(path, f"keeps {where!r} in other files; none is opened")
    if dataset.dtype.kind not in "fiub":
        raise bad_file(
            path, f"has {dataset.dtype} at {where!r}; weights are plain numbers"
        )
    if dataset.shape is None:
        raise bad_file(path, f"has no shape for {where!r}")
    # A chunk is unpacked whole, and may be larger than what it is a part of.
    if math.prod(dataset.chunks or ()) > max(dataset.size, LARGEST_CHUNK):
        raise bad_file(path, f"has chunks of {dataset.chunks} for {where!r}")


def _name(names: list[str], group: Any) -> str:
    *parents, last = names
    if parents and parents[-1] == "vars":
        # Keras 3: a group `vars` that knows its layer's name, and arrays by number.
        layer = group.attrs.get("name", "/".join(parents[:-1]))
        roles = NORM if len(group) == len(NORM) else ("kernel", "bias")
        known = last.isdecimal() and int(last) < len(roles)
        return f"{layer}/{roles[int(last)] if known else last}"
    # Before: the layer's name, some more, and `kernel:0`. Whole models stand lower.
    if parents[:1] == ["model_weights"]:
        parents = parents[1:]
    return "/".join([*parents[:1], last.removesuffix(":0")])


def _read(path: Path, dataset: Any) -> np.ndarray:
    with reading(path, f"cannot be read at {dataset.name!r}", REMEDY):
        return dataset[()]

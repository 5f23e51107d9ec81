"""Checkpoints on disk: written whole or not at all, checked before they are read.

A checkpoint is a folder::

    arrays/      the arrays, written by Orbax
    host.json    what is not an array: history, callbacks, position in the data
    meta.json    format, step, versions, and size and SHA-256 of every other file

It is written under a temporary name next to its final one, synced to the disk, and
renamed; `meta.json` comes last and carries a checksum of itself. So a folder whose
`meta.json` checks out is complete whatever its name is, and one that does not is never
read. Nothing is pickled.
"""

import hashlib
import json
import os
import shutil
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from jaxnets.train._flatten import KEY, describe, is_key

FORMAT = "jaxnets-checkpoint"
FORMAT_VERSION = 1
TEMPORARY = ".unfinished-"
REPLACED = ".replaced-"


class BadCheckpoint(ValueError):
    """A folder that is no complete checkpoint; the message says why."""


def write_checkpoint(path: Path, arrays: dict[str, Any], host: dict[str, Any]) -> None:
    """Write a checkpoint so that at any moment a complete one is on the disk.

    Args:
        path: the folder to become the checkpoint; a complete checkpoint there is
            replaced, anything else is an error.
        arrays: named arrays; PRNG keys are welcome.
        host: what JSON can hold, with an integer under "step".

    Raises:
        FileExistsError: if `path` is something else than a checkpoint.
    """
    if path.exists() and not _ours(path):
        raise FileExistsError(
            f"save: {path} exists and is no checkpoint; it is left alone (choose "
            "another name or move it away)"
        )
    temporary = path.with_name(TEMPORARY + path.name)
    if jax.process_index() == 0:
        # Only a run that was killed here leaves this name behind.
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    _meet("begin")
    stored = {name: _to_data(leaf) for name, leaf in arrays.items() if _size(leaf)}
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save((temporary / "arrays").absolute(), stored)
    _meet("arrays")
    if jax.process_index() == 0:
        (temporary / "host.json").write_text(json.dumps(host))
        meta = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "step": host["step"],
            "written": time.time_ns(),
            "arrays": {name: describe(leaf) for name, leaf in arrays.items()},
            "libraries": {name: version(name) for name in ("jax", "flax", "optax")},
            "files": {
                str(file.relative_to(temporary)): _digest(file)
                for file in sorted(temporary.rglob("*"))
                if file.is_file()
            },
        }
        text = json.dumps({**meta, "checksum": _checksum(meta)}, indent=1)
        (temporary / "meta.json").write_text(text)
        for folder, _, files in os.walk(temporary, topdown=False):
            for name in files:
                _sync(Path(folder, name))
            _sync(Path(folder))
        _move_into_place(temporary, path)
    _meet("end")


def verify_checkpoint(path: Path) -> dict[str, Any]:
    """Check a checkpoint against its manifest and return the manifest.

    Args:
        path: the folder.

    Returns:
        The content of `meta.json`.

    Raises:
        BadCheckpoint: if the manifest is missing, unreadable or of another format, or
            a file is missing, too short, too long, or has other bytes.
    """
    try:
        meta = json.loads((path / "meta.json").read_bytes())
        checksum = meta.pop("checksum")
        sound = meta["format"] == FORMAT and checksum == _checksum(meta)
    except FileNotFoundError:
        raise BadCheckpoint("meta.json is missing (never finished)") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadCheckpoint("meta.json is damaged") from None
    if not sound:
        raise BadCheckpoint("meta.json is damaged (checksum)")
    if meta["version"] != FORMAT_VERSION:
        raise BadCheckpoint(
            f"format version {meta['version']} is not {FORMAT_VERSION} (written by "
            "another version of jaxnets)"
        )
    for name, (size, digest) in meta["files"].items():
        file = path / name
        if not file.is_file():
            raise BadCheckpoint(f"{name} is missing")
        if file.stat().st_size != size:
            raise BadCheckpoint(f"{name} has {file.stat().st_size} bytes, not {size}")
        if _digest(file)[1] != digest:
            raise BadCheckpoint(f"{name} has other bytes than were written (SHA-256)")
    return meta


def read_arrays(
    path: Path, meta: dict[str, Any], like: dict[str, Any]
) -> dict[str, Any]:
    """Read the arrays of a verified checkpoint.

    Args:
        path: the folder.
        meta: what `verify_checkpoint` gave.
        like: arrays of the running model by name; one that spans several devices says
            where the array of that name goes.

    Returns:
        All arrays by name: those of `like` on several devices placed as there, the
        others on the default device.
    """
    targets, keys = {}, {}
    for name, (shape, dtype) in meta["arrays"].items():
        if dtype.startswith(KEY):
            # The words behind a key, as wide as its implementation has them.
            keys[name] = dtype.removeprefix(KEY)
            words = jax.random.key_data(jax.random.key(0, impl=keys[name]))
            shape, dtype = (*shape, *words.shape), words.dtype
        sharding = getattr(like.get(name), "sharding", None)
        if name in keys or sharding is None or len(sharding.device_set) == 1:
            targets[name] = np.empty(shape, jax.numpy.dtype(dtype))
        else:
            targets[name] = jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)
    stored = {name: target for name, target in targets.items() if _size(target)}
    with ocp.StandardCheckpointer() as checkpointer:
        read = checkpointer.restore((path / "arrays").absolute(), stored)
    flat = {}
    for name, target in targets.items():
        leaf = jax.numpy.asarray(read.get(name, target))
        flat[name] = (
            jax.random.wrap_key_data(leaf, impl=keys[name]) if name in keys else leaf
        )
    return flat


def read_host(path: Path) -> dict[str, Any]:
    """Read `host.json` of a verified checkpoint."""
    return json.loads((path / "host.json").read_bytes())


def find_checkpoints(directory: Path) -> tuple[list[tuple[Path, dict]], dict[str, str]]:
    """All complete checkpoints in a folder, the newest first, and why others are not.

    Args:
        directory: the folder that holds them.

    Returns:
        `(good, bad)`: the checkpoints with their manifests, the one written last first
        (not that of the highest step: an earlier run may have left its own here), and
        the reason for every other sub-folder that looks like a checkpoint (files, or
        the name of an unfinished one).
    """
    good, bad = [], {}
    for path in sorted(directory.iterdir()):
        if not (path.is_dir() and _ours(path)):
            continue
        try:
            good.append((path, verify_checkpoint(path)))
        except BadCheckpoint as error:
            bad[path.name] = str(error)
    good.sort(key=lambda found: found[1]["written"], reverse=True)
    return good, bad


def settle(path: Path) -> Path:
    """Give a complete checkpoint its final name, should a kill have prevented that."""
    for prefix in (TEMPORARY, REPLACED):
        if path.name.startswith(prefix):
            final = path.with_name(path.name.removeprefix(prefix))
            if prefix == REPLACED and final.exists():
                return path
            if jax.process_index() == 0:
                _move_into_place(path, final)
            _meet("settled")
            return final
    return path


def remove_checkpoint(path: Path) -> None:
    """Delete a checkpoint; a folder that is none is left alone."""
    if jax.process_index() == 0 and (path / "meta.json").exists():
        # Half deleted, it is to look like something unfinished.
        going = path.with_name(TEMPORARY + path.name)
        shutil.rmtree(going, ignore_errors=True)
        os.replace(path, going)
        shutil.rmtree(going)


def _move_into_place(temporary: Path, path: Path) -> None:
    if not path.exists():
        os.replace(temporary, path)
        _sync(path.parent)
        return
    aside = path.with_name(REPLACED + path.name)
    shutil.rmtree(aside, ignore_errors=True)
    try:
        verify_checkpoint(path)
        sound = True
    except BadCheckpoint:
        # Somebody may want to look at it, so a damaged one stays.
        sound = False
        aside = _unused(path.with_name(path.name + ".damaged"))
    os.replace(path, aside)
    os.replace(temporary, path)
    _sync(path.parent)
    if sound:
        shutil.rmtree(aside)


def _ours(path: Path) -> bool:
    # By its parts too: a damaged checkpoint may have lost its manifest.
    return path.name.startswith((TEMPORARY, REPLACED)) or any(
        (path / name).exists() for name in ("meta.json", "arrays", "host.json")
    )


def _unused(path: Path) -> Path:
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


def _to_data(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if is_key(leaf) else leaf


def _size(leaf: Any) -> int:
    # Orbax refuses arrays without entries; their shape in the manifest is all of them.
    return int(np.prod(leaf.shape)) if hasattr(leaf, "shape") else 1


def _checksum(meta: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


def _digest(file: Path) -> list[Any]:
    with file.open("rb") as stream:
        return [file.stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest()]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _meet(where: str) -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(f"jaxnets checkpoint {where}")

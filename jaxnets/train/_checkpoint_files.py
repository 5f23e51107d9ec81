"""Checkpoints on disk: written whole or not at all, checked before they are read.

A checkpoint is a folder::

    arrays/      the arrays, written by Orbax
    host.json    what is not an array: history, callbacks, position in the data
    meta.json    format, step, versions, size and SHA-256 of every other file, and the
                 SHA-256 of every array as it was passed in

It is written under a temporary name of its own next to its final one, synced to the
disk, and renamed; `meta.json` comes last and carries a checksum of itself. So a folder
whose `meta.json` checks out is complete whatever its name is, and one that does not is
never read. Nothing is pickled.
"""

import errno
import hashlib
import json
import os
import shutil
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from jaxnets.train._checkpoint_arrays import BadCheckpoint, content, to_stored
from jaxnets.train._checkpoint_arrays import read_arrays as read_arrays
from jaxnets.train._checkpoint_names import (
    REPLACED,
    TEMPORARY,
    abandon,
    agreed_name,
    final_name,
    new_name,
    remove_leftovers,
    writer_lives,
)
from jaxnets.train._flatten import describe
from jaxnets.train._write_errors import clear_errors, quiet_orbax

FORMAT = "jaxnets-checkpoint"
FORMAT_VERSION = 1


def write_checkpoint(path: Path, arrays: dict[str, Any], host: dict[str, Any]) -> None:
    """Write a checkpoint so that at any moment a complete one is on the disk.

    Args:
        path: the folder to become the checkpoint; a complete checkpoint there is
            replaced, anything else is an error.
        arrays: named arrays; PRNG keys are welcome.
        host: what JSON can hold, with an integer under "step".

    Raises:
        FileExistsError: if `path` is something else than a checkpoint.
        OSError: if it cannot be written; what was written of it is deleted.
    """
    if path.exists() and not _ours(path):
        raise FileExistsError(
            f"save: {path} exists and is no checkpoint; it is left alone (choose "
            "another name or move it away)"
        )
    temporary = agreed_name(path, TEMPORARY)
    stored = to_stored(arrays)
    size = sum(leaf.nbytes for leaf in stored.values())
    with clear_errors("save", path, size):
        try:
            _write(temporary, arrays, stored, host)
        except BaseException:
            if jax.process_index() == 0:
                abandon(temporary)
            raise
        if jax.process_index() == 0:
            _move_into_place(temporary, path)
            remove_leftovers(path)
    _meet("end")


def _write(
    temporary: Path, arrays: dict[str, Any], stored: Any, host: dict[str, Any]
) -> None:
    if jax.process_index() == 0:
        temporary.mkdir(parents=True)
    _meet("begin")
    with quiet_orbax(), ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save((temporary / "arrays").absolute(), stored)
    _meet("arrays")
    if jax.process_index() != 0:
        return
    text = json.dumps(host).encode()
    (temporary / "host.json").write_bytes(text)
    files = sorted(file for file in temporary.rglob("*") if file.is_file())
    digests = {str(file.relative_to(temporary)): _digest(file) for file in files}
    meta = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "step": host["step"],
        "written": time.time_ns(),
        "arrays": {name: describe(leaf) for name, leaf in arrays.items()},
        "contents": {name: content(leaf) for name, leaf in stored.items()},
        "libraries": library_versions(),
        "files": digests | {"host.json": [len(text), hashlib.sha256(text).hexdigest()]},
    }
    text = json.dumps({**meta, "checksum": _checksum(meta)}, indent=1).encode()
    (temporary / "meta.json").write_bytes(text)
    for folder, _, names in os.walk(temporary, topdown=False):
        for name in names:
            _sync(Path(folder, name))
        _sync(Path(folder))


def library_versions() -> dict[str, str]:
    """The versions on which the bits of a fit depend."""
    return {name: version(name) for name in ("jax", "flax", "optax")}


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
        if writer_lives(path):
            bad[path.name] = "it is being written by a process that is running"
            continue
        try:
            good.append((path, verify_checkpoint(path)))
        except BadCheckpoint as error:
            bad[path.name] = str(error)
    good.sort(key=lambda found: found[1]["written"], reverse=True)
    return good, bad


def settle(path: Path) -> Path:
    """Give a complete checkpoint its final name, should a kill have prevented that.

    All processes call it, each after it has looked through the folder.
    """
    _meet("found")
    final = final_name(path)
    if path.name.startswith(REPLACED) and final.exists():
        final = path
    if path != final and jax.process_index() == 0:
        _move_into_place(path, final)
    _meet("settled")
    return final


def remove_checkpoint(path: Path) -> None:
    """Delete a checkpoint; a folder that is none is left alone."""
    if jax.process_index() == 0 and (path / "meta.json").exists():
        # Half deleted, it is to look like something unfinished.
        going = new_name(path, TEMPORARY)
        os.replace(path, going)
        shutil.rmtree(going)


def _move_into_place(temporary: Path, path: Path) -> None:
    replaced = []
    while True:
        if path.exists():
            replaced += _move_aside(path)
        try:
            os.replace(temporary, path)
            break
        except OSError as error:
            # Another process has saved here in the meantime; the later one stays.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    _sync(path.parent)
    for older in replaced:
        shutil.rmtree(older)


def _move_aside(path: Path) -> list[Path]:
    """Take a checkpoint's name from it; returns what is to be deleted later."""
    try:
        verify_checkpoint(path)
        aside = [new_name(path, REPLACED)]
        os.replace(path, aside[0])
    except BadCheckpoint:
        # Somebody may want to look at it, so a damaged one stays.
        aside = []
        os.replace(path, _unused(path.with_name(path.name + ".damaged")))
    return aside


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

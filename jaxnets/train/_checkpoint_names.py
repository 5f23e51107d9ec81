"""The names of checkpoints that are being written or replaced.

Such a folder stands beside the checkpoint it belongs to::

    .unfinished-NAME~HOST-PID-TOKEN    being written, or left by a killed writer
    .replaced-NAME~HOST-PID-TOKEN      the older one, until the newer one has its name

No two writers share such a name, so none can overwrite the files of another. Names
without the part after `~` come from versions that had none.
"""

import os
import re
import secrets
import shutil
import socket
import time
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxnets.train._run_lock import is_alive

TEMPORARY = ".unfinished-"
REPLACED = ".replaced-"
WRITER = re.compile(r"~([^~]*)-(\d+)-([0-9a-f]{8})$")

_own: set[str] = set()


def new_name(path: Path, prefix: str) -> Path:
    """A name that no other writer has."""
    token = secrets.token_hex(4)
    _own.add(token)
    return path.with_name(f"{prefix}{path.name}~{_host()}-{os.getpid()}-{token}")


def agreed_name(path: Path, prefix: str) -> Path:
    """The same in all processes that train together: that of the first one."""
    name = new_name(path, prefix)
    if jax.process_count() == 1:
        return name
    padded = np.frombuffer(name.name.encode().ljust(1024), np.uint8)
    agreed = np.asarray(multihost_utils.broadcast_one_to_all(padded))
    return path.with_name(agreed.astype(np.uint8).tobytes().decode().rstrip())


def final_name(path: Path) -> Path:
    """The checkpoint that such a folder belongs to; the path itself for any other."""
    for prefix in (TEMPORARY, REPLACED):
        if path.name.startswith(prefix):
            name = WRITER.sub("", path.name.removeprefix(prefix))
            return path.with_name(name)
    return path


def leftovers(path: Path) -> list[Path]:
    """The unfinished and the replaced folders that belong to a checkpoint."""
    if not path.parent.is_dir():
        return []
    return [
        other
        for other in sorted(path.parent.iterdir())
        if other.name != path.name and final_name(other).name == path.name
    ]


def writer_lives(path: Path) -> bool | None:
    """Whether the writer of such a folder is still running; None if nobody can tell."""
    found = WRITER.search(path.name)
    if found is None:
        return False
    host, pid, token = found.groups()
    if host != _host():
        return None
    if int(pid) == os.getpid():
        return token in _own
    return is_alive(int(pid))


def remove_leftovers(path: Path) -> None:
    """Delete what killed writers of a checkpoint left; the checkpoint is whole now."""
    for other in leftovers(path):
        if writer_lives(other) is False:
            shutil.rmtree(other, ignore_errors=True)


def abandon(path: Path) -> None:
    """Delete what was written under a name of this process, and give up the name.

    Writes that are still under way may put files back; the next save of the same
    checkpoint deletes those.
    """
    found = WRITER.search(path.name)
    if found is not None:
        _own.discard(found.group(3))
    for pause in (0.0, 0.1, 0.4):
        time.sleep(pause)
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            break


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname())[:64]

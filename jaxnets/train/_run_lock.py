"""One run a folder: a lock that other processes, and other trainers, respect.

The lock is an advisory `flock` on the file `.lock`, which the system drops when the
process ends, however it ends. The file names host and process for the message; a file
that is left over is recognised by its lock being free.
"""

import contextlib
import errno
import json
import logging
import os
import socket
import time
from pathlib import Path
from typing import Any, ClassVar

import jax

from jaxnets.train._write_errors import clear_errors

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

logger = logging.getLogger("jaxnets.train")

NAME = ".lock"
UNSUPPORTED = (errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL)


class RunLock:
    """The lock of a run folder, held until `release`.

    One owner may hold it several times, such as for `resume=` and for a `Checkpoint`.

    Args:
        directory: the folder; it exists.
        owner: what holds the lock, the trainer.

    Raises:
        BlockingIOError: if another process or another owner holds it.
        OSError: if the file cannot be made.
    """

    held: ClassVar[dict[str, "RunLock"]] = {}

    def __init__(self, directory: Path, owner: Any):
        self.key = str(directory.resolve())
        self.count = 1
        self.owner = owner
        self.path = directory / NAME
        self.descriptor = _take(self.path)
        RunLock.held[self.key] = self

    @classmethod
    def take(cls, directory: Path, owner: Any) -> "RunLock | None":
        """Take the lock, again if the owner has it; None in the other processes.

        Of several processes that train together the first one holds the lock for all.
        """
        if jax.process_index() != 0:
            return None
        lock = cls.held.get(str(directory.resolve()))
        if lock is None:
            return cls(directory, owner)
        if lock.owner is not owner:
            raise _busy(directory / NAME, "another trainer of this process")
        lock.count += 1
        return lock

    def release(self) -> None:
        """Give the lock back; the file goes with the last holder."""
        self.count -= 1
        if self.count or self.held.get(self.key) is not self:
            return
        del self.held[self.key]
        # Deleted while it is locked: whoever has it open sees that it is gone. One that
        # cannot be deleted is taken over by the next run.
        with contextlib.suppress(OSError):
            self.path.unlink()
        os.close(self.descriptor)


def _take(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            supported = _flock(path, descriptor)
            record = _read(descriptor)
            if not supported:
                _check_record(path, record)
            if _is_at(path, descriptor):
                break
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    if record:
        logger.warning(
            "run folder %s: took over the lock of %s, which has ended",
            path.parent,
            _name(record),
        )
    _write(path, descriptor)
    return descriptor


def _write(path: Path, descriptor: int) -> None:
    mine = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.time()}
    try:
        with clear_errors("fit", path):
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, json.dumps(mine).encode())
    except OSError:
        os.close(descriptor)
        raise


def _flock(path: Path, descriptor: int) -> bool:
    """Lock the file; False if this system or file system has no such locks."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _busy(path, _name(_read(descriptor))) from None
    except OSError as error:
        if error.errno in UNSUPPORTED:
            return False
        raise
    return True


def _check_record(path: Path, record: dict[str, Any]) -> None:
    # Without file locks only the record tells whether somebody is there.
    if not record or record["pid"] == os.getpid():
        return
    if record["host"] != socket.gethostname() or is_alive(record["pid"]):
        raise _busy(path, f"{_name(record)} (if it has ended, delete {path})")


def _busy(path: Path, holder: str) -> BlockingIOError:
    return BlockingIOError(
        errno.EWOULDBLOCK,
        f"fit: the run folder is in use by {holder}; two runs in one folder would "
        "overwrite each other's checkpoints (wait for it to end, or give each run a "
        "folder of its own)",
        str(path.parent),
    )


def _read(descriptor: int) -> dict[str, Any]:
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        record = json.loads(os.read(descriptor, 4096))
        return {name: record[name] for name in ("host", "pid", "since")}
    except (ValueError, KeyError, TypeError):
        return {}


def _name(record: dict[str, Any]) -> str:
    if not record:
        return "another process"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record["since"]))
    return f"process {record['pid']} on {record['host']} since {since}"


def _is_at(path: Path, descriptor: int) -> bool:
    # The holder before may have deleted the file after it was opened here.
    try:
        there, here = path.stat(), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def is_alive(pid: int) -> bool:
    """Whether there is a process of that number on this host."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _forget() -> None:
    # A forked child would keep the lock alive after its parent.
    for lock in RunLock.held.values():
        os.close(lock.descriptor)
    RunLock.held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)

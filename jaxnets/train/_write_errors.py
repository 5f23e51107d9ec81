"""What goes wrong while files are written, said once and with the file's name."""

import errno
import logging
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def clear_errors(function: str, path: Path, size: int = 0) -> Iterator[None]:
    """Turn errors of the file system into one OSError that names the path.

    Orbax reports a full disk as a ValueError and the standard library as an OSError
    without a file name.

    Args:
        function: the public function's name.
        path: what is being written.
        size: how many bytes it has, if known.

    Raises:
        OSError: with `errno`, a message that says what to do, and `filename`.
    """
    try:
        yield
    except Exception as error:
        code = system_error(error)
        if code in FULL:
            free = f"{_free(path) / 1e6:.1f} MB are free"
            need = f"{size / 1e6:.1f} MB are to be written, " if size else ""
            message = (
                f"{function}: the disk or quota is full: {need}{free}. What was saved "
                "before is whole (free space, or choose another folder; "
                "Checkpoint(keep=...) keeps fewer checkpoints)"
            )
        elif code == errno.EFBIG:
            message = (
                f"{function}: a file is larger than this process may write. What was "
                "saved before is whole (raise the limit: ulimit -f, RLIMIT_FSIZE)"
            )
        elif code is not None and getattr(error, "filename", None) is None:
            reason = os.strerror(code)
            message = f"{function}: the files cannot be written ({reason})"
        else:
            raise
        # The original has hundreds of lines of Orbax's threads and says no more.
        raise OSError(code, message, str(path)) from None


def system_error(error: BaseException) -> int | None:
    """The number of the operating system's error behind an exception."""
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"os_error_code='(\d+)'", str(error))
    if found:
        return int(found.group(1))
    context = None if error.__suppress_context__ else error.__context__
    cause = error.__cause__ or context
    return None if cause is None else system_error(cause)


@contextmanager
def quiet_orbax() -> Iterator[None]:
    """Keep Orbax from writing what the exception it raises says anyway.

    Its threads log every failed write, and writes that end after the first failure
    report to an event loop that is closed by then.
    """
    logger = logging.getLogger("absl")
    logger.addFilter(NOT_ORBAX)
    hook = sys.unraisablehook
    if not isinstance(hook, _LateWrites):
        sys.unraisablehook = _LateWrites(hook)
    # After an error some writes are still under way: both stay until the next success.
    yield
    logger.removeFilter(NOT_ORBAX)
    if isinstance(sys.unraisablehook, _LateWrites):
        sys.unraisablehook = sys.unraisablehook.previous


class _NotOrbax(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno < logging.ERROR or "orbax" not in record.pathname


NOT_ORBAX = _NotOrbax()


class _LateWrites:
    """Drops one message of asyncio and passes on all others."""

    def __init__(self, previous: Any):
        self.previous = previous

    def __call__(self, unraisable: Any) -> None:
        error = unraisable.exc_value
        if not (isinstance(error, RuntimeError) and "loop is closed" in str(error)):
            self.previous(unraisable)


def _free(path: Path) -> int:
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free

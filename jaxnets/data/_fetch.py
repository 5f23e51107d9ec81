"""Downloads that are checked before they count: whole, bounded, of the known hash."""

import hashlib
import os
import secrets
from pathlib import Path
from typing import BinaryIO

import pooch
import requests

from jaxnets.data._formats import read_bounded
from jaxnets.data._sources import RemoteFile

ATTEMPTS = 2
# Seconds without a byte, not for the whole file.
TIMEOUT = 30
REMEDY = "put the files into a folder and name it by --data-dir or JAXNETS_DATA_DIR"


class DownloadError(OSError):
    """No address gave the file that was expected; nothing was kept."""


def fetch(remote: RemoteFile, folder: Path) -> Path:
    """The path of a file in `folder`, downloaded unless it is there and whole.

    A download goes to a temporary file beside its place and is renamed when its hash is
    right. What arrived completely stays, so that running again goes on from there.

    Args:
        remote: what to fetch.
        folder: the cache.

    Returns:
        The file's path.

    Raises:
        DownloadError: if no address gave it, or `folder` cannot be written.
    """
    path = folder / remote.name
    if path.is_file() and mismatch(path, remote) is None:
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(
            f"load: the cache {folder} must be a folder to write to; got {error} "
            f"({REMEDY})"
        ) from error
    failures = []
    for address in remote.addresses:
        url = address + remote.name
        reason = _try(url, path, remote)
        if reason is None:
            return path
        failures.append(f"{url}: {reason}")
    raise DownloadError(
        f"load: could not download {remote.name}, nothing was kept: "
        f"{'; '.join(failures)} ({REMEDY})"
    )


def mismatch(path: Path, remote: RemoteFile) -> str | None:
    """What is wrong with a file's bytes, or None."""
    if remote.unpacked_bytes is None:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    else:
        try:
            content = read_bounded(path, remote.unpacked_bytes)
        except ValueError as error:
            return f"expected a gzip of {remote.unpacked_bytes} bytes; {error}"
        digest = hashlib.sha256(content).hexdigest()
    if digest != remote.sha256:
        return f"expected SHA-256 {remote.sha256}; got {digest}"
    return None


def _try(url: str, path: Path, remote: RemoteFile) -> str | None:
    """Download to `path`; the reason if that failed."""
    reason = "not tried"
    for _ in range(ATTEMPTS):
        try:
            _download(url, path, remote)
        except (requests.HTTPError, ValueError) as error:
            # The server gave its answer: asking it again would change nothing.
            return _one_line(error)
        except OSError as error:
            reason = _one_line(error)
        else:
            return None
    return reason


def _download(url: str, path: Path, remote: RemoteFile) -> None:
    # Beside its place, so that the renaming is atomic; a name of its own, so that two
    # processes do not write into one file.
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    server = pooch.HTTPDownloader(
        chunk_size=1 << 16, timeout=TIMEOUT, headers={"Accept-Encoding": "identity"}
    )
    try:
        with part.open("xb") as file:
            server(url, _Bounded(file, remote.max_bytes), None)
            file.flush()
            os.fsync(file.fileno())
        reason = mismatch(part, remote)
        if reason is not None:
            raise ValueError(reason)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


class _Bounded:
    """A file to write to that refuses to grow beyond a limit."""

    def __init__(self, file: BinaryIO, limit: int):
        self._file = file
        self._left = limit
        self._limit = limit

    def write(self, chunk: bytes) -> int:
        self._left -= len(chunk)
        if self._left < 0:
            raise ValueError(f"expected at most {self._limit} bytes; got more")
        return self._file.write(chunk)

    def flush(self) -> None:
        self._file.flush()

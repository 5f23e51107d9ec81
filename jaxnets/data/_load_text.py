"""The standard texts by name: a folder of yours, the cache, or a download."""

import os
from pathlib import Path

import pooch

from jaxnets.data._fetch import fetch
from jaxnets.data._find import find_file
from jaxnets.data._load import ENVIRONMENT
from jaxnets.data._sources import TEXT_FILES
from jaxnets.data._text import read_text
from jaxnets.functional._checks import check_choice

# Four times the text, as any text of that name may be put there.
_SLACK = 4


def load_text(name: str, *, data_dir: str | os.PathLike[str] | None = None) -> str:
    """Load a standard text.

    `"tinyshakespeare"`: 40 000 lines of Shakespeare's plays, 1 115 394 characters, 65
    different ones. The file `input.txt`, packed (`.gz`) or not, is sought in
    `data_dir` or its folder of the text's name; else in the folder that the environment
    variable JAXNETS_DATA_DIR names; else in the cache, into which it is downloaded.

    Args:
        name: which text.
        data_dir: a folder; if it is named, nothing is sought elsewhere.

    Returns:
        The text.

    Raises:
        FileNotFoundError: if `data_dir` lacks the file.
        DownloadError: if a download failed.
        ValueError: if there is no such text, or a file is not what it should be.

    Example:
        >>> text = load_text("tinyshakespeare")  # doctest: +SKIP
        >>> len(text), text[:14]  # doctest: +SKIP
        (1115394, 'First Citizen:')
    """
    check_choice("load_text", "name", name, tuple(TEXT_FILES))
    remote = TEXT_FILES[name]
    path = _local(name, remote.name, data_dir)
    if path is None:
        path = fetch(remote, Path(pooch.os_cache("jaxnets")) / name)
    return read_text(path, max_bytes=_SLACK * remote.max_bytes)


def _local(
    name: str, file: str, data_dir: str | os.PathLike[str] | None
) -> Path | None:
    named = data_dir if data_dir is not None else os.environ.get(ENVIRONMENT)
    if not named:
        return None
    folder = Path(named).expanduser()
    places = (folder / name, folder)
    for place in places:
        path = find_file(place, file, f"{file}.gz")
        if path is not None:
            return path
    if data_dir is None:
        return None
    raise FileNotFoundError(
        f"load_text: data_dir must hold {file} or {file}.gz of {name}; looked into "
        f"{', '.join(map(str, places))} (leave data_dir out to download)"
    )

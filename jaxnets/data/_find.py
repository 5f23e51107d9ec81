"""Where the files of a data set lie in a folder of the user's."""

from pathlib import Path


def find_file(folder: Path, *names: str) -> Path | None:
    """The first of several names that is a file in a folder, or None.

    Each may also lie in a folder of its own name, as in Kaggle's data sets:
    `train-images-idx3-ubyte/train-images-idx3-ubyte`.
    """
    own = (Path(outer, inner) for outer in names for inner in names)
    for place in (*names, *own):
        if (folder / place).is_file():
            return folder / place
    return None

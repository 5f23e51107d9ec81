"""The standard data sets by name: a folder of yours, the cache, or a download."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pooch

from jaxnets.data._digits import read_digits
from jaxnets.data._fetch import fetch
from jaxnets.data._find import find_file
from jaxnets.data._formats import (
    CIFAR_TEST,
    CIFAR_TRAIN,
    parse_cifar,
    read_cifar_archive,
    read_cifar_folder,
    read_idx_pair,
)
from jaxnets.data._images import scale_images
from jaxnets.data._sources import (
    CIFAR_ARCHIVE,
    CIFAR_FOLDER,
    CLASS_NAMES,
    IDX_STEMS,
    REMOTE_FILES,
)
from jaxnets.functional._checks import check_choice

# Below the folder that was named: itself, our own name, the names others use.
SUBFOLDERS = {
    "mnist": (".", "mnist", "mnist-dataset", "MNIST/raw"),
    "fashion_mnist": (
        ".",
        "fashion_mnist",
        "fashion-mnist",
        "fashionmnist",
        "FashionMNIST/raw",
    ),
    "cifar10": (".", "cifar10", "cifar-10"),
}
ENVIRONMENT = "JAXNETS_DATA_DIR"


class Split(NamedTuple):
    """One part of a data set.

    Attributes:
        x: images, `(n, height, width, channels)`.
        y: labels, `(n,)` int32.
    """

    x: np.ndarray
    y: np.ndarray


class Dataset(NamedTuple):
    """A data set, already split: `(x_train, y_train), (x_test, y_test) = dataset`.

    Attributes:
        train: what to learn from.
        test: what to measure on.
    """

    train: Split
    test: Split

    def describe(self) -> str:
        """Sizes, types and ranges, one line a part."""
        return "\n".join(
            f"{name:5} x {x.shape} {x.dtype} in [{x.min():g}, {x.max():g}], "
            f"y {y.shape} {y.dtype}, {len(np.unique(y))} classes"
            for name, (x, y) in zip(self._fields, self, strict=True)
        )


def load(name: str, *, data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Load a standard data set, ready to train on.

    `"digits"` (1437 + 360 images, 28 x 28 x 1, scikit-learn's digits enlarged, no
    network), `"mnist"` and `"fashion_mnist"` (60 000 + 10 000, 28 x 28 x 1),
    `"cifar10"` (50 000 + 10 000, 32 x 32 x 3). Files are sought in `data_dir`; else in
    the folder that the environment variable JAXNETS_DATA_DIR names; else in the cache,
    into which they are downloaded. The folder may hold the files or a folder `mnist/`
    (and so on) with them: IDX files, packed or not; `cifar-10-batches-bin/` or its
    `.tar.gz`. Each file may lie in a folder of its own name.

    Args:
        name: which data set.
        data_dir: a folder; if it is named, nothing is sought elsewhere.

    Returns:
        A `Dataset`; images are float32 in [0, 1] with a channel axis, labels int32.

    Raises:
        FileNotFoundError: if `data_dir` lacks the files.
        DownloadError: if a download failed.
        ValueError: if there is no such data set, or a file is not what it should be.

    Example:
        >>> (x_train, y_train), (x_test, y_test) = load("digits")
        >>> x_train.shape, x_test.shape
        ((1437, 28, 28, 1), (360, 28, 28, 1))
    """
    train, test = load_raw(name, data_dir=data_dir)
    return Dataset(
        Split(scale_images(train.x), train.y), Split(scale_images(test.x), test.y)
    )


def load_raw(name: str, *, data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Load a standard data set with the bytes of its files as pixels.

    A quarter of the memory of `load`; scale on the device, inside the step.

    Args:
        name: see `load`.
        data_dir: see `load`.

    Returns:
        A `Dataset`; images are uint8 with a channel axis, labels int32.

    Raises:
        FileNotFoundError: see `load`.
        DownloadError: see `load`.
        ValueError: see `load`.

    Example:
        >>> print(load_raw("digits").describe())
        train x (1437, 28, 28, 1) uint8 in [0, 255], y (1437,) int32, 10 classes
        test  x (360, 28, 28, 1) uint8 in [0, 255], y (360,) int32, 10 classes
    """
    check_choice("load", "name", name, tuple(CLASS_NAMES))
    if name == "digits":
        parts = read_digits()
    else:
        folder = _local_folder(name, data_dir)
        if folder is None:
            folder = _download(name)
        parts = _read_cifar(folder) if name == "cifar10" else _read_idx(folder)
    x_train, y_train, x_test, y_test = parts
    return Dataset(
        Split(x_train, y_train.astype(np.int32)), Split(x_test, y_test.astype(np.int32))
    )


def class_names(name: str) -> tuple[str, ...]:
    """What the labels of a standard data set mean, in their order.

    Args:
        name: see `load`.

    Returns:
        Ten names.

    Raises:
        ValueError: if there is no such data set.

    Example:
        >>> class_names("cifar10")[:3]
        ('airplane', 'automobile', 'bird')
    """
    check_choice("class_names", "name", name, tuple(CLASS_NAMES))
    return CLASS_NAMES[name]


def _local_folder(name: str, data_dir: str | os.PathLike[str] | None) -> Path | None:
    """The folder of the user's that holds the files; None if none was named or has."""
    named = data_dir if data_dir is not None else os.environ.get(ENVIRONMENT)
    if not named:
        return None
    folders = [Path(named).expanduser() / sub for sub in SUBFOLDERS[name]]
    for folder in folders:
        if _holds(folder, name):
            return folder
    if data_dir is None:
        return None
    wanted = CIFAR_FOLDER if name == "cifar10" else f"{IDX_STEMS[0]}[.gz]"
    raise FileNotFoundError(
        f"load: data_dir must hold {wanted} of {name}; looked into "
        f"{', '.join(str(folder) for folder in folders)} "
        "(leave data_dir out to download)"
    )


def _holds(folder: Path, name: str) -> bool:
    if name == "cifar10":
        return _cifar_batches(folder) is not None or _cifar_archive(folder) is not None
    return any(_idx_path(folder, stem) is not None for stem in IDX_STEMS)


def _idx_path(folder: Path, stem: str) -> Path | None:
    # Unpacked first: it is read faster. Some archives write a dot for the second dash.
    dotted = stem.replace("-idx", ".idx")
    return find_file(folder, stem, f"{stem}.gz", dotted, f"{dotted}.gz")


def _cifar_batches(folder: Path) -> Path | None:
    """Where the six batches are, or some of them."""
    unpacked = CIFAR_ARCHIVE.removesuffix(".tar.gz")
    inside = (CIFAR_FOLDER, f"{CIFAR_FOLDER}/{CIFAR_FOLDER}")
    for place in (*inside, f"{unpacked}/{CIFAR_FOLDER}", unpacked, "."):
        for batch in CIFAR_TRAIN + CIFAR_TEST:
            if find_file(folder / place, batch, f"{batch}.gz") is not None:
                return folder / place
    return None


def _cifar_archive(folder: Path) -> Path | None:
    return find_file(folder, CIFAR_ARCHIVE, CIFAR_ARCHIVE.removesuffix(".gz"))


def _read_idx(folder: Path) -> tuple[np.ndarray, ...]:
    paths = []
    for stem in IDX_STEMS:
        path = _idx_path(folder, stem)
        if path is None:
            raise FileNotFoundError(f"load: {folder} must hold {stem} or {stem}.gz too")
        paths.append(path)
    return read_idx_pair(*paths[:2]) + read_idx_pair(*paths[2:])


def _read_cifar(folder: Path) -> tuple[np.ndarray, ...]:
    batches, archive = _cifar_batches(folder), _cifar_archive(folder)
    if archive is not None and batches in (None, folder):
        folder, files = archive, read_cifar_archive(archive)
    else:
        folder = batches or folder
        files = read_cifar_folder(folder)
    parts = []
    for names in (CIFAR_TRAIN, CIFAR_TEST):
        batches = [parse_cifar(files[name], f"{folder / name}") for name in names]
        parts += [np.concatenate(arrays) for arrays in zip(*batches, strict=True)]
    return tuple(parts)


def _download(name: str) -> Path:
    folder = Path(pooch.os_cache("jaxnets")) / name
    for remote in REMOTE_FILES[name]:
        fetch(remote, folder)
    return folder

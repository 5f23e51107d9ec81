"""Folders as other programs leave them, which hold the standard data sets."""

import numpy as np
import pytest

from jaxnets import data
from jaxnets.data import _formats
from jaxnets.data._sources import IDX_STEMS
from tests.data.files import RECORD, cifar_files, gz, idx_files, tar_gz, write


@pytest.fixture(autouse=True)
def no_other_folder(monkeypatch):
    monkeypatch.delenv("JAXNETS_DATA_DIR", raising=False)


def dotted(name):
    return name.replace("-idx", ".idx")


def check_idx(dataset, files):
    for split, prefix in zip(dataset, ("train", "t10k"), strict=True):
        pixels = np.frombuffer(files[f"{prefix}-images-idx3-ubyte"][16:], np.uint8)
        labels = np.frombuffer(files[f"{prefix}-labels-idx1-ubyte"][8:], np.uint8)
        np.testing.assert_array_equal(split.x.ravel(), pixels)
        np.testing.assert_array_equal(split.y, labels)


@pytest.mark.parametrize(
    ("outer", "inner", "pack"),
    [
        (str, str, bytes),
        (str, dotted, bytes),
        (dotted, dotted, bytes),
        (str, "{}.gz".format, gz),
        ("{}.gz".format, str, bytes),
        ("{}.gz".format, "{}.gz".format, gz),
    ],
)
@pytest.mark.parametrize(
    ("name", "folder"),
    [("mnist", "."), ("mnist", "mnist-dataset"), ("fashion_mnist", "fashionmnist")],
)
def test_idx_files_in_folders_of_their_own_names(
    tmp_path, outer, inner, pack, name, folder
):
    """As Kaggle's `mnist-dataset` has them."""
    files = idx_files()
    for stem, content in files.items():
        write(tmp_path / folder / outer(stem), {inner(stem): pack(content)})
    check_idx(data.load_raw(name, data_dir=tmp_path), files)


def test_a_file_goes_before_a_folder_of_its_name(tmp_path):
    files, others = idx_files(1), idx_files(2)
    write(tmp_path, {dotted(stem): content for stem, content in files.items()})
    for stem, content in others.items():
        write(tmp_path / stem, {stem: content})
    check_idx(data.load_raw("mnist", data_dir=tmp_path), files)


def test_an_empty_folder_of_a_file_s_name_holds_nothing(tmp_path):
    files = idx_files()
    lacking = files.pop(IDX_STEMS[1])
    write(tmp_path, files)
    (tmp_path / IDX_STEMS[1]).mkdir()
    with pytest.raises(FileNotFoundError, match=f"must hold {IDX_STEMS[1]} or"):
        data.load_raw("mnist", data_dir=tmp_path)
    write(tmp_path / IDX_STEMS[1], {IDX_STEMS[1]: lacking})
    assert data.load_raw("mnist", data_dir=tmp_path).train.y.shape == (5,)


@pytest.fixture
def cifar(monkeypatch):
    """Batches of three images, in place of 10 000."""
    monkeypatch.setattr(_formats, "CIFAR_RECORDS", 3)
    files = {}
    for name, content in cifar_files().items():
        batch = np.frombuffer(content, np.uint8)[: 3 * RECORD].copy()
        batch[1:4] = 10 + len(files)
        files[name] = batch.tobytes()
    return files


FOLDER = "cifar-10-batches-bin"


@pytest.mark.parametrize(
    "folder",
    [".", FOLDER, f"{FOLDER}/{FOLDER}", "cifar-10-binary", f"cifar10/{FOLDER}"],
)
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("pack", [bytes, gz])
def test_cifar_batches(tmp_path, cifar, folder, own, pack):
    ending = "" if pack is bytes else ".gz"
    for name, content in cifar.items():
        place = tmp_path / folder / (name if own else ".")
        write(place, {f"{name}{ending}": pack(content)})
    check_cifar(data.load_raw("cifar10", data_dir=tmp_path))


@pytest.mark.parametrize("folder", [".", "cifar10", "cifar-10-binary.tar.gz"])
def test_cifar_archives(tmp_path, cifar, folder):
    write(tmp_path / folder, {"cifar-10-binary.tar.gz": tar_gz(cifar)})
    check_cifar(data.load_raw("cifar10", data_dir=tmp_path))


def test_an_archive_that_is_unpacked_and_still_a_tar(tmp_path, cifar):
    content = _formats.gzip.decompress(tar_gz(cifar))
    write(tmp_path, {"cifar-10-binary.tar": content})
    check_cifar(data.load_raw("cifar10", data_dir=tmp_path))


def check_cifar(dataset):
    """Red of the first pixels of each batch, in the order of the batches."""
    assert dataset.train.x.shape == (15, 32, 32, 3)
    assert dataset.train.x[::3, 0, 0, 0].tolist() == [10, 11, 12, 13, 14]
    assert dataset.test.x[0, 0, :4, 0].tolist() == [15, 15, 15, 0]
    assert dataset.train.y[::3].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("folder", ["input.txt", "tinyshakespeare/input.txt"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_text_in_a_folder_of_its_own_name(tmp_path, folder, packed):
    content = b"First Citizen"
    name, content = ("input.txt.gz", gz(content)) if packed else ("input.txt", content)
    write(tmp_path / folder, {name: content})
    assert data.load_text("tinyshakespeare", data_dir=tmp_path) == "First Citizen"

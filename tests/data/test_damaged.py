"""Damaged files of every format: read as they are, or an error names the file."""

import gzip

import numpy as np
import pytest

from jaxnets import data
from jaxnets.data import _formats
from tests.data.files import cifar_files, gz, idx_files, tar_gz, write
from tests.mutations import mutants

COUNT = 90
"""Mutants of a format; ten of each kind of damage."""
TEXT = "Ünïcodé, 日本語 and 🎈🎉\r\n\n" * 20


def check(path, content, read):
    """Read damaged copies; what those gave that were read."""
    path.write_bytes(content)
    found, whole = [], read()
    for number, damaged in enumerate(mutants(content, COUNT)):
        path.write_bytes(damaged)
        try:
            found.append(read())
        except ValueError as error:
            assert not isinstance(error, UnicodeError), number
            assert str(path) in str(error), f"{number}: {error}"
    assert len(found) < COUNT
    return whole, found


@pytest.mark.parametrize("name", list(idx_files()))
@pytest.mark.parametrize("packed", [False, True])
def test_idx(tmp_path, name, packed):
    files = idx_files()
    write(tmp_path, files)
    content = gz(files[name]) if packed else files[name]

    def read():
        parts = data.load_raw("mnist", data_dir=tmp_path)
        return [array for split in parts for array in split]

    whole, found = check(tmp_path / name, content, read)
    if packed:  # gzip has a checksum
        for arrays in found:
            for array, right in zip(arrays, whole, strict=True):
                np.testing.assert_array_equal(array, right)


@pytest.mark.parametrize("packed", [False, True])
def test_cifar_archives(tmp_path, monkeypatch, packed):
    monkeypatch.setattr(_formats, "CIFAR_RECORDS", 2)
    files = {name: content[: 2 * 3073] for name, content in cifar_files().items()}
    content = tar_gz(files)
    content = content if packed else gzip.decompress(content)
    path = tmp_path / "cifar-10-binary.tar.gz"
    check(path, content, lambda: data.load_raw("cifar10", data_dir=tmp_path))


@pytest.mark.parametrize("name", list(cifar_files())[::5])
def test_cifar_batches(tmp_path, monkeypatch, name):
    monkeypatch.setattr(_formats, "CIFAR_RECORDS", 2)
    files = {name: content[: 2 * 3073] for name, content in cifar_files().items()}
    write(tmp_path, files)
    check(
        tmp_path / name,
        files[name],
        lambda: data.load_raw("cifar10", data_dir=tmp_path),
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
@pytest.mark.parametrize("packed", [False, True])
def test_texts(tmp_path, encoding, packed):
    path = tmp_path / "text"
    content = TEXT.encode(encoding)

    def read():
        vocabulary = data.vocabulary_of_file(path)
        ids = data.encode_file(path, tmp_path / "ids.npy", vocabulary)
        text = data.read_text(path)
        assert vocabulary.decode(ids) == text
        return text

    whole, found = check(path, gz(content) if packed else content, read)
    assert whole == TEXT
    if packed:
        assert set(found) <= {TEXT}


def test_vocabularies(tmp_path):
    path = tmp_path / "vocabulary.json"
    data.Vocabulary.of(TEXT).save(path)
    check(path, path.read_bytes(), lambda: data.Vocabulary.load(path))

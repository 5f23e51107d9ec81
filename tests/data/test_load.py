import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxnets import data
from jaxnets.data import _load, _sources
from jaxnets.data._fetch import mismatch
from tests.data.files import cifar_files, gz, idx, idx_files, serve, tar_gz, write
from tests.data.oracles import pixel_at

# Values of the first version: results on digits are comparable from then on.
DIGITS_SHA256 = "51c04e67c49ac1bfce2257fc258d3b6f84b5bfbf7f4a5c2d69d8c7c13fe1021f"
REAL_FILES = dict(_sources.REMOTE_FILES)
FOLDER = os.environ.get("JAXNETS_DATA_DIR", "")


@pytest.fixture(autouse=True)
def empty_house(monkeypatch, tmp_path):
    """No folder of the user's, an empty cache, no way to a network."""
    monkeypatch.delenv("JAXNETS_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in _sources.REMOTE_FILES:
        monkeypatch.setitem(_sources.REMOTE_FILES, name, ())


def expected(files, prefix):
    x = np.frombuffer(files[f"{prefix}-images-idx3-ubyte"][16:], np.uint8)
    y = np.frombuffer(files[f"{prefix}-labels-idx1-ubyte"][8:], np.uint8)
    return x.reshape(-1, 28, 28, 1), y.astype(np.int32)


def scaled(x):
    return (x.astype(np.float64) / 255).astype(np.float32)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("folder", [".", "{}"])
def test_idx_sets_from_a_folder(tmp_path, name, packed, folder):
    files = idx_files()
    on_disk = {f"{k}.gz": gz(v) for k, v in files.items()} if packed else files
    write(tmp_path / folder.format(name), on_disk)
    (x_train, y_train), (x_test, y_test) = data.load(name, data_dir=tmp_path)
    raw = data.load_raw(name, data_dir=str(tmp_path))
    for x, y, split, prefix in (
        (x_train, y_train, raw.train, "train"),
        (x_test, y_test, raw.test, "t10k"),
    ):
        pixels, labels = expected(files, prefix)
        np.testing.assert_array_equal(x, scaled(pixels), strict=True)
        np.testing.assert_array_equal(y, labels, strict=True)
        np.testing.assert_array_equal(split.x, pixels, strict=True)
        np.testing.assert_array_equal(split.y, labels, strict=True)


def test_other_names_of_files_and_folders(tmp_path):
    files = idx_files()
    dotted = {name.replace("-idx", ".idx"): content for name, content in files.items()}
    write(tmp_path / "MNIST" / "raw", dotted)
    got = data.load_raw("mnist", data_dir=tmp_path)
    np.testing.assert_array_equal(got.train.x, expected(files, "train")[0])


def test_the_argument_goes_before_the_variable(tmp_path, monkeypatch):
    first, second = idx_files(1), idx_files(2)
    write(tmp_path / "argument", first)
    write(tmp_path / "variable" / "mnist", second)
    monkeypatch.setenv("JAXNETS_DATA_DIR", str(tmp_path / "variable"))
    got = data.load_raw("mnist", data_dir=tmp_path / "argument")
    np.testing.assert_array_equal(got.train.x, expected(first, "train")[0])
    got = data.load_raw("mnist")
    np.testing.assert_array_equal(got.train.x, expected(second, "train")[0])


def test_a_folder_without_the_files_is_no_reason_to_download(tmp_path):
    message = (
        r"load: data_dir must hold train-images-idx3-ubyte\[.gz\] of mnist; "
        r"looked into .*mnist, .*raw \(leave data_dir out to download\)"
    )
    with pytest.raises(FileNotFoundError, match=message):
        data.load("mnist", data_dir=tmp_path)
    with pytest.raises(FileNotFoundError, match="must hold cifar-10-batches-bin of"):
        data.load("cifar10", data_dir=tmp_path / "nowhere")


def test_a_file_that_is_missing_is_named(tmp_path):
    files = idx_files()
    del files["t10k-labels-idx1-ubyte"]
    write(tmp_path, files)
    with pytest.raises(
        FileNotFoundError, match=r"must hold t10k-labels-idx1-ubyte or .*[.]gz too"
    ):
        data.load("mnist", data_dir=tmp_path)


def test_swapped_files_are_noticed(tmp_path):
    files = idx_files()
    files["t10k-labels-idx1-ubyte"] = files["train-labels-idx1-ubyte"]
    write(tmp_path, files)
    with pytest.raises(ValueError, match="belong together; got 3 images and 5 labels"):
        data.load("mnist", data_dir=tmp_path)


def test_downloads_go_through_the_cache(tmp_path, monkeypatch):
    files = idx_files()
    packed = {f"{name}.gz": gz(content) for name, content in files.items()}
    with serve(packed) as server:
        remote = tuple(
            _sources.RemoteFile(
                f"{name}.gz",
                (server.url,),
                10**5,
                hashlib.sha256(content).hexdigest(),
                len(content),
            )
            for name, content in files.items()
        )
        monkeypatch.setitem(_sources.REMOTE_FILES, "mnist", remote)
        # The third file fails: the first two stay and are not asked for again.
        third = remote[2].name
        server.faults[third] = ["busy"]
        with pytest.raises(data.DownloadError, match=f"could not download {third}"):
            data.load_raw("mnist")
        got = data.load_raw("mnist")
        assert server.requests == [r.name for r in remote[:3]] + [
            r.name for r in remote[2:]
        ]
    np.testing.assert_array_equal(got.test.x, expected(files, "t10k")[0])
    # Without the server: from the cache.
    got = data.load_raw("mnist")
    np.testing.assert_array_equal(got.train.y, expected(files, "train")[1])


def check_cifar(dataset):
    (x_train, y_train), (x_test, y_test) = dataset
    assert x_train.shape == (50_000, 32, 32, 3)
    assert x_test.shape == (10_000, 32, 32, 3)
    for number in range(5):
        assert x_train[10_000 * number + 7, 2, 3].tolist() == [0, 100 + number, 0]
        assert y_train[10_000 * number] == number
    assert x_test[-1, 31, 31].tolist() == [0, 0, 205]
    assert y_train.dtype == y_test.dtype == np.int32
    assert y_test[:2].tolist() == [5, 6]


@pytest.mark.slow
def test_cifar_from_a_folder_or_an_archive(tmp_path):
    files = cifar_files()
    write(tmp_path / "a" / "cifar-10-batches-bin", files)
    check_cifar(data.load_raw("cifar10", data_dir=tmp_path / "a"))
    check_cifar(
        data.load_raw("cifar10", data_dir=tmp_path / "a" / "cifar-10-batches-bin")
    )
    write(tmp_path / "b" / "cifar10", {"cifar-10-binary.tar.gz": tar_gz(files)})
    check_cifar(data.load_raw("cifar10", data_dir=tmp_path / "b"))
    (tmp_path / "a" / "cifar-10-batches-bin" / "test_batch.bin").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"must hold test_batch.bin too \(the binary version;"
    ):
        data.load_raw("cifar10", data_dir=tmp_path / "a")


def test_unknown_names():
    message = "load: name must be one of 'digits', .*'cifar10'; got 'imagenet'"
    with pytest.raises(ValueError, match=message):
        data.load("imagenet")
    with pytest.raises(ValueError, match=r"class_names: name must be one of .*got 'x'"):
        data.class_names("x")


def test_every_set_has_ten_class_names():
    for name in ("digits", "mnist", "fashion_mnist", "cifar10"):
        assert len(set(data.class_names(name))) == 10
    assert data.class_names("fashion_mnist")[9] == "Ankle boot"
    assert data.class_names("mnist")[3] == "3"


def test_digits_are_the_library_s_in_mnist_s_frame():
    """Each of scikit-learn's images, drawn by loops, stands in exactly one part."""
    bunch = load_digits()
    dataset = data.load_raw("digits")
    seen = {}
    for x, y in dataset:
        for image, label in zip(x, y, strict=True):
            key = (image.tobytes(), int(label))
            seen[key] = seen.get(key, 0) + 1
    places = [(i + 0.5) * 8 / 20 - 0.5 for i in range(20)]
    for index in range(0, 1797, 200):
        image = bunch.images[index][..., None]
        drawn = np.array(
            [
                [pixel_at(image, i, j, "bilinear", "replicate")[0] for j in places]
                for i in places
            ]
        )
        exact = np.pad(drawn * 255 / 16, 4)
        # Halves may round either way in floating point: then both bytes are right.
        low, high = np.round(exact - 1e-6), np.round(exact + 1e-6)
        matches = [
            key
            for key in seen
            if key[1] == bunch.target[index]
            and (
                (pixels := np.frombuffer(key[0], np.uint8).reshape(28, 28)) >= low
            ).all()
            and (pixels <= high).all()
        ]
        assert len(matches) == 1
    assert sum(seen.values()) == 1797


def test_the_split_of_digits_is_fair_and_fixed():
    train, test = data.load_raw("digits")
    assert (len(train.y), len(test.y)) == (1437, 360)
    everything = np.bincount(load_digits().target)
    share = np.bincount(test.y) / everything
    assert np.abs(share - 0.2).max() < 0.006
    # Each class also has its share of the last 15 % of the training part.
    tail = np.bincount(train.y[-215:], minlength=10)
    assert tail.min() >= 12
    digest = hashlib.sha256(
        b"".join(a.tobytes() for part in (train, test) for a in part)
    )
    assert digest.hexdigest() == DIGITS_SHA256


def test_digits_need_neither_folder_nor_network(tmp_path):
    got = data.load("digits", data_dir=tmp_path / "nowhere")
    assert got.train.x.dtype == np.float32
    assert got.train.x.max() == 1
    assert got.describe().splitlines()[0] == (
        "train x (1437, 28, 28, 1) float32 in [0, 1], y (1437,) int32, 10 classes"
    )


def test_the_addresses_are_safe():
    for files in REAL_FILES.values():
        for remote in files:
            assert all(address.startswith("https://") for address in remote.addresses)
            assert all(address.endswith("/") for address in remote.addresses)
            assert len(bytes.fromhex(remote.sha256)) == 32


def real_folder(name):
    if not FOLDER:
        pytest.skip("JAXNETS_DATA_DIR names no folder with the real files")
    folders = [Path(FOLDER) / sub for sub in _load.SUBFOLDERS[name]]
    for folder in folders:
        if _load._holds(folder, name):
            return folder
    pytest.skip(f"the folder of JAXNETS_DATA_DIR does not hold {name}")


def test_the_hashes_are_those_of_the_real_mnist():
    folder = real_folder("mnist")
    for remote in REAL_FILES["mnist"]:
        assert mismatch(folder / remote.name, remote) is None


def test_the_real_mnist():
    (x_train, y_train), (x_test, y_test) = data.load(
        "mnist", data_dir=real_folder("mnist")
    )
    assert x_train.shape == (60_000, 28, 28, 1)
    assert x_test.shape == (10_000, 28, 28, 1)
    # Counts of the classes and the mean that the literature normalises by.
    assert np.bincount(y_train).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949
    ]  # fmt: skip
    assert y_test[:5].tolist() == [7, 2, 1, 0, 4]
    assert abs(float(x_train.mean(dtype=np.float64)) - 0.1307) < 5e-5


def test_the_real_cifar():
    (x_train, y_train), (_, y_test) = data.load_raw(
        "cifar10", data_dir=real_folder("cifar10")
    )
    assert x_train.shape == (50_000, 32, 32, 3)
    assert np.bincount(y_train).tolist() == [5000] * 10
    assert np.bincount(y_test).tolist() == [1000] * 10
    # The means of the colours that the literature subtracts. Copies of the set that
    # were compressed again or put in another order have them too.
    means = x_train.mean((0, 1, 2), dtype=np.float64) / 255
    np.testing.assert_allclose(means, [0.4914, 0.4822, 0.4465], atol=2e-3)


def test_labels_out_of_range_are_refused(tmp_path):
    files = idx_files()
    files["train-labels-idx1-ubyte"] = idx(np.array([1, 2, 200, 4, 5]))
    write(tmp_path, files)
    with pytest.raises(ValueError, match="got 200 at position 2"):
        data.load("mnist", data_dir=tmp_path)

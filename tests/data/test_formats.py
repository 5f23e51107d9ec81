import gzip
import io
import re
import struct
import tarfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxnets.data import _formats
from tests.data.files import RECORD, cifar_files, gz, idx, tar_gz, write


def images(size=2, side=28):
    return np.arange(size * side * side).reshape(size, side, side) % 251


def pair(tmp_path, image_bytes, label_bytes):
    folder = write(tmp_path, {"images": image_bytes, "labels": label_bytes})
    return _formats.read_idx_pair(folder / "images", folder / "labels")


@pytest.mark.parametrize("pack", [bytes, gz])
def test_idx_files_are_read_packed_and_plain(tmp_path, pack):
    x, y = pair(tmp_path, pack(idx(images())), pack(idx(np.array([9, 0]))))
    assert x.dtype == y.dtype == np.uint8
    np.testing.assert_array_equal(x, images()[..., None])
    assert y.tolist() == [9, 0]
    x[:] = 0


GOOD_IMAGES, GOOD_LABELS = idx(images()), idx(np.array([9, 0]))


@pytest.mark.parametrize(
    ("image_bytes", "label_bytes", "message"),
    [
        (b"", GOOD_LABELS, "images must begin with 16 header bytes; got 0"),
        (GOOD_IMAGES[:15], GOOD_LABELS, "must begin with 16 header bytes; got 15"),
        (
            GOOD_LABELS + bytes(20),
            GOOD_LABELS,
            r"magic 00000803 \(3 axes of unsigned bytes\); got 00000801 "
            r"\(are the image and the label file swapped\?\)",
        ),
        (
            GOOD_IMAGES,
            GOOD_IMAGES,
            r"labels must begin with the IDX magic 00000801 .* got 00000803",
        ),
        (
            # Type code 0x0D: 32-bit floats.
            b"\0\0\x0d\3" + GOOD_IMAGES[4:],
            GOOD_LABELS,
            "magic 00000803 .* got 00000d03",
        ),
        (
            GOOD_IMAGES[:-1],
            GOOD_LABELS,
            r"must hold 1568 values after its header, as its shape \(2, 28, 28\) "
            r"says; got 1567 \(cut short or with a tail\)",
        ),
        (GOOD_IMAGES + b"\0", GOOD_LABELS, "must hold 1568 values .* got 1569"),
        (
            # Announces more than there can be; nothing of that size is allocated.
            GOOD_IMAGES[:4] + struct.pack(">III", 2**32 - 1, 2**32 - 1, 2**32 - 1),
            GOOD_LABELS,
            f"must hold {(2**32 - 1) ** 3} values .* got 0",
        ),
        (
            idx(images(2, 14)),
            GOOD_LABELS,
            "images must hold images of 28 x 28; got 14 x 14",
        ),
        (
            GOOD_IMAGES,
            idx(np.array([1, 2, 3])),
            "labels must belong together; got 2 images and 3 labels",
        ),
        (
            idx(np.zeros((0, 28, 28))),
            idx(np.zeros(0)),
            "images must hold an image; got none",
        ),
        (
            GOOD_IMAGES,
            idx(np.array([3, 10])),
            r"labels must hold labels 0 \.\.\. 9; got 10 at position 1",
        ),
        (
            gz(GOOD_IMAGES)[:-20],
            GOOD_LABELS,
            r"images must be a whole gzip file; got .* \(cut short or damaged",
        ),
        (gz(GOOD_IMAGES)[:12], GOOD_LABELS, "must be a whole gzip file"),
        (gz(GOOD_IMAGES) + b"tail", GOOD_LABELS, "must be a whole gzip file"),
        (b"\x1f\x8b", GOOD_LABELS, "must be a whole gzip file"),
    ],
)
def test_idx_files_that_lie(tmp_path, image_bytes, label_bytes, message):
    with pytest.raises(ValueError, match=f"load: .*{message}"):
        pair(tmp_path, image_bytes, label_bytes)


@given(cut=st.integers(0, 400), at=st.integers(0, 400), value=st.integers(0, 255))
def test_a_damaged_gzip_never_passes(tmp_path_factory, cut, at, value):
    """Whatever byte is changed or lost, the content is right or an error is raised."""
    path = tmp_path_factory.mktemp("gzip") / "file"
    packed = bytearray(gz(GOOD_IMAGES))
    cut = min(cut, len(packed))
    packed[min(at, len(packed) - 1)] = value
    path.write_bytes(packed[: len(packed) - cut])
    try:
        content = _formats.read_bounded(path, 10_000)
    except ValueError as error:
        assert re.match("load: .*(whole gzip file|at most 10000 bytes)", str(error))
    else:
        # Not marked as packed any more, or a header byte without meaning was hit.
        assert content in (GOOD_IMAGES, bytes(packed[: len(packed) - cut]))


def test_a_gzip_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb") as file:
        for _ in range(64):
            file.write(bytes(1 << 20))
    with pytest.raises(
        ValueError, match=r"bomb.gz must hold at most 1000 bytes; got m"
    ):
        _formats.read_bounded(path, 1000)
    # The limit itself is allowed.
    exact = tmp_path / "exact.gz"
    exact.write_bytes(gz(bytes(1000)))
    assert _formats.read_bounded(exact, 1000) == bytes(1000)


def test_cifar_pixels_and_labels_are_in_their_places():
    x, y = _formats.parse_cifar(cifar_files()["data_batch_2.bin"], "batch")
    assert x.shape == (10_000, 32, 32, 3)
    assert x.dtype == y.dtype == np.uint8
    # Green is channel 1; the rest of the batch is black.
    assert x[7, 2, 3].tolist() == [0, 101, 0]
    assert x[-1, 31, 31].tolist() == [0, 0, 201]
    assert int(x.sum(dtype=np.int64)) == 302
    assert y[:3].tolist() == [1, 2, 3]


def test_cifar_batches_that_lie():
    whole = cifar_files()["test_batch.bin"]
    message = "batch must hold 10000 records of 3073 bytes, 30730000 in all; got"
    with pytest.raises(ValueError, match=f"{message} 30729999"):
        _formats.parse_cifar(whole[:-1], "batch")
    with pytest.raises(ValueError, match=f"{message} 30730001"):
        _formats.parse_cifar(whole + b"\0", "batch")
    with pytest.raises(ValueError, match=r"labels 0 \.\.\. 9; got 77 at position 3"):
        _formats.parse_cifar(
            whole[: 3 * RECORD] + b"\x4d" + whole[3 * RECORD + 1 :], "batch"
        )


def archive(tmp_path, members):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
        for member, content in members:
            tar.addfile(member, None if content is None else io.BytesIO(content))
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(packed.getvalue())
    return path


@pytest.mark.slow
def test_the_archive_gives_the_six_batches(tmp_path):
    files = cifar_files()
    path = tmp_path / "archive"
    path.write_bytes(tar_gz({**files, "readme.html": b"hello"}))
    assert _formats.read_cifar_archive(path) == files


def test_archives_that_lie(tmp_path):
    name = "cifar-10-batches-bin/data_batch_1.bin"
    link = tarfile.TarInfo(name)
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with pytest.raises(
        ValueError,
        match=r"data_batch_1.bin in .* must be a file of 30730000 bytes; got 0",
    ):
        _formats.read_cifar_archive(archive(tmp_path, [(link, None)]))
    small = tarfile.TarInfo(name)
    small.size = 5
    with pytest.raises(ValueError, match="must be a file of 30730000 bytes; got 5"):
        _formats.read_cifar_archive(archive(tmp_path, [(small, b"12345")]))
    # A path that leads out of the folder is not one of the six names.
    climber = tarfile.TarInfo("../../data_batch_1.bin")
    climber.size = 5
    with pytest.raises(ValueError, match=r"must hold data_batch_1.bin, .*test_batch"):
        _formats.read_cifar_archive(archive(tmp_path, [(climber, b"12345")]))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "cifar-10-binary.tar.gz"
    ]
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(gz(b"no tar archive" * 100))
    with pytest.raises(ValueError, match="must be a tar archive; got"):
        _formats.read_cifar_archive(path)
    path.write_bytes(gz(bytes(200_000_000)))
    with pytest.raises(ValueError, match="must hold at most 185380000 bytes; got more"):
        _formats.read_cifar_archive(path)

"""Images on disk as a source: what is read of good files, and what is said of bad."""

import io
import math
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.examples.images import CLASSES


def encoded(files, image: Image.Image, kind: str = "PNG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return files.Encoded(stream.getvalue(), 1, "the image")


def test_the_middle_of_an_image_is_read_unchanged(files, rng):
    """7/8 of 64 cells are 56: nothing is resized."""
    pixels = rng.integers(0, 256, (64, 80, 3)).astype(np.uint8)
    got, label = files.test_image(encoded(files, Image.fromarray(pixels)), 56)
    np.testing.assert_array_equal(got, pixels[4:60, 12:68])
    assert (got.dtype, label, label.dtype) == (np.uint8, 1, np.int32)


def test_a_jpeg_decoded_at_a_fraction_shows_the_same_part(files):
    """A large picture of slow waves, by its formula at the middle of every cell."""

    def waves(y, x):
        return 128 + 60 * np.sin(y / 200) + 60 * np.cos(x / 170)

    pixels = waves(*np.mgrid[:1024, :1600]).round().astype(np.uint8)
    image = encoded(files, Image.fromarray(pixels), "JPEG", quality=95)
    rng, same = (np.random.default_rng(3) for _ in "ab")
    left, upper, right, lower = files.random_box(1600, 1024, same)
    got, _ = files.training_image(image, 32, rng)
    steps = (np.arange(32) + 0.5) / 32
    y, x = upper + steps * (lower - upper), left + steps * (right - left)
    want = waves(y[:, None] - 0.5, x[None] - 0.5)
    np.testing.assert_allclose(got, np.repeat(want[..., None], 3, -1), atol=4)


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "I;16"])
def test_every_kind_of_pixel_becomes_three_bytes(files, mode):
    kind = "JPEG" if mode == "CMYK" else "PNG"
    got, _ = files.test_image(encoded(files, Image.new(mode, (20, 24)), kind), 8)
    assert got.shape == (8, 8, 3)
    assert got.dtype == np.uint8


@pytest.mark.parametrize("size", [(64, 48), (48, 64), (500, 20), (1, 1)])
def test_random_boxes_keep_to_their_rules(files, rng, size):
    width, height = size
    middle = 0
    for _ in range(300):
        left, upper, right, lower = files.random_box(width, height, rng)
        assert 0 <= left < right <= width + 1e-9
        assert 0 <= upper < lower <= height + 1e-9
        w, h = right - left, lower - upper
        assert 3 / 4 - 1e-9 <= w / h <= 4 / 3 + 1e-9
        fallback = math.isclose(w, min(width, height * 4 / 3)) and math.isclose(
            h, min(height, width * 4 / 3)
        )
        middle += fallback
        assert fallback or 0.08 <= w * h / (width * height) <= 1
    # Of a strip, no allowed shape has 8 % of the area or more in most draws.
    assert middle == (300 if size == (500, 20) else middle)


def with_size(png: bytes, width: int, height: int) -> bytes:
    """The PNG with another size in its header, checksum and all."""
    header = b"IHDR" + struct.pack(">II", width, height) + png[24:29]
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]


def test_bad_files_are_named_and_bombs_not_decoded(files):
    good = encoded(files, Image.effect_noise((64, 64), 50)).content
    bad = {
        "no image of a kind that is read": [b"", b"text", with_size(good, 0, 4)],
        "no image that can be read: Truncated": [good[:20]],
        "cannot be decoded": [good[:2000], good[:1500] + bytes(500) + good[2000:]],
        "9000 x 9000 pixels, where 50000000 are the most": [
            with_size(good, 9_000, 9_000)
        ],
        "no image that can be read: Image size": [with_size(good, 60_000, 60_000)],
    }
    for message, contents in bad.items():
        for content in contents:
            with pytest.raises(ValueError, match=f"the image: .*{message}"):
                files.test_image(files.Encoded(content, 0, "the image"), 8)


def test_folders_are_classes_in_the_order_of_their_names(files, folder):
    classes = files.find_classes(folder)
    source = files.open_split(folder, "train", classes)
    assert classes == CLASSES
    assert len(source) == 21
    assert [source[i].label for i in range(21)] == [0] * 7 + [1] * 7 + [2] * 7
    assert source[8].name == str(folder / "train/bee/001.jpg")
    brightest = [
        files.test_image(source[i], 8)[0].mean((0, 1)).argmax() for i in range(21)
    ]
    assert brightest == [source[i].label for i in range(21)]


def test_folders_that_cannot_be_used(files, folder, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="has neither a folder train/"):
        files.find_classes(tmp_path)
    (tmp_path / "train/one").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"2 classes or more; got \['one'\]"):
        files.find_classes(tmp_path)
    with pytest.raises(ValueError, match="train/one holds no image"):
        files.open_split(tmp_path, "train", ["one"])
    monkeypatch.setattr(files, "MAX_BYTES", 1000)
    with pytest.raises(ValueError, match=r"000.png: \d+ bytes, where 1000 are the"):
        files.open_split(folder, "train", CLASSES)[0]


def test_records_hold_what_the_folders_hold(files, folder, tmp_path):
    source = files.open_split(folder, "train", CLASSES)
    files.write_records(source, tmp_path / "train.array_record")
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    assert files.find_classes(tmp_path) == CLASSES
    records = files.open_split(tmp_path, "train", CLASSES)
    assert len(records) == len(source)
    for i in range(len(source)):
        assert records[i][:2] == source[i][:2]
    with pytest.raises(
        ValueError, match=r"train.*, record 20: class 2, where .* has 2"
    ):
        files.open_split(tmp_path, "train", CLASSES[:2])[20]


def test_a_record_that_is_too_short(files, tmp_path):
    class One:
        def __len__(self):
            return 1

        def __getitem__(self, index):
            return files.Encoded(b"", 0, "nothing")

    files.write_records(One(), tmp_path / "val.array_record")
    with pytest.raises(ValueError, match="record 0: 4 bytes cannot be"):
        files.open_split(tmp_path, "val", CLASSES)[0]

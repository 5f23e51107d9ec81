"""The example on images from disk: what it reads, in which order, and a whole run."""

import dataclasses
import importlib
import io
import itertools
import json
import math
import struct
import zlib
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from PIL import Image

pytest.importorskip("grain")
ROOT = Path(__file__).parent.parent
CLASSES = ["ant", "bee", "cat"]


@pytest.fixture
def example(monkeypatch):
    """Imports an example by name, as the interpreter finds what lies beside it."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    return importlib.import_module


@pytest.fixture
def files(example):
    return example("image_files")


def write_images(folder: Path, each: dict[str, int]) -> Path:
    """Noise whose class is the channel that is brighter; every size is another."""
    rng = np.random.default_rng(0)
    for split, count in each.items():
        for channel, name in enumerate(CLASSES):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 120, (*rng.integers(36, 50, 2), 3), np.uint8)
                pixels[..., channel] += 100
                kind = ("png", "jpg")[i % 2]
                Image.fromarray(pixels).save(folder / split / name / f"{i:03}.{kind}")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"), {"train": 7, "val": 3})


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


@pytest.fixture
def make_batches(example, files, folder):
    """Batches of the folder's training images, with options of the configuration."""
    config = example("imagenet").Config(
        data_dir=folder, image_size=16, batch_size=4, threads=2
    )

    def make(split="train", **options):
        source = files.open_split(folder, split, CLASSES)
        changed = dataclasses.replace(config, **options)
        module = example("image_batches")
        return module.ImageBatches(source, changed, training=split == "train")

    return make


def same(one, other):
    return all(map(np.array_equal, jax.tree.leaves(one), jax.tree.leaves(other)))


def test_batches_are_a_function_of_seed_epoch_and_number(make_batches):
    first, other = make_batches(), make_batches(threads=1)
    epoch = [first[i] for i in range(len(first))]
    assert len(epoch) == 5
    (images, labels), mask = epoch[0]
    assert (images.shape, images.dtype) == ((4, 16, 16, 3), np.uint8)
    assert (labels.dtype, mask.tolist()) == (np.int32, [1, 1, 1, 1])
    # Taken up in the middle, and in another order, by another number of threads.
    for number in (3, 4, 1):
        assert same(other[number], epoch[number])
    other.epoch = 1
    assert not same(other[0], epoch[0])
    assert not same(make_batches(seed=1)[0], epoch[0])
    rows = first.rows(0)
    assert len(set(rows.tolist())) == len(rows) == 20
    with pytest.raises(IndexError, match="there are 5 batches; got index 5"):
        first[5]


def test_processes_share_the_rows_of_every_batch(make_batches, monkeypatch):
    whole = make_batches()
    images = [np.asarray(whole[i][0][0]) for i in range(len(whole))]
    parts = []
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    for index in range(2):
        monkeypatch.setattr(jax, "process_index", lambda index=index: index)
        own = make_batches()
        parts.append([own[i][0][0] for i in range(len(own))])
    for number, expected in enumerate(images):
        got = np.concatenate([part[number] for part in parts])
        np.testing.assert_array_equal(got, expected)
    with pytest.raises(ValueError, match="a multiple of the 2 processes; got 3"):
        make_batches(batch_size=3)


def test_the_last_test_batch_is_filled_up_and_masked(make_batches):
    batches = make_batches("val")
    labels, masks = zip(*(((y), mask) for (_, y), mask in batches), strict=True)
    assert np.concatenate(masks).tolist() == [1] * 9 + [0] * 3
    assert np.concatenate(labels)[:9].tolist() == [0] * 3 + [1] * 3 + [2] * 3
    with pytest.raises(ValueError, match="at most the 21 training images; got 22"):
        make_batches(batch_size=22)


class Tiny(nnx.Module):
    """As small as a network can be that has statistics and a half-precision layer."""

    def __init__(self, classes: int, rngs: nnx.Rngs):
        from jaxnets import nn

        self.conv = nn.Conv(3, 4, (3, 3), strides=4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.head = nnx.Linear(4, classes, rngs=rngs)

    def __call__(self, x):
        return self.head(jax.nn.relu(self.norm(self.conv(x))).mean((-3, -2)))


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_same_bits(example, folder, tmp_path, monkeypatch):
    module = example("imagenet")
    monkeypatch.setattr(
        module.models,
        "create",
        lambda _, rngs, num_classes, **__: Tiny(num_classes, rngs),
    )
    config = module.Config(
        data_dir=folder,
        run_dir=tmp_path / "whole",
        image_size=16,
        batch_size=4,
        epochs=3,
        warmup_epochs=1,
        learning_rate=6.4,
        checkpoint_every=3,
        threads=2,
    )
    whole = module.main(config)
    cut = dataclasses.replace(config, run_dir=tmp_path / "cut")
    batches = example("image_batches").ImageBatches
    read, count = batches.__getitem__, itertools.count()

    def until_the_lights_go_out(self, index):
        if self.training and next(count) == 8:
            raise KeyboardInterrupt
        return read(self, index)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(batches, "__getitem__", until_the_lights_go_out)
        module.main(cut)
    resumed = module.main(dataclasses.replace(cut, resume=True))
    # From step 6, the second of the second epoch.
    assert (tmp_path / "cut/checkpoints/step_00000006").is_dir()
    assert resumed["steps"] == whole["steps"] == 15
    for name in ("last_loss", "averaged_loss", "last_top1", "averaged_top5"):
        assert resumed[name] == whole[name], name
    assert whole["last_loss"] != whole["averaged_loss"]
    assert whole["last_top5"] == 1  # of three classes
    for name in ("curves.png", "history.csv", "final_model", "averaged_model"):
        assert (tmp_path / "cut" / name).exists(), name


@pytest.mark.slow
def test_a_run_on_array_records_learns_the_classes(example, tmp_path):
    """A residual network in bfloat16 tells three colours apart, averaged or not."""
    module = example("imagenet")
    images = write_images(tmp_path / "images", {"train": 70, "val": 10})
    packed = module.main(
        module.Config(data_dir=images, write_records=tmp_path / "records")
    )
    assert packed == {"records": 240}
    config = module.Config(
        data_dir=tmp_path / "records",
        run_dir=tmp_path / "run",
        model="resnet20_cifar",
        image_size=16,
        batch_size=16,
        epochs=2,
        warmup_epochs=0,
        learning_rate=0.8,
        threads=2,
    )
    result = module.main(config)
    assert json.loads((tmp_path / "run/metrics.json").read_text()) == result
    assert result["last_top1"] >= 0.9
    assert result["averaged_top1"] >= 0.9


def test_check_names_what_cannot_be_decoded(example, folder, tmp_path, capsys):
    module = example("imagenet")
    images = write_images(tmp_path, {"train": 2, "val": 1})
    (images / "train/bee/000.png").write_bytes(b"no image")
    assert module.main(module.Config(data_dir=images, check=True)) == {"undecodable": 1}
    assert "train/bee/000.png: no image of a kind" in capsys.readouterr().out


def test_remat_is_for_residual_networks(example, folder):
    module = example("imagenet")
    config = module.Config(data_dir=folder, model="vgg11", remat=True)
    with pytest.raises(ValueError, match="for residual networks; got vgg11"):
        module.make_model(config, 3)

"""The example on images from disk: the order of its batches, and whole runs."""

import dataclasses
import itertools
import json

import jax
import numpy as np
import pytest
from flax import nnx

from jaxnets import nn
from tests.examples.images import CLASSES, write_images


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


@pytest.mark.slow
def test_worker_processes_make_the_same_batches(make_batches):
    here, elsewhere = make_batches(), make_batches(workers=2)
    for number in range(2):
        assert same(elsewhere[number], here[number])


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
        self.conv = nn.Conv(3, 4, (3, 3), strides=4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.head = nnx.Linear(4, classes, rngs=rngs)

    def __call__(self, x):
        return self.head(jax.nn.relu(self.norm(self.conv(x))).mean((-3, -2)))


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_same_bits(
    example, folder, tmp_path, monkeypatch, caplog
):
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
    assert "step_00000006 (step 6)" in caplog.text
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

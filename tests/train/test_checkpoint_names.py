"""Checkpoints under temporary names: what a kill leaves, and several writers."""

import os
import shutil
import socket

import jax
import numpy as np
import pytest

from jaxnets.train import _checkpoint_files
from jaxnets.train._checkpoint_files import verify_checkpoint
from tests.train.networks import assert_same_bits, blobs, linear_trainer

UNFINISHED, REPLACED = ".unfinished-model", ".replaced-model"
OTHER_HOST = "~another-host-17-0123abcd"


@pytest.mark.parametrize("suffix", ["", OTHER_HOST])
@pytest.mark.parametrize(
    ("left", "step"),
    [
        # A kill between the two renames leaves both, the newer one is taken.
        ((UNFINISHED, REPLACED), 2),
        ((REPLACED,), 1),
        ((UNFINISHED,), 2),
        # Only what is whole is taken.
        ((UNFINISHED, REPLACED, "damaged"), 1),
    ],
)
def test_load_after_a_kill_between_the_renames(tmp_path, caplog, left, step, suffix):
    trainer = linear_trainer()
    x, y = blobs(20)
    states = {}
    for number, name in ((1, REPLACED), (2, UNFINISHED)):
        trainer.fit(x, y)
        states[number] = jax.tree.map(np.asarray, trainer.state.params)
        if name in left:
            trainer.save(tmp_path / (name + suffix))
    if "damaged" in left:
        (tmp_path / (UNFINISHED + suffix) / "host.json").write_text("{}")
    loaded = linear_trainer().load(tmp_path / "model")
    assert_same_bits(loaded.state.params, states[step])
    taken = (REPLACED if step == 1 else UNFINISHED) + suffix
    assert f"model was not renamed to its end, took {taken}" in caplog.text
    assert (tmp_path / "model").is_dir() and not (tmp_path / taken).exists()
    # The next save clears up what is left, unless a writer elsewhere may need it.
    trainer.save(tmp_path / "model")
    kept = {name for name in os.listdir(tmp_path) if name.startswith(".")}
    assert kept == (set() if not suffix else {n + suffix for n in left[:2]} - {taken})


def test_load_names_what_is_left_of_a_checkpoint(tmp_path):
    (tmp_path / ".unfinished-model").mkdir()
    writing = f".unfinished-model~{socket.gethostname()}-{os.getppid()}-0123abcd"
    (tmp_path / writing).mkdir()
    with pytest.raises(FileNotFoundError) as caught:
        linear_trainer().load(tmp_path / "model")
    message = str(caught.value)
    assert f"there is no checkpoint {tmp_path / 'model'}" in message
    assert ".unfinished-model is left of it: meta.json is missing" in message
    assert f"{writing} is being written by a process that is running" in message


def test_load_reads_where_nothing_can_be_renamed(tmp_path, monkeypatch):
    linear_trainer().save(tmp_path / ".replaced-model")

    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.replace", refuse)
    assert int(linear_trainer().load(tmp_path / "model").state.step) == 0
    assert os.listdir(tmp_path) == [".replaced-model"]


def test_every_writer_has_a_name_of_its_own(tmp_path, monkeypatch):
    seen = []
    begin = _checkpoint_files.ocp.StandardCheckpointer.save

    def save(self, directory, *args, **options):
        seen.append(directory.parent.name)
        return begin(self, directory, *args, **options)

    monkeypatch.setattr(_checkpoint_files.ocp.StandardCheckpointer, "save", save)
    for _ in range(2):
        linear_trainer().save(tmp_path / "model")
    assert len(set(seen)) == 2
    for name in seen:
        assert name.startswith(".unfinished-model~")
        assert f"-{os.getpid()}-" in name


def test_two_writers_of_one_name_leave_a_whole_checkpoint(tmp_path, monkeypatch):
    linear_trainer().save(tmp_path / "other")
    trainer = linear_trainer()
    trainer.fit(*blobs(20))
    replace, raced = os.replace, []

    def after_another(source, target):
        if os.path.basename(target) == "model" and not raced:
            raced.append(shutil.copytree(tmp_path / "other", target))
        replace(source, target)

    monkeypatch.setattr("os.replace", after_another)
    trainer.save(tmp_path / "model")
    assert raced and sorted(os.listdir(tmp_path)) == ["model", "other"]
    assert verify_checkpoint(tmp_path / "model")["step"] == 1

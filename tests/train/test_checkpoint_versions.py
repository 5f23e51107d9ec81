"""Checkpoints of other versions, and manifests that fit the wrong arrays."""

import json
import shutil

import optax
import pytest

from jaxnets import train
from jaxnets.train._checkpoint_files import _checksum, _digest, verify_checkpoint
from tests.train.facts_networks import fit, trainer


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("facts") / "run"
    fit(trainer(), callbacks=[train.Checkpoint(directory, every_steps=3)])
    for name in ("epoch_0002", "step_00000006"):
        shutil.rmtree(directory / name)
    return directory


def rewrite(path, **host_changes):
    """Change a checkpoint and make its manifest fit."""
    host = json.loads((path / "host.json").read_text())
    host["fit"] |= host_changes
    (path / "host.json").write_text(json.dumps(host))
    meta = json.loads((path / "meta.json").read_text())
    del meta["checksum"]
    return meta


def finish(path, meta):
    meta["files"] = {
        str(file.relative_to(path)): _digest(file)
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name != "meta.json"
    }
    (path / "meta.json").write_text(json.dumps({**meta, "checksum": _checksum(meta)}))
    verify_checkpoint(path)


@pytest.mark.parametrize("other", [{}, {"rate": 0.1}])
def test_checkpoints_of_the_first_version_are_resumed(run, tmp_path, other):
    shutil.copytree(run / "epoch_0001", tmp_path / "epoch_0001")
    old = {"data size": 32, "batch_size": 8, "seed": 0, "shuffle": True}
    meta = rewrite(tmp_path / "epoch_0001", facts={**old, "validation size": 8})
    del meta["contents"]
    finish(tmp_path / "epoch_0001", meta)
    assert fit(trainer(**other), resume=tmp_path).epochs == [1, 2]
    with pytest.raises(ValueError, match="the batch_size it began with; got 4"):
        fit(trainer(), resume=tmp_path, batch_size=4)


def test_other_libraries_are_compared_by_name_alone(run, tmp_path):
    shutil.copytree(run / "epoch_0001", tmp_path / "epoch_0001")
    meta = rewrite(tmp_path / "epoch_0001")
    meta["libraries"]["optax"] = "0.0.1"
    finish(tmp_path / "epoch_0001", meta)
    host = json.loads((tmp_path / "epoch_0001" / "host.json").read_text())
    host["fit"]["facts"]["optimizer"]["update"] = "another"
    (tmp_path / "epoch_0001" / "host.json").write_text(json.dumps(host))
    finish(tmp_path / "epoch_0001", meta)
    assert fit(trainer(), resume=tmp_path).epochs == [1, 2]
    with pytest.raises(ValueError, match=r"the optimizer.scale.step_size it began"):
        fit(trainer(optax.adam(2e-2)), resume=tmp_path)
    with pytest.raises(ValueError, match=r"the model.layers.1.rate it began"):
        fit(trainer(rate=0.1), resume=tmp_path)


def test_arrays_of_another_run_do_not_pass_for_those_that_were_saved(run, tmp_path):
    path = tmp_path / "epoch_0001"
    shutil.copytree(run / "epoch_0001", path)
    fit(trainer(), seed=5, callbacks=[train.Checkpoint(tmp_path / "other")])
    shutil.rmtree(path / "arrays")
    shutil.copytree(tmp_path / "other" / "epoch_0001" / "arrays", path / "arrays")
    finish(path, rewrite(path))
    with pytest.raises(train.BadCheckpoint, match="has other values than were saved"):
        fit(trainer(), resume=tmp_path)
    with pytest.raises(train.BadCheckpoint, match="has other values than were saved"):
        trainer().load(path)

"""Checkpoints: what is written comes back bit for bit; what is damaged never does."""

import json
import logging
import os
import shutil

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx

from jaxnets import train
from jaxnets.train._checkpoint_files import find_checkpoints, verify_checkpoint
from tests.train.networks import (
    Small,
    assert_same_bits,
    blobs,
    figures,
    linear_trainer,
    small_trainer,
)


def test_save_and_load_give_back_every_bit(tmp_path):
    x, y = blobs(50)
    trainer = small_trainer()
    trainer.fit(x, y, epochs=2)
    trainer.save(tmp_path / "model")
    saved = jax.tree.map(jnp.copy, trainer.state)
    other = small_trainer(seed=9)
    assert other.load(tmp_path / "model") is other
    assert_same_bits(other.state, saved)
    assert_same_bits(other.predict(x), trainer.predict(x))
    # Going on gives the same bits too: optimizer, dropout and steps are all there.
    trainer.fit(x, y, seed=3)
    other.fit(x, y, seed=3)
    assert_same_bits(other.state, trainer.state)


def test_dtypes_shapes_and_empty_arrays_survive(tmp_path):
    class Odd(nnx.Module):
        def __init__(self):
            self.half = nnx.Param(jnp.arange(3, dtype=jnp.bfloat16))
            self.none = nnx.Variable(jnp.zeros((0, 2), jnp.int8))
            self.flag = nnx.Variable(jnp.array([True, False]))
            self.keys = nnx.Variable(jax.random.split(jax.random.key(1, impl="rbg"), 2))

        def __call__(self, x):
            return x * self.half[...].sum()

    def trainer():
        return train.Trainer(Odd(), optimizer=optax.sgd(0.1), loss=optax.squared_error)

    first, second = trainer(), trainer()
    first.set_state(first.state._replace(params={"half": jnp.ones(3, jnp.bfloat16)}))
    first.save(tmp_path / "odd")
    second.load(tmp_path / "odd")
    assert_same_bits(second.state, first.state)


def test_saving_again_replaces_a_checkpoint_and_nothing_else(tmp_path):
    trainer = linear_trainer()
    trainer.save(tmp_path / "model")
    x, y = blobs(20)
    trainer.fit(x, y)
    trainer.save(tmp_path / "model")
    assert os.listdir(tmp_path) == ["model"]
    assert verify_checkpoint(tmp_path / "model")["step"] == 1
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"other exists and is no checkpoint"):
        trainer.save(tmp_path / "other")
    assert (tmp_path / "other" / "precious.txt").read_text() == "mine"


def test_another_model_is_named_parameter_by_parameter(tmp_path):
    small_trainer().save(tmp_path / "small")

    class Other(Small):
        def __init__(self, rngs):
            super().__init__(rngs)
            self.first = nnx.Linear(3, 5, rngs=rngs)
            self.second = nnx.Linear(5, 3, rngs=rngs)

    other = train.Trainer(
        Other(nnx.Rngs(0)), optimizer=optax.adam(1e-2), loss=optax.squared_error
    )
    with pytest.raises(ValueError, match="is of another model") as caught:
        other.load(tmp_path / "small")
    lines = [line.strip() for line in str(caught.value).splitlines()[1:]]
    assert lines == [
        "changed params.first.bias float32[3], the model has float32[5]",
        "changed params.first.kernel float32[3, 3], the model has float32[3, 5]",
        "missing params.second.bias float32[3]",
        "missing params.second.kernel float32[5, 3]",
    ]
    before = other.predict(blobs(5)[0])
    assert_same_bits(other.predict(blobs(5)[0]), before)
    with pytest.raises(
        ValueError, match=r"of another optimizer:\s+unexpected opt_stat"
    ):
        small_trainer(optax.sgd(0.1)).load(tmp_path / "small")


def damage_nothing(path):
    return None


def largest_file(path):
    files = (file for file in (path / "arrays").rglob("*") if file.is_file())
    return max(files, key=os.path.getsize)


def truncate(path):
    largest = largest_file(path)
    os.truncate(largest, largest.stat().st_size // 2)


def flip_a_byte(path):
    largest = largest_file(path)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)


def lose_the_manifest(path):
    (path / "meta.json").unlink()


def lose_a_file(path):
    (path / "host.json").unlink()


def change_the_manifest(path):
    text = (path / "meta.json").read_text()
    meta = json.loads(text)
    (path / "meta.json").write_text(
        text.replace(f'"step": {meta["step"]}', '"step": 12345')
    )


def empty_the_manifest(path):
    (path / "meta.json").write_text("")


def another_version(path):
    from jaxnets.train._checkpoint_files import _checksum

    meta = json.loads((path / "meta.json").read_text())
    del meta["checksum"]
    meta["version"] = 99
    meta["checksum"] = _checksum(meta)
    (path / "meta.json").write_text(json.dumps(meta))


DAMAGES = [
    (truncate, "bytes, not"),
    (flip_a_byte, "has other bytes than were written"),
    (lose_the_manifest, "meta.json is missing"),
    (lose_a_file, "host.json is missing"),
    (change_the_manifest, r"meta.json is damaged \(checksum\)"),
    (empty_the_manifest, "meta.json is damaged"),
    (another_version, "format version 99 is not 1"),
]


@pytest.mark.parametrize(("damage", "reason"), DAMAGES)
def test_a_damaged_checkpoint_is_never_loaded(tmp_path, damage, reason):
    trainer = linear_trainer()
    trainer.save(tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(
        train.BadCheckpoint, match=rf"no complete checkpoint: .*{reason}"
    ):
        trainer.load(tmp_path / "model")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A fit of three epochs with its checkpoints, made once."""
    directory = tmp_path_factory.mktemp("fit") / "checkpoints"
    x, y = blobs(50)
    trainer = small_trainer()
    callbacks = [train.Checkpoint(directory), train.EarlyStopping("loss", patience=9)]
    history = trainer.fit(
        x, y, batch_size=16, epochs=3, validation_split=0.2, callbacks=callbacks
    )
    return directory, jax.tree.map(jnp.copy, trainer.state), history


def resume(directory, trainer=None, **options):
    x, y = blobs(50)
    trainer = trainer or small_trainer()
    callbacks = [train.Checkpoint(directory), train.EarlyStopping("loss", patience=9)]
    options = {
        "batch_size": 16,
        "epochs": 3,
        "validation_split": 0.2,
        "callbacks": callbacks,
        "resume": directory,
        **options,
    }
    history = trainer.fit(x, y, **options)
    return trainer.state, history


@pytest.mark.parametrize(("damage", "reason"), [(damage_nothing, ""), *DAMAGES])
def test_resume_takes_the_newest_good_one_and_says_so(
    tmp_path, finished, damage, reason, caplog
):
    original, state, expected = finished
    directory = tmp_path / "copy"
    shutil.copytree(original, directory)
    damage(directory / "epoch_0003")
    with caplog.at_level(logging.WARNING, logger="jaxnets.train"):
        resumed, history = resume(directory)
    taken = "epoch_0003" if damage is damage_nothing else "epoch_0002"
    assert history.resumed.path == directory / taken
    assert f"took {directory / taken}" in caplog.text
    if damage is not damage_nothing:
        assert set(history.resumed.skipped) == {"epoch_0003"}
        assert f"left aside {directory / 'epoch_0003'}" in caplog.text
    assert_same_bits(resumed, state)
    assert_same_bits(figures(history), figures(expected))
    # The damaged one was moved out of the new one's way, not deleted.
    good, _ = find_checkpoints(directory)
    names = {path.name for path in directory.iterdir()}
    assert {path.name for path, _ in good} == {"epoch_0001", "epoch_0002", "epoch_0003"}
    aside = set() if damage is damage_nothing else {"epoch_0003.damaged"}
    assert names == {"epoch_0001", "epoch_0002", "epoch_0003"} | aside


def test_resume_refuses_if_all_are_damaged(tmp_path, finished):
    directory = tmp_path / "copy"
    shutil.copytree(finished[0], directory)
    for path in directory.iterdir():
        flip_a_byte(path)
    with pytest.raises(
        ValueError, match=r"no checkpoint in .* is complete: epoch_0001"
    ):
        resume(directory)
    assert len(list(directory.iterdir())) == 3


def test_resume_of_a_folder_without_checkpoints_starts_anew(tmp_path, finished, caplog):
    (tmp_path / ".unfinished-epoch_0001").mkdir()
    (tmp_path / "notes.txt").write_text("not ours")
    with caplog.at_level(logging.WARNING, logger="jaxnets.train"):
        state, history = resume(tmp_path)
    assert "starting anew" in caplog.text
    assert history.resumed.path is None
    assert_same_bits(state, finished[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 8}, "the batch_size it began with; got 8, .* has 16"),
        ({"seed": 7}, "the seed it began with; got 7, .* has 0"),
        ({"shuffle": False}, "the shuffle it began with; got False, .* has True"),
        ({"validation_split": 0.5}, "the data size it began with; got 25, .* has 40"),
    ],
)
def test_resume_with_other_arguments(finished, options, message):
    with pytest.raises(ValueError, match=message):
        resume(finished[0], **options)


def test_resume_from_a_run_of_another_model(finished):
    with pytest.raises(ValueError, match=r"of another model:\s+missing params.bias"):
        resume(finished[0], linear_trainer())


def test_resume_from_a_saved_model_or_from_nowhere(tmp_path):
    linear_trainer().save(tmp_path / "model")
    with pytest.raises(ValueError, match="has a model alone"):
        resume(tmp_path, linear_trainer())
    with pytest.raises(FileNotFoundError, match=r"there is no .*absent"):
        resume(tmp_path / "absent")


@pytest.mark.parametrize("k", [1, 3])
def test_resume_in_the_middle_of_an_epoch(tmp_path, k):
    x, y = blobs(50)
    options = {"batch_size": 8, "epochs": 3}

    def run(**more):
        trainer = small_trainer(
            optax.inject_hyperparams(optax.adam)(optax.cosine_decay_schedule(0.1, 30)),
            steps_per_call=k,
        )
        stop = train.EarlyStopping("loss", patience=9, restore_best=True)
        history = trainer.fit(
            x,
            y,
            callbacks=[train.Checkpoint(tmp_path, every_steps=4), stop],
            **options,
            **more,
        )
        return trainer.state, history, stop

    state, expected, stop = run()
    state = jax.tree.map(jnp.copy, state)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert [name for name in names if name.startswith("step")] == [
        f"step_{step:08d}" for step in (4, 8, 12, 16, 20)
    ]
    # From each of them: 4 and 12 lie inside an epoch of 7 steps.
    for step in (12, 4):
        for path in tmp_path.iterdir():
            if verify_checkpoint(path)["step"] > step:
                shutil.rmtree(path)
        resumed, history, again = run(resume=tmp_path)
        assert history.resumed.path.name == f"step_{step:08d}"
        assert_same_bits(resumed, state)
        assert_same_bits(figures(history), figures(expected))
        assert (again.best, again.best_epoch) == (stop.best, stop.best_epoch)


def test_resume_of_an_iterable_leaves_out_the_batches_it_had(tmp_path):
    x, y = blobs(40)
    batches = [
        (x[first : first + 8], y[first : first + 8]) for first in range(0, 40, 8)
    ]

    def run(**options):
        trainer = small_trainer()
        history = trainer.fit(batches, epochs=2, **options)
        return trainer.state, history

    expected = run(callbacks=[train.Checkpoint(tmp_path, every_steps=3)])
    for name in ("epoch_0001", "step_00000006", "step_00000009", "epoch_0002"):
        shutil.rmtree(tmp_path / name)
    state, history = run(resume=tmp_path)
    assert history.resumed.path.name == "step_00000003"
    assert_same_bits(state, expected[0])
    assert_same_bits(figures(history), figures(expected[1]))


def test_resume_after_the_last_step_of_an_epoch(tmp_path):
    x, y = blobs(40)
    callback = train.Checkpoint(tmp_path, every_steps=5)
    trainer = small_trainer()
    expected = trainer.fit(x, y, batch_size=8, epochs=2, callbacks=[callback])
    for name in ("epoch_0001", "epoch_0002", "step_00000010"):
        shutil.rmtree(tmp_path / name)
    again = small_trainer()
    history = again.fit(
        x, y, batch_size=8, epochs=2, callbacks=[callback], resume=tmp_path
    )
    assert history.resumed.path.name == "step_00000005"
    assert_same_bits(figures(history), figures(expected))
    assert_same_bits(again.state, trainer.state)


def test_resume_of_a_stopped_fit_stays_stopped(tmp_path):
    x, y = blobs(40)

    def run(**more):
        trainer = linear_trainer()
        # The checkpoint stands first and still sees what early stopping decided.
        stop = train.EarlyStopping("loss", min_delta=100.0, restore_best=True)
        history = trainer.fit(
            x, y, epochs=9, callbacks=[train.Checkpoint(tmp_path), stop], **more
        )
        return trainer.state, history

    state, expected = run()
    state = jax.tree.map(jnp.copy, state)
    resumed, history = run(resume=tmp_path)
    assert history.resumed.path.name == "epoch_0002"
    assert history.epochs == expected.epochs == [1, 2]
    assert_same_bits(resumed, state)


def test_resume_goes_on_to_more_epochs(tmp_path):
    x, y = blobs(40)
    short, long = small_trainer(), small_trainer()
    short.fit(x, y, epochs=2, callbacks=[train.Checkpoint(tmp_path)])
    expected = long.fit(x, y, epochs=4)
    again = small_trainer()
    history = again.fit(x, y, epochs=4, resume=tmp_path)
    assert_same_bits(figures(history), figures(expected))
    assert_same_bits(again.state, long.state)


def test_resumed_csv_has_every_epoch_once(tmp_path):
    x, y = blobs(40)

    def run(epochs, **more):
        callbacks = [
            train.CSVLogger(tmp_path / "history.csv"),
            train.Checkpoint(tmp_path / "checkpoints"),
        ]
        return linear_trainer().fit(x, y, epochs=epochs, callbacks=callbacks, **more)

    run(3)
    # A kill after the line of epoch 3 and before its checkpoint.
    shutil.rmtree(tmp_path / "checkpoints" / "epoch_0003")
    history = run(4, resume=tmp_path / "checkpoints")
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "1", "2", "3", "4"]
    assert [float(line.split(",")[1]) for line in lines[1:]] == history["loss"]


def test_best_only_keeps_the_best(tmp_path):
    x, y = blobs(20)
    scores = iter([3.0, 1.0, 2.0, 0.5])

    def score(trainer, logs):
        logs["score"] = next(scores)

    callback = train.Checkpoint(
        tmp_path,
        pattern="best_{epoch}_{score:.1f}",
        monitor="score",
        mode="min",
        best_only=True,
        keep=2,
    )
    (tmp_path / "best_0_9.9").mkdir()
    linear_trainer().fit(x, y, epochs=4, callbacks=[callback, score])
    # Three were written, two are kept, and a folder that is not ours stays.
    assert sorted(os.listdir(tmp_path)) == ["best_0_9.9", "best_2_1.0", "best_4_0.5"]


def test_one_name_for_all_epochs(tmp_path):
    x, y = blobs(20)
    callback = train.Checkpoint(tmp_path, pattern="last", keep=1)
    linear_trainer().fit(x, y, epochs=3, callbacks=[callback])
    assert os.listdir(tmp_path) == ["last"]
    assert verify_checkpoint(tmp_path / "last")["step"] == 3


@pytest.mark.parametrize("blocked", ["file", "below a file"])
def test_an_unwritable_folder_is_found_before_training(tmp_path, blocked):
    (tmp_path / "file").write_text("here already")
    directory = tmp_path / "file"
    if blocked == "below a file":
        directory = directory / "checkpoints"
    x, y = blobs(20)
    trainer = linear_trainer()
    with pytest.raises(OSError, match="Checkpoint: the folder cannot be written to"):
        trainer.fit(x, y, callbacks=[train.Checkpoint(directory)])
    assert int(trainer.state.step) == 0


def test_a_read_only_folder_is_found_before_training(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    # Root may write anywhere, so the refusal is made by hand.
    x, y = blobs(20)
    trainer = linear_trainer()
    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with pytest.raises(PermissionError, match=r"cannot be written to \(Permission"):
        trainer.fit(x, y, callbacks=[train.Checkpoint(tmp_path)])
    assert int(trainer.state.step) == 0


def test_errors(tmp_path):
    with pytest.raises(ValueError, match="Checkpoint: best_only needs the figure"):
        train.Checkpoint(tmp_path, best_only=True)
    with pytest.raises(ValueError, match="Checkpoint: keep must be at least 1; got 0"):
        train.Checkpoint(tmp_path, keep=0)
    with pytest.raises(ValueError, match="every_steps must be at least 1; got 0"):
        train.Checkpoint(tmp_path, every_steps=0)
    with pytest.raises(ValueError, match="'speed' should fall or rise"):
        train.Checkpoint(tmp_path, monitor="speed")
    x, y = blobs(20)
    with pytest.raises(
        ValueError, match=r"pattern '{acc}' has the unknown field 'acc'"
    ):
        linear_trainer().fit(
            x, y, callbacks=[train.Checkpoint(tmp_path, pattern="{acc}")]
        )
    with pytest.raises(ValueError, match="must be the name of a folder; got 'a/1'"):
        linear_trainer().fit(
            x, y, callbacks=[train.Checkpoint(tmp_path, pattern="a/{epoch}")]
        )
    with pytest.raises(FileNotFoundError, match="load: there is no checkpoint"):
        linear_trainer().load(tmp_path / "absent")
    with pytest.raises(ValueError, match="save_fit: there must be a fit under way"):
        linear_trainer().save_fit(tmp_path / "now")


def test_nothing_is_pickled(tmp_path):
    linear_trainer().save(tmp_path / "model")
    for file in (tmp_path / "model").rglob("*"):
        assert not file.is_file() or file.read_bytes()[:1] != b"\x80"

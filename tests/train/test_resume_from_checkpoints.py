"""A fit that goes on from its checkpoints, in the same process."""

import logging
import shutil

import jax
import jax.numpy as jnp
import optax
import pytest

from jaxnets import train
from jaxnets.train._checkpoint_files import find_checkpoints, verify_checkpoint
from tests.train.damages import (
    DAMAGES,
    damage_nothing,
    flip_a_byte,
)
from tests.train.networks import (
    assert_same_bits,
    blobs,
    figures,
    linear_trainer,
    small_trainer,
)


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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["absent", "empty", "unfinished", "damaged"])
def test_resume_starts_anew_only_if_it_is_told_to(tmp_path, finished, kind, caplog):
    directory = tmp_path / "run"
    if kind == "damaged":
        shutil.copytree(finished[0], directory)
        for path in directory.iterdir():
            flip_a_byte(path)
    elif kind != "absent":
        directory.mkdir()
        (directory / "notes.txt").write_text("not ours")
    if kind == "unfinished":
        (directory / ".unfinished-epoch_0001").mkdir()
    error, message = ValueError, r"no checkpoint in .* is complete: .*resume='auto'"
    if kind == "absent":
        error, message = FileNotFoundError, "there is no .*run"
    with pytest.raises(error, match=message):
        resume(directory)
    callback = train.Checkpoint(directory)
    stop = train.EarlyStopping("loss", patience=9)
    with caplog.at_level(logging.WARNING, logger="jaxnets.train"):
        state, history = resume(directory, resume="auto", callbacks=[stop, callback])
    assert "starting anew" in caplog.text
    assert history.resumed.path is None
    assert len(history.resumed.skipped) == {"unfinished": 1, "damaged": 3}.get(kind, 0)
    assert_same_bits(state, finished[1])
    # A second time it goes on.
    history = resume(directory, resume="auto", callbacks=[stop, callback])[1]
    assert history.resumed.path == directory / "epoch_0003"


def test_auto_needs_a_checkpoint_callback():
    with pytest.raises(ValueError, match=r"resume='auto' takes the folder of a Check"):
        linear_trainer().fit(*blobs(10), resume="auto")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 8}, "the batch_size it began with; got 8, .* has 16"),
        ({"seed": 7}, "the seed it began with; got 7, .* has 0"),
        ({"shuffle": False}, "the shuffle it began with; got False, .* has True"),
        ({"validation_split": 0.5}, "the data size it began with; got 25, .* has 40"),
        ({"validation_split": 0.5}, "the validation size .* got 25, .* has 10"),
        ({"validation_split": 0.0}, "the validation size .* got None, .* has 10"),
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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

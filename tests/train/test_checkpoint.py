"""Checkpoints: what is written comes back bit for bit; what is damaged never does."""

import os

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx

from jaxnets import train
from jaxnets.train._checkpoint_files import verify_checkpoint
from tests.train.damages import (
    DAMAGES,
)
from tests.train.networks import (
    Small,
    assert_same_bits,
    blobs,
    linear_trainer,
    small_trainer,
)


@pytest.mark.slow
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


@pytest.mark.parametrize(("damage", "reason"), DAMAGES)
def test_a_damaged_checkpoint_is_never_loaded(tmp_path, damage, reason):
    trainer = linear_trainer()
    trainer.save(tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(
        train.BadCheckpoint, match=rf"no complete checkpoint: .*{reason}"
    ):
        trainer.load(tmp_path / "model")


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


@pytest.mark.parametrize("mode", ["min", "max"])
def test_best_only_never_keeps_nan(tmp_path, mode):
    x, y = blobs(20)
    nan, inf, sign = float("nan"), float("inf"), 1 if mode == "min" else -1
    scores = iter([sign * score for score in (nan, inf, 0.6, nan, 0.9, -inf, nan)])

    def score(trainer, logs):
        logs["score"] = next(scores)

    callback = train.Checkpoint(tmp_path, monitor="score", mode=mode, best_only=True)
    linear_trainer().fit(x, y, epochs=7, callbacks=[callback, score])
    assert sorted(os.listdir(tmp_path)) == ["epoch_0002", "epoch_0003", "epoch_0006"]
    assert callback.best == sign * -inf


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

import csv
import io

import jax
import numpy as np
import optax
import pytest
from rich.console import Console

from jaxnets import train
from jaxnets.train._callbacks import CallbackList
from tests.train.networks import blobs, linear_trainer, small_trainer


class Recorder(train.Callback):
    """Writes down what it is told."""

    def __init__(self, sync_every=None):
        self.sync_every = sync_every
        self.events = []
        self.steps = []

    def on_fit_begin(self, trainer, history):
        self.events.append("fit")

    def on_epoch_begin(self, trainer, epoch):
        self.events.append(f"begin {epoch}")

    def on_step_end(self, trainer, step, logs):
        self.steps.append((step, logs["loss"]))

    def on_sync(self, trainer, step, logs):
        assert int(trainer.state.step) == step
        self.events.append(f"sync {step}")

    def on_epoch_end(self, trainer, epoch, logs):
        self.events.append(f"end {epoch}")

    def on_fit_end(self, trainer, history):
        self.events.append("done")

    def close(self):
        self.events.append("closed")


@pytest.mark.parametrize("k", [1, 4])
def test_order_of_events(k):
    x, y = blobs(50)
    recorder = Recorder(sync_every=3)
    history = linear_trainer(steps_per_call=k).fit(
        x, y, batch_size=10, epochs=2, callbacks=[recorder]
    )
    assert recorder.events == [
        *("fit", "begin 1", "sync 3", "end 1"),
        *("begin 2", "sync 6", "sync 9", "end 2", "done", "closed"),
    ]
    steps, losses = zip(*recorder.steps, strict=True)
    assert steps == tuple(range(1, 11))
    # The figures at a step are the means over the epoch so far.
    assert [losses[4], losses[9]] == history["loss"]


def test_callbacks_are_closed_after_an_error():
    x, y = blobs(20)
    recorder = Recorder()

    def fail(trainer, logs):
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        linear_trainer().fit(x, y, callbacks=[recorder, fail])
    assert recorder.events == ["fit", "begin 1", "end 1", "closed"]


def test_a_function_is_called_every_epoch_and_may_stop_the_fit():
    x, y = blobs(20)
    seen = []

    def watch(trainer, logs):
        seen.append(logs["loss"])
        logs["double"] = 2 * logs["loss"]
        if len(seen) == 3:
            trainer.stop()

    history = linear_trainer().fit(x, y, epochs=9, callbacks=[watch])
    assert seen == history["loss"]
    assert history["double"] == [2 * loss for loss in seen]
    assert history.epochs == [1, 2, 3]


def test_those_that_run_last_see_the_figures_of_the_others():
    class Last(train.Callback):
        runs_last = True

    first, second = Last(), Recorder()
    assert CallbackList([first, second]).callbacks == [second, first]


def test_learning_rate_from_the_optimizer_and_from_a_schedule():
    x, y = blobs(40)
    schedule = optax.linear_schedule(1.0, 0.0, 20)
    injected = optax.inject_hyperparams(optax.sgd)(schedule)
    clipped = optax.chain(optax.clip(1.0), injected)
    history = linear_trainer(clipped).fit(x, y, batch_size=8, epochs=2)
    # Steps 5 and 10 used the schedule at 4 and 9.
    np.testing.assert_allclose(history["learning_rate"], [0.8, 0.55], rtol=1e-6)
    other = linear_trainer(optax.sgd(schedule)).fit(
        x, y, batch_size=8, epochs=2, callbacks=[train.LearningRate(schedule)]
    )
    np.testing.assert_allclose(other["learning_rate"], [0.8, 0.55], rtol=1e-6)
    assert other["loss"] == pytest.approx(history["loss"])
    assert "learning_rate" not in linear_trainer().fit(x, y)


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_csv_logger_writes_every_number_exactly(tmp_path):
    x, y = blobs(40)
    path = tmp_path / "new" / "history.csv"
    options = {"epochs": 3, "validation_split": 0.2}
    history = small_trainer().fit(x, y, callbacks=[train.CSVLogger(path)], **options)
    rows = read(path)
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    assert list(rows[0]) == ["epoch", "loss", "acc", "val_loss", "val_acc", "seconds"]
    for name in list(rows[0])[1:]:
        assert [float(row[name]) for row in rows] == history[name]


def test_csv_logger_begins_a_new_file_for_a_new_fit(tmp_path):
    x, y = blobs(40)
    path = tmp_path / "history.csv"
    trainer = linear_trainer()
    for epochs in (3, 2):
        trainer.fit(x, y, epochs=epochs, callbacks=[train.CSVLogger(path)])
    assert [int(row["epoch"]) for row in read(path)] == [1, 2]


def test_csv_logger_says_before_training_that_it_cannot_write(tmp_path):
    (tmp_path / "file").write_text("no folder")
    x, y = blobs(20)
    trainer = linear_trainer()
    with pytest.raises(OSError, match="file"):
        trainer.fit(x, y, callbacks=[train.CSVLogger(tmp_path / "file" / "h.csv")])
    assert int(trainer.state.step) == 0


def test_tensorboard_files_hold_the_figures(tmp_path):
    # The event file's own reader belongs to TensorFlow; the format is simple enough:
    # length (8 bytes), checksum (4), message, checksum (4).
    from tensorboardX.proto.event_pb2 import Event

    x, y = blobs(40)
    history = small_trainer().fit(
        x, y, epochs=2, callbacks=[train.TensorBoard(tmp_path / "board")]
    )
    (file,) = (tmp_path / "board").iterdir()
    content, found, place = file.read_bytes(), {}, 0
    while place < len(content):
        length = int.from_bytes(content[place : place + 8], "little")
        event = Event.FromString(content[place + 12 : place + 12 + length])
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
        place += length + 16
    assert set(found) == {"loss", "acc", "seconds"}
    assert [step for step, _ in found["loss"]] == [1, 2]
    np.testing.assert_allclose(
        [value for _, value in found["loss"]], history["loss"], rtol=1e-6
    )


def console(terminal):
    return Console(
        file=io.StringIO(), force_terminal=terminal, width=200, legacy_windows=False
    )


def test_progress_writes_a_line_an_epoch_where_there_is_no_terminal():
    x, y = blobs(40)
    quiet = console(False)
    history = linear_trainer().fit(
        x, y, epochs=2, callbacks=[train.Progress(epochs=2, steps=2, console=quiet)]
    )
    lines = quiet.file.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[1].startswith(f"epoch 2/2  loss {history['loss'][1]:.4g}")


def test_progress_shows_steps_and_rate_on_a_terminal():
    x, y = blobs(40)
    loud = console(True)
    linear_trainer().fit(
        x,
        y,
        batch_size=4,
        callbacks=[train.Progress(epochs=1, steps=10, console=loud)],
    )
    text = loud.file.getvalue()
    assert "epoch 1/1" in text
    assert "10/10" in text
    assert "steps/s" in text


def test_fit_is_quiet_when_the_output_is_no_terminal(capsys):
    x, y = blobs(20)
    linear_trainer().fit(x, y)
    linear_trainer().fit(x, y, verbose=False)
    assert capsys.readouterr().out == ""
    linear_trainer().fit(x, y, verbose=True)
    assert capsys.readouterr().out.startswith("epoch 1/1  loss ")


def test_history_fills_in_what_an_epoch_did_not_report():
    history = train.History()
    history.append(1, {"loss": 2.0})
    history.append(2, {"loss": 1.0, "extra": 5.0})
    history.append(3, {"loss": 0.5})
    assert history["loss"] == [2.0, 1.0, 0.5]
    np.testing.assert_equal(history["extra"], [np.nan, 5.0, np.nan])
    history.append(2, {"loss": 7.0, "extra": 8.0})
    assert (history.epochs, history["loss"]) == ([1, 2], [2.0, 7.0])
    assert list(history) == history.keys() == ["loss", "extra"]
    with pytest.raises(KeyError, match=r"no figure 'acc'; there are loss, extra"):
        history["acc"]


def test_no_step_waits_for_itself():
    """The figures of a dispatch are read after the next one has been started."""
    x, y = blobs(40)
    trainer, events = linear_trainer(), []
    engine = trainer._engine
    start = engine.train

    class Report:
        def __init__(self, number, array):
            self.number, self.array = number, array

        def __array__(self, dtype=None, copy=None):
            events.append(f"read {self.number}")
            return np.asarray(self.array)

    def counted(chunk, tally):
        number = sum(event.startswith("start") for event in events)
        events.append(f"start {number}")
        return Report(number, start(chunk, tally))

    engine.train = counted
    trainer.fit(x, y, batch_size=10)
    assert events == [
        *("start 0", "start 1", "read 0", "start 2", "read 1"),
        *("start 3", "read 2", "read 3"),
    ]
    assert jax.tree.leaves(trainer.state.params)

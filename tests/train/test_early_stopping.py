"""Keras's rule, on the same sequences of figures as Keras's own callback."""

import os
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from jaxnets import train
from tests.train.networks import assert_same_bits, blobs, linear_trainer

NAN, INF = float("nan"), float("inf")
SEQUENCES = [
    [5.0, 4.0, 3.0, 2.0, 1.0],
    [1.0, 2.0, 0.5, 3.0, 3.0, 3.0],
    [1.0, 1.0, 1.0, 1.0],
    [3.0, 2.95, 2.9, 2.85, 2.8, 2.0],
    [2.0, NAN, 1.0, NAN, NAN],
    [INF, INF, 1.0, INF, INF],
    [1.0, 3.0, 2.0, 4.0, 0.5],
    [0.3, 0.1, 0.2, 0.1, 0.1, 0.0],
]


class FakeTrainer:
    def __init__(self):
        self.stopped = False

    def stop(self):
        self.stopped = True


def ours(values, monitor, **options):
    callback, trainer = train.EarlyStopping(monitor, **options), FakeTrainer()
    callback.on_fit_begin(trainer, train.History())
    for epoch, value in enumerate(values, start=1):
        callback.on_epoch_end(trainer, epoch, {monitor: value})
        if trainer.stopped:
            break
    return epoch, callback.best_epoch, callback.best


def kerass(keras, values, monitor, *, patience, min_delta, mode):
    callback = keras.callbacks.EarlyStopping(
        monitor, patience=patience, min_delta=min_delta, mode=mode
    )
    callback.set_model(SimpleNamespace(stop_training=False))
    callback.on_train_begin()
    for epoch, value in enumerate(values):
        callback.on_epoch_end(epoch, {monitor: value})
        if callback.model.stop_training:
            break
    return epoch + 1, callback.best_epoch + 1, callback.best


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("min_delta", [0.0, 0.1])
@pytest.mark.parametrize("patience", [0, 1, 2])
def test_stops_where_keras_stops(monkeypatch, patience, min_delta, mode):
    monkeypatch.setitem(os.environ, "KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    for values in SEQUENCES:
        options = {"patience": patience, "min_delta": min_delta, "mode": mode}
        got = ours(values, "val_loss", **options)
        expected = kerass(keras, values, "val_loss", **options)
        np.testing.assert_equal(got, expected, err_msg=str((values, options)))


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize(
    ("values", "patience", "expected"),
    [
        # Stopped after, best epoch, best.
        ([NAN, 0.8, 0.6, 0.7, 0.7, 0.1], 2, (5, 3, 0.6)),
        ([NAN, NAN, 0.6, 0.7, 0.7, 0.1], 2, (5, 3, 0.6)),
        ([NAN, INF, NAN, 3.0, NAN, -INF, -INF], 2, (7, 6, -INF)),
        ([INF, 2.0, INF, NAN, 1.0], 3, (5, 5, 1.0)),
        ([NAN, NAN, NAN, NAN], 2, (3, 0, NAN)),
        ([NAN, NAN, 1.0], 0, (2, 0, NAN)),
    ],
)
def test_nan_is_worse_than_everything(values, patience, expected, mode):
    sign = 1 if mode == "min" else -1
    got = ours([sign * v for v in values], "loss", patience=patience, mode=mode)
    np.testing.assert_equal(got, (*expected[:2], sign * expected[2]))


def test_restore_best_never_restores_an_epoch_of_nan():
    x, y = blobs(40)
    kept = {}

    class Judge(train.Callback):
        def __init__(self, scores):
            self.scores = scores

        def on_epoch_end(self, trainer, epoch, logs):
            logs["score"] = self.scores[epoch - 1]
            kept[epoch] = jax.tree.map(np.asarray, trainer.state.params)

    for scores, restored in (([NAN, 3.0, 4.0], 2), ([NAN, NAN, NAN], 3)):
        stop = train.EarlyStopping("score", mode="min", patience=9, restore_best=True)
        trainer = linear_trainer()
        trainer.fit(x, y, epochs=3, callbacks=[Judge(scores), stop])
        assert_same_bits(trainer.state.params, kept[restored])


@pytest.mark.parametrize("monitor", ["val_acc", "top_5", "accuracy"])
def test_auto_lets_accuracies_rise(monitor):
    assert ours([0.1, 0.2, 0.3, 0.2], monitor) == (4, 3, 0.3)


def test_auto_lets_losses_fall():
    assert ours([0.3, 0.2, 0.25], "val_loss") == (3, 2, 0.2)


@pytest.mark.parametrize("stopped", [False, True])
def test_restore_best_gives_back_the_best_epochs_weights(stopped):
    x, y = blobs(40)
    # The figure is set by hand: the second epoch is the best.
    wanted = [3.0, 1.0, 2.0, 2.0] if stopped else [3.0, 1.0, 2.0]
    kept = {}

    class Judge(train.Callback):
        def on_epoch_end(self, trainer, epoch, logs):
            logs["score"] = wanted[epoch - 1]
            kept[epoch] = jax.tree.map(np.asarray, trainer.state.params)

    callback = train.EarlyStopping("score", mode="min", patience=2, restore_best=True)
    trainer = linear_trainer()
    history = trainer.fit(
        x, y, epochs=9 if stopped else 3, callbacks=[Judge(), callback]
    )
    assert history.epochs == list(range(1, len(wanted) + 1))
    assert callback.best_epoch == 2
    assert callback.stopped_epoch == (4 if stopped else 0)
    assert_same_bits(trainer.state.params, kept[2])
    assert np.any(kept[2]["kernel"] != kept[len(wanted)]["kernel"])


def test_without_restore_best_the_last_weights_stay():
    x, y = blobs(40)
    callback = train.EarlyStopping("loss", patience=0, min_delta=100.0)
    trainer = linear_trainer()
    trainer.fit(x, y, epochs=9, shuffle=False, callbacks=[callback])
    expected = linear_trainer()
    expected.fit(x, y, epochs=2, shuffle=False)
    assert callback.stopped_epoch == 2
    assert_same_bits(trainer.state, expected.state)


def test_a_second_fit_starts_anew():
    x, y = blobs(40)
    callback = train.EarlyStopping("loss", min_delta=100.0)
    trainer = linear_trainer()
    for _ in range(2):
        assert len(trainer.fit(x, y, epochs=5, callbacks=[callback])) == 2


def test_errors():
    with pytest.raises(ValueError, match="EarlyStopping: patience must be at least 0"):
        train.EarlyStopping(patience=-1)
    with pytest.raises(ValueError, match=r"min_delta must be at least 0; got -0.1"):
        train.EarlyStopping(min_delta=-0.1)
    with pytest.raises(ValueError, match=r"mode must be one of .*; got 'best'"):
        train.EarlyStopping(mode="best")
    with pytest.raises(ValueError, match=r"'speed' should fall or rise .* mode='min'"):
        train.EarlyStopping("speed")
    x, y = blobs(10)
    with pytest.raises(
        ValueError, match=r"no figure 'val_loss'.*; there are loss, seconds \(val_"
    ):
        linear_trainer().fit(x, y, callbacks=[train.EarlyStopping()])

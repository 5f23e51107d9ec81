"""The trainer against a NumPy loop, Keras, and itself run another way."""

import os

import chex
import jax
import numpy as np
import optax
import pytest
from flax import nnx

from jaxnets import data, train
from jaxnets.train._sources import IterableSource
from tests.helpers import assert_close
from tests.train.networks import (
    Small,
    assert_same_bits,
    blobs,
    figures,
    linear_trainer,
    small_trainer,
)


def softmax_regression(x, y, weight, kernel, bias, orders, batch_size, rate):
    """Gradient descent by hand in float64; returns the parameters and epoch means."""
    losses, hits = [], []
    for order in orders:
        loss_sum = hit_sum = 0.0
        for first in range(0, len(x), batch_size):
            rows = order[first : first + batch_size]
            logits = x[rows].astype(np.float64) @ kernel + bias
            p = np.exp(logits - logits.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            picked = p[np.arange(len(rows)), y[rows]]
            loss_sum += np.sum(-np.log(picked) * weight[rows])
            hit_sum += np.sum(logits.argmax(1) == y[rows])
            slope = (p - np.eye(3)[y[rows]]) * weight[rows, None] / len(rows)
            kernel = kernel - rate * x[rows].T.astype(np.float64) @ slope
            bias = bias - rate * slope.sum(0)
        losses.append(loss_sum / len(x))
        hits.append(hit_sum / len(x))
    return kernel, bias, losses, hits


@pytest.mark.parametrize("weighted", [False, True])
def test_fit_is_gradient_descent_over_ragged_batches(rng, weighted):
    x, y = blobs(50)
    class_weight = {0: 2.0, 2: 0.25} if weighted else None
    sample_weight = rng.uniform(0.5, 1.5, 50) if weighted else None
    weight = np.ones(50)
    if weighted:
        weight = sample_weight * np.array([2.0, 1.0, 0.25])[y]
    trainer = linear_trainer(metrics={"acc": train.accuracy})
    start = jax.tree.map(np.asarray, trainer.state.params)
    history = trainer.fit(
        x,
        y,
        batch_size=16,
        epochs=3,
        seed=5,
        class_weight=class_weight,
        sample_weight=sample_weight,
    )
    orders = [data.epoch_order(5, epoch, 50) for epoch in range(3)]
    kernel, bias, losses, hits = softmax_regression(
        x, y, weight, start["kernel"], start["bias"], orders, 16, 0.1
    )
    # 12 steps of float32 against float64.
    assert_close(
        trainer.state.params["kernel"], kernel.astype(np.float32), reduction=50
    )
    assert_close(trainer.state.params["bias"], bias.astype(np.float32), reduction=50)
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-5)
    np.testing.assert_array_equal(history["acc"], hits)
    assert history.epochs == [1, 2, 3]


@pytest.mark.slow
def test_fit_against_keras(monkeypatch):
    monkeypatch.setitem(os.environ, "KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    x, y = blobs(50)
    class_weight = {0: 2.0, 1: 1.0, 2: 0.25}
    options = {"batch_size": 16, "epochs": 3, "shuffle": False}
    options |= {"validation_split": 0.2, "class_weight": class_weight}
    trainer = linear_trainer(metrics={"acc": train.accuracy})
    # Keras's own Dense layer adds a bias of lower rank.
    with jax.numpy_rank_promotion("allow"):
        model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3)])
        model.compile(
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            optimizer=keras.optimizers.SGD(0.1),
            metrics=[keras.metrics.SparseCategoricalAccuracy(name="acc")],
        )
        params = trainer.state.params
        model.set_weights([np.asarray(params["kernel"]), np.asarray(params["bias"])])
        expected = model.fit(x, y, verbose=0, **options).history
        evaluated = model.evaluate(x[:10], y[:10], verbose=0, return_dict=True)
        predicted = model.predict(x[:10], verbose=0)
    history = trainer.fit(x, y, **options)
    for name in ("loss", "acc", "val_loss", "val_acc"):
        np.testing.assert_allclose(history[name], expected[name], rtol=1e-5)
    result = trainer.evaluate(x[:10], y[:10])
    np.testing.assert_allclose(result["loss"], evaluated["loss"], rtol=1e-5)
    assert_close(trainer.predict(x[:10], batch_size=4), predicted, reduction=40)


@pytest.mark.slow
def test_one_compilation_for_a_fit_and_one_for_its_validation():
    x, y = blobs(50)
    loss = chex.assert_max_traces(optax.softmax_cross_entropy_with_integer_labels, n=2)
    trainer = train.Trainer(
        Small(nnx.Rngs(0)),
        # A schedule in the optimizer's state has weak types in it.
        optimizer=optax.inject_hyperparams(optax.adam)(
            optax.cosine_decay_schedule(1e-2, 10)
        ),
        loss=loss,
    )
    trainer.fit(x, y, batch_size=16, epochs=3, validation_split=0.14)
    trainer.fit(x, y, batch_size=16, epochs=2, validation_data=(x, y))
    trainer.evaluate(x[:3], y[:3], batch_size=16)
    trainer.predict(x, batch_size=16)
    assert trainer.traces == {"train": 1, "evaluate": 1, "predict": 1}


@pytest.mark.slow
@pytest.mark.parametrize("k", [3, 8])
def test_steps_per_call_changes_no_bit(k):
    x, y = blobs(70)
    one, several = small_trainer(), small_trainer(steps_per_call=k)
    options = {"batch_size": 8, "epochs": 3, "validation_split": 0.2}
    expected = one.fit(x, y, **options)
    history = several.fit(x, y, **options)
    assert_same_bits(several.state, one.state)
    assert_same_bits(figures(history), figures(expected))
    assert several.traces["train"] == 1


@pytest.mark.slow
def test_same_seed_same_bits_other_seed_other_order():
    x, y = blobs(50)
    runs = [small_trainer() for _ in range(3)]
    histories = [
        run.fit(x, y, epochs=2, seed=seed)
        for run, seed in zip(runs, (1, 1, 2), strict=True)
    ]
    assert_same_bits(runs[1].state, runs[0].state)
    assert histories[0]["loss"] == histories[1]["loss"] != histories[2]["loss"]


@pytest.mark.slow
def test_validation_split_takes_the_last_part():
    x, y = blobs(50)
    split, given = small_trainer(), small_trainer()
    history = split.fit(x, y, epochs=2, validation_split=0.3)
    expected = given.fit(x[:35], y[:35], epochs=2, validation_data=(x[35:], y[35:]))
    assert_same_bits(figures(history), figures(expected))
    figures_now = given.evaluate(x[35:], y[35:])
    assert history["val_loss"][-1] == figures_now["loss"]
    np.testing.assert_array_equal(
        history["val_confusion"][-1], figures_now["confusion"]
    )


def test_confusion_matrix_counts_every_example_once():
    x, y = blobs(50)
    trainer = small_trainer()
    history = trainer.fit(x, y, batch_size=16, epochs=1)
    assert history["confusion"][0].sum() == 50
    matrix = trainer.evaluate(x, y, batch_size=16)["confusion"]
    chosen = trainer.predict(x).argmax(1)
    expected = np.zeros((3, 3), int)
    np.add.at(expected, (y, chosen), 1)
    np.testing.assert_array_equal(matrix, expected)


def test_steps_end_a_fit_in_the_middle_of_an_epoch():
    x, y = blobs(48)
    trainer = linear_trainer()
    history = trainer.fit(x, y, batch_size=16, epochs=None, steps=4)
    assert int(trainer.state.step) == 4
    assert history.epochs == [1, 2]
    fewer = linear_trainer()
    fewer.fit(x, y, batch_size=16, epochs=1, steps=99)
    assert int(fewer.state.step) == 3


def test_an_iterable_of_batches_gives_what_the_arrays_give():
    x, y = blobs(50)

    class Batches:
        def __init__(self):
            self.epoch = 0

        def __iter__(self):
            order = data.epoch_order(0, self.epoch, 50)
            self.epoch += 1
            for first in range(0, 50, 16):
                rows = order[first : first + 16]
                yield x[rows], y[rows]

    arrays, batches = linear_trainer(), linear_trainer()
    expected = arrays.fit(x, y, batch_size=16, epochs=2)
    history = batches.fit(Batches(), epochs=2, validation_data=[(x[:20], y[:20])])
    assert history["loss"] == expected["loss"]
    assert_same_bits(batches.state, arrays.state)
    assert batches.traces["train"] == 1
    assert history["val_loss"][-1] == arrays.evaluate([(x[:20], y[:20])])["loss"]


def test_masked_batches_of_the_data_room_can_be_fed():
    x, y = blobs(50)
    arrays, batches = linear_trainer(), linear_trainer()
    expected = arrays.fit(x, y, batch_size=16, epochs=1, seed=2)
    history = batches.fit(data.batches((x, y), batch_size=16, seed=2))
    assert history["loss"] == expected["loss"]


def test_an_iterator_that_fills_one_buffer_again_and_again():
    x, y = blobs(64)

    def reusing():
        room = np.empty((16, 4), np.float32), np.empty(16, np.int64)
        for first in range(0, 64, 16):
            room[0][:], room[1][:] = x[first : first + 16], y[first : first + 16]
            yield room

    source = IterableSource([(x, y)])
    batch = next(source.batches(0, 0))
    assert not np.shares_memory(batch.x, x)
    assert not np.shares_memory(batch.y, y)
    fresh, reused = linear_trainer(), linear_trainer()
    expected = fresh.fit(x, y, batch_size=16, shuffle=False)
    assert reused.fit(reusing())["loss"] == expected["loss"]


def test_sample_weights_of_the_validation_count():
    x, y = blobs(30)
    weight = np.linspace(0, 2, 30)
    trainer = linear_trainer()
    history = trainer.fit(x, y, validation_data=(x, y, weight))
    logits = trainer.predict(x).astype(np.float64)
    rows = np.log(np.exp(logits).sum(1)) - logits[np.arange(30), y]
    np.testing.assert_allclose(
        history["val_loss"][0], np.mean(rows * weight), rtol=1e-5
    )

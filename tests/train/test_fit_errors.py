"""Mistakes are found before the first step, and their messages say what to do."""

import numpy as np
import optax
import pytest
from flax import nnx

from jaxnets import train
from tests.train.networks import assert_same_bits, blobs, linear_trainer


def spoiled(row, value):
    x, _ = blobs(20)
    x[row, 1] = value
    return x


def labels(value):
    _, y = blobs(20)
    y[7] = value
    return y


X, Y = blobs(20)
CASES = [
    ((spoiled(3, np.nan), Y), {}, "x must be finite; got NaN .* first is row 3"),
    ((spoiled(5, np.inf), Y), {}, "x must be finite; .* 1 of 20 rows"),
    ((X, labels(3)), {}, r"labels must lie in 0 ... 2.*got labels from 0 to 3"),
    ((X, labels(-1)), {}, r"fit: labels must lie .* got labels from -1 to 2"),
    ((X[:0], Y[:0]), {}, "fit: x must have examples; got an empty data set"),
    ((X, Y[:19]), {}, "same number of examples; got 20 in x, 19 in y"),
    ((X, Y), {"batch_size": 0}, "fit: batch_size must be at least 1; got 0"),
    ((X, Y), {"batch_size": -3}, "fit: batch_size must be at least 1; got -3"),
    (
        (X, Y),
        {"validation_split": 1.0},
        r"validation_split must lie in \[0, 1\); got 1",
    ),
    ((X, Y), {"validation_split": -0.1}, r"must lie in \[0, 1\); got -0.1"),
    ((X, Y), {"validation_split": 0.99}, "both parts need a row"),
    ((X, Y), {"epochs": -1}, "fit: epochs must be at least 0; got -1"),
    ((X, Y), {"steps": 0}, "fit: steps must be at least 1; got 0"),
    ((X, Y), {"epochs": None}, "fit: epochs or steps must be given"),
    ((X, Y), {"seed": -1}, "seed must be at least 0; got -1"),
    ((X, Y), {"sample_weight": np.ones(3)}, "got 20 in x, 20 in y, 3 in sample_weight"),
    (
        (X, Y),
        {"sample_weight": np.full(20, np.nan)},
        "sample_weight must be finite numbers, one an example",
    ),
    (
        (X, np.eye(3, dtype=np.float32)[Y]),
        {"class_weight": {0: 2.0}},
        r"class_weight needs integer targets, .*float32\[20, 3\]",
    ),
    (
        (X, Y),
        {"validation_split": 0.5, "validation_data": (X, Y)},
        "validation_split and validation_data exclude each other",
    ),
    (
        (X, Y),
        {"validation_data": (X, Y[:3])},
        "validation_data: all .* 20 in x, 3 in y",
    ),
    (
        (X, Y),
        {"validation_data": (spoiled(0, np.nan), Y)},
        "validation_data: x must be finite",
    ),
    ((X, Y), {"validation_data": (X, labels(9))}, "labels must lie .* from 0 to 9"),
    (([(X, Y)],), {"validation_split": 0.5}, "need x and y as arrays; got an iterable"),
    (([],), {}, "must be batches in every epoch; got none in epoch 1"),
    (([(X, labels(8))],), {}, "labels must lie"),
    (([(X, Y), (X, labels(8))],), {}, "labels must lie"),
    (([(X, Y[:4])],), {}, "same number of examples; got 20 in x, 4 in y"),
]


@pytest.mark.parametrize(("data", "options", "message"), CASES)
def test_wrong_values(data, options, message):
    with pytest.raises(ValueError, match=message):
        linear_trainer().fit(*data, **options)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ((X,), {}, "fit: y must be given when x is an array; got None"),
        (([X],), {}, r"an iterable must give \(x, y\), .*; got ndarray"),
        (([(X,)],), {}, "got tuple of 1"),
        (([((X, Y, Y, Y), np.ones(20))],), {}, "got 4 parts before the mask"),
        ((X, Y), {"callbacks": [3]}, "a callback must be a Callback or a function"),
        ((X, Y), {"callbacks": [train.Callback]}, "a callback must be a Callback or"),
    ],
)
def test_wrong_types(data, options, message):
    with pytest.raises(TypeError, match=message):
        linear_trainer().fit(*data, **options)


def test_an_iterator_has_one_epoch_in_it():
    with pytest.raises(ValueError, match=r"got none in epoch 2 .*runs through once"):
        linear_trainer().fit(iter([(X, Y)]), epochs=2)


def test_a_loss_that_takes_the_mean_itself():
    def mean_loss(outputs, targets):
        return optax.softmax_cross_entropy_with_integer_labels(outputs, targets).mean()

    with pytest.raises(ValueError, match=r"loss: values must .* \(leave out the mean"):
        linear_trainer(loss=mean_loss).fit(X, Y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nonfinite": "halt"}, r"Trainer: nonfinite must be one of .*; got 'halt'"),
        ({"steps_per_call": 0}, "Trainer: steps_per_call must be at least 1; got 0"),
        ({"seed": -1}, "Trainer: seed must be at least 0"),
        ({"metrics": {"loss": train.accuracy}}, "must not have the name 'loss'"),
        (
            {"param_sharding": lambda path, leaf: None},
            "param_sharding needs the mesh .* got mesh=None",
        ),
    ],
)
def test_wrong_trainer(options, message):
    with pytest.raises(ValueError, match=message):
        linear_trainer(**options)


def test_predict_and_evaluate_check_too():
    trainer = linear_trainer()
    with pytest.raises(ValueError, match="predict: x must have examples"):
        trainer.predict(X[:0])
    with pytest.raises(ValueError, match="predict: batch_size must be at least 1"):
        trainer.predict(X, batch_size=0)
    with pytest.raises(ValueError, match="evaluate: x must be finite"):
        trainer.evaluate(spoiled(0, np.nan), Y)
    with pytest.raises(ValueError, match="evaluate: labels must lie"):
        trainer.evaluate(X, labels(4))
    with pytest.raises(ValueError, match="evaluate: there must be batches; got none"):
        trainer.evaluate([])


@pytest.mark.parametrize("k", [1, 3])
def test_stop_names_the_step_and_keeps_the_state_before_it(k):
    x, y = blobs(40)
    good = linear_trainer(steps_per_call=k)
    good.fit(x[:24], y[:24], batch_size=8, shuffle=False)

    def exploding(outputs, targets):
        rows = optax.softmax_cross_entropy_with_integer_labels(outputs, targets)
        return rows / (targets >= 0).astype(rows.dtype)

    # Without the last axis's classes in the outputs' shape nobody could know that -1 is
    # no class; here the labels come through an iterable whose first batches are fine.
    trainer = linear_trainer(loss=exploding, steps_per_call=k)
    weight = np.ones(8, np.float32)
    batches = [(x[i : i + 8], y[i : i + 8], weight) for i in range(0, 40, 8)]
    bad = batches[3][0].copy()
    bad[2] = np.nan
    batches[3] = (bad, *batches[3][1:])
    with pytest.raises(
        FloatingPointError, match=r"the loss must be finite; .* in step 4 \(epoch 1\)"
    ):
        trainer.fit(batches)
    assert int(trainer.state.step) == 3
    assert_same_bits(trainer.state, good.state)
    # And it can go on from there.
    trainer.fit(x[24:], y[24:], batch_size=8, shuffle=False)
    assert int(trainer.state.step) == 5


def test_skip_counts_what_it_left_out():
    x, y = blobs(40)
    bad = x.copy()
    bad[18] = np.nan
    trainer, without = linear_trainer(nonfinite="skip"), linear_trainer()
    history = trainer.fit(bad, y, batch_size=8, shuffle=False)
    keep = np.r_[0:16, 24:40]
    expected = without.fit(x[keep], y[keep], batch_size=8, shuffle=False)
    assert history["skipped"] == [1]
    assert history["loss"] == expected["loss"]
    assert_same_bits(trainer.state.params, without.state.params)


def test_a_model_whose_call_fails_fails_as_itself():
    trainer = train.Trainer(
        nnx.Linear(5, 3, rngs=nnx.Rngs(0)),
        optimizer=optax.sgd(0.1),
        loss=optax.softmax_cross_entropy_with_integer_labels,
    )
    with pytest.raises(TypeError, match="dot_general"):
        trainer.fit(X, Y)

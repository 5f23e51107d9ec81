"""What the trainer does with the model it is given."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxnets import train
from tests.helpers import assert_close
from tests.train.networks import (
    Small,
    assert_same_bits,
    blobs,
    linear_trainer,
    small_trainer,
)


@pytest.mark.slow
def test_penalties_constraints_and_frozen_parameters_of_the_model():
    x, y = blobs(40)

    def penalty(kernel):
        return 0.5 * jnp.sum(kernel**2)

    def model():
        return nnx.Linear(
            4,
            3,
            kernel_metadata={"regularizer": penalty, "constraint": jnp.abs},
            bias_metadata={"trainable": False},
            rngs=nnx.Rngs(0),
        )

    loss = optax.softmax_cross_entropy_with_integer_labels
    trainer = train.Trainer(model(), optimizer=optax.sgd(0.1), loss=loss)
    before = jax.tree.map(np.asarray, trainer.state.params)
    plain = train.Trainer(
        nnx.Linear(4, 3, rngs=nnx.Rngs(0)), optimizer=optax.sgd(0.1), loss=loss
    )
    extra = 0.5 * np.sum(before["kernel"] ** 2)
    assert_close(
        np.float32(trainer.evaluate(x, y)["loss"]),
        np.float32(plain.evaluate(x, y)["loss"] + extra),
    )
    trainer.fit(x, y, batch_size=40, shuffle=False)
    plain.fit(x, y, batch_size=40, shuffle=False)
    after = trainer.state.params
    np.testing.assert_array_equal(after["bias"], before["bias"])
    # d/dk of half the squared sum is k: one more step of 0.1 k, then the projection.
    expected = np.abs(plain.state.params["kernel"] - 0.1 * before["kernel"])
    assert_close(after["kernel"], expected)


@pytest.mark.slow
def test_augmentation_acts_on_training_batches_alone():
    x, y = blobs(32)
    seen = []

    def augment(key, x):
        seen.append(x.shape)
        return x + jax.random.normal(key, x.shape)

    noisy, clean = linear_trainer(augment=augment), linear_trainer()
    assert noisy.evaluate(x, y) == clean.evaluate(x, y)
    assert seen == []
    noisy_loss = noisy.fit(x, y, epochs=2)["loss"]
    assert noisy_loss[0] != clean.fit(x, y, epochs=2)["loss"][0]
    assert seen == [(32, 4)]
    for seed, same in ((0, True), (1, False)):
        again = linear_trainer(augment=augment, seed=seed)
        # The order of the data has a seed of its own here.
        assert (again.fit(x, y, epochs=2, seed=0)["loss"] == noisy_loss) is same


@pytest.mark.slow
def test_the_model_given_is_left_alone_and_the_trained_one_is_a_copy():
    x, y = blobs(32)
    module = Small(nnx.Rngs(0))
    before = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(module, nnx.Param)))
    trainer = train.Trainer(
        module,
        optimizer=optax.adam(0.1),
        loss=optax.softmax_cross_entropy_with_integer_labels,
    )
    trainer.fit(x, y)
    trained = trainer.model
    assert isinstance(trained, Small)
    assert trained.first is trained.second
    expected = trainer.predict(x)
    trainer.fit(x, y)
    # The trained module's arrays outlive further steps, which give theirs away.
    assert_close(np.asarray(trained(x)), expected, reduction=8)
    after = nnx.to_pure_dict(nnx.state(module, nnx.Param))
    assert_same_bits(after, before)


def test_dropout_differs_from_step_to_step():
    x, y = blobs(32)
    trainer = small_trainer(optimizer=optax.sgd(0.0))
    losses = trainer.fit(x, y, epochs=3, shuffle=False)["loss"]
    assert len(set(losses)) == 3


def test_predict_of_a_dict_of_inputs():
    class Two(nnx.Module):
        def __init__(self):
            self.layer = nnx.Linear(4, 1, rngs=nnx.Rngs(0))

        def __call__(self, inputs):
            return {"sum": self.layer(inputs["a"]) + inputs["b"]}

    trainer = train.Trainer(
        Two(),
        optimizer=optax.sgd(0.1),
        loss=lambda outputs, y: optax.squared_error(outputs["sum"], y),
    )
    x = {"a": blobs(10)[0], "b": np.arange(10, dtype=np.float32)[:, None]}
    history = trainer.fit(x, x["b"], batch_size=4, epochs=2)
    assert history["loss"][1] < history["loss"][0]
    kernel = np.asarray(trainer.state.params["layer"]["kernel"])
    bias = np.asarray(trainer.state.params["layer"]["bias"])
    outputs = trainer.predict(x, batch_size=4)["sum"]
    assert_close(outputs, x["a"] @ kernel + bias + x["b"], reduction=4)


def test_a_masked_convolution_trains_and_its_mask_stays():
    """The mask is a plain array among the variables of the module."""
    mask = np.ones((3, 1, 2), np.float32)
    mask[0] = 0
    model = nnx.Sequential(
        nnx.Conv(1, 2, (3,), mask=mask, rngs=nnx.Rngs(0)), lambda x: x.mean(axis=1)
    )
    trainer = train.Trainer(
        model,
        optimizer=optax.sgd(0.1),
        loss=optax.softmax_cross_entropy_with_integer_labels,
    )
    x = np.random.default_rng(0).normal(size=(8, 6, 1)).astype(np.float32)
    trainer.fit(x, np.arange(8) % 2, batch_size=4, verbose=False)
    conv = trainer.model.layers[0]
    np.testing.assert_array_equal(conv.mask, mask)
    moved = np.asarray(conv.kernel[...]) != np.asarray(model.layers[0].kernel[...])
    assert moved[1:].all() and not moved[0].any()

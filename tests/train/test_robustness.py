"""Robustness curves against what can be counted by hand."""

import re

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxnets import train


def brightest_column(x):
    """Logits that name the column of the brightest cell."""
    return x[..., 0].max(axis=1)


def columns(count: int) -> tuple[np.ndarray, np.ndarray]:
    images = np.zeros((count, 4, 5, 1), np.float32)
    labels = np.arange(count) % 5
    images[np.arange(count), 1, labels] = 1
    return images, labels


def test_a_shift_moves_the_columns():
    """Right by one, every column but the last is named wrong, and that one is lost."""
    images, labels = columns(7)
    got = train.robustness_curve(
        brightest_column, images, labels, "shift", (0, 1, 5), batch_size=3
    )
    # What is moved out leaves zeros, of which the first column is named.
    np.testing.assert_array_equal(got, [1, 0, 2 / 7])


def test_rotation_by_half_a_turn_and_scale():
    images, labels = columns(5)
    got = train.robustness_curve(brightest_column, images, labels, "rotation", (0, 180))
    np.testing.assert_array_equal(got, [1, 0.2])
    got = train.robustness_curve(brightest_column, images, labels, "scale", (1, 9))
    assert got[0] == 1
    assert got[1] <= 0.4


class Brightest(nnx.Module):
    """The same rule as a module with a parameter."""

    def __init__(self):
        self.gain = nnx.Param(jnp.ones(()))

    def __call__(self, x):
        return x[..., 0].max(axis=1) * self.gain[...]


def by_numpy(x):
    return np.asarray(x)[..., 0].max(axis=1)


def by_branching(x):
    return brightest_column(x) if x.sum() > 0 else -brightest_column(x)


@pytest.mark.parametrize("kind", ["trainer", "module", "numpy", "branching"])
def test_predict_of_a_trainer_a_module_and_functions_that_need_values(kind):
    trainer = train.Trainer(
        Brightest(), optimizer=optax.sgd(0.1), loss=optax.squared_error
    )
    predict = {
        "trainer": trainer.predict,
        "module": Brightest(),
        "numpy": by_numpy,
        "branching": by_branching,
    }[kind]
    images, labels = columns(7)
    got = train.robustness_curve(
        predict, images, labels, "shift", (0, 1, 5), batch_size=3
    )
    np.testing.assert_array_equal(got, [1, 0, 2 / 7])


def test_an_error_of_predict_is_its_own():
    def broken(x):
        raise KeyError("my own mistake")

    with pytest.raises(KeyError, match="my own mistake"):
        train.robustness_curve(broken, *columns(5), "shift", (0,))


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"transform": "blur"},
            "robustness_curve: transform must be one of 'rotation'",
        ),
        ({"labels": jnp.zeros(3, int)}, "robustness_curve: images must be (n, height"),
        ({"batch_size": 0}, "robustness_curve: batch_size must be at least 1; got 0"),
    ],
)
def test_bad_input(change, message):
    images, labels = columns(5)
    arguments = {"labels": labels, "transform": "shift", "values": (0,)} | change
    with pytest.raises(ValueError, match=re.escape(message)):
        train.robustness_curve(brightest_column, images, **arguments)

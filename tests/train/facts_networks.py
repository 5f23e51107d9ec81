"""A network with options of all kinds, and a fit of it, for the tests of facts."""

import functools

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jaxnets import nn, train
from tests.train.networks import blobs

X, Y = blobs(40)


def smooth(outputs, targets, strength=0.1):
    labels = optax.smooth_labels(jax.nn.one_hot(targets, 3), strength)
    return optax.softmax_cross_entropy(outputs, labels)


def clip(kernel):
    return jnp.clip(kernel, -1, 1)


def shrink(kernel):
    return 0.9 * kernel


def trainer(
    optimizer=None, *, rate=0.5, slope=0.1, act=jax.nn.relu, limit=clip, **options
):
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(
        nn.Dense(4, 8, activation=act, kernel_constraint=limit, rngs=rngs),
        nnx.Dropout(rate, rngs=rngs),
        functools.partial(jax.nn.leaky_relu, negative_slope=slope),
        nnx.Linear(8, 3, rngs=rngs),
    )
    options = {"loss": smooth, "metrics": {"acc": train.accuracy}, **options}
    optimizer = optax.adam(1e-2) if optimizer is None else optimizer
    return train.Trainer(model, optimizer=optimizer, **options)


def fit(given, *, x=X, y=Y, epochs=2, **options):
    options = {"batch_size": 8, "validation_split": 0.2, **options}
    return given.fit(x, y, epochs=epochs, **options)

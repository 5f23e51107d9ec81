"""Prints the facts of a fit as JSON: python -m tests.train.facts_job."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxnets import nn, train
from jaxnets.train._resume import facts
from tests.train.networks import Small, blobs

SCALE = 0.1


def smooth(outputs, targets, strength):
    labels = optax.smooth_labels(jax.nn.one_hot(targets, 3), strength)
    return optax.softmax_cross_entropy(outputs, labels)


class Deep(nnx.Module):
    """Layers of both libraries with functions, containers and metadata."""

    def __init__(self, rngs: nnx.Rngs):
        self.small = Small(rngs)
        self.layers = nnx.List(
            [
                nn.Dense(3, 4, activation=jax.nn.relu, rngs=rngs),
                nnx.Dropout(0.25, rngs=rngs),
                lambda x: jnp.tanh(0.5 * x),
                functools.partial(jax.nn.leaky_relu, negative_slope=0.3),
                nn.Dense(4, 3, kernel_constraint=abs_value, rngs=rngs),
            ]
        )
        self.names = {"b", "a", "c"}

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.small(x)
        for layer in self.layers:
            x = layer(x)
        return x


def abs_value(kernel):
    return jnp.abs(kernel)


OPTIMIZERS = {
    "adam": lambda: optax.adam(1e-2),
    "schedule": lambda: optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(optax.warmup_cosine_decay_schedule(0.0, 1e-2, 20, 200)),
    ),
    "pieces": lambda: optax.sgd(optax.piecewise_constant_schedule(0.5, {2: 0.1, 7: 2})),
    "injected": lambda: optax.inject_hyperparams(optax.adam)(1e-3),
    "injected schedule": lambda: optax.inject_hyperparams(optax.adam)(
        optax.cosine_decay_schedule(1e-2, 10)
    ),
    "lbfgs": optax.lbfgs,
    "several": lambda: optax.MultiSteps(optax.adam(1e-2), 4),
    "noise": lambda: optax.noisy_sgd(1e-2, seed=4),
    "masked": lambda: optax.masked(
        optax.add_decayed_weights(0.1), lambda p: jax.tree.map(lambda x: x.ndim > 1, p)
    ),
    "array": lambda: optax.sgd(lambda step: jnp.asarray([0.3, 0.2, 0.1])[step % 3]),
    "plateau": lambda: optax.chain(
        optax.adam(1e-2), optax.contrib.reduce_on_plateau(patience=3)
    ),
}


def facts_of(optimizer, **options):
    """The facts of a fit with the first checkpoint's optimizer."""
    found = {}

    class Look(train.Callback):
        def on_fit_begin(self, trainer, history):
            found.update(json.loads(json.dumps(facts(trainer._run))))
            trainer.stop()

    x, y = blobs(30)
    trainer = train.Trainer(
        Deep(nnx.Rngs(0)),
        optimizer=optimizer,
        loss=functools.partial(smooth, strength=0.1),
        metrics={"acc": train.accuracy, "confusion": train.ConfusionMatrix(3)},
        augment=lambda key, x: x + SCALE * jax.random.normal(key, x.shape),
        **options,
    )
    trainer.fit(x, y, validation_split=0.2, callbacks=[Look()], verbose=False)
    return found


def main() -> None:
    every = {name: facts_of(make()) for name, make in OPTIMIZERS.items()}
    lists = train._sources.IterableSource([blobs(8), blobs(8, 1)]).facts()
    large = np.arange(5_000_000.0)
    every["others"] = {"list": lists, "large": train._facts.describe_arrays(large)}
    print(json.dumps(every, indent=1))


if __name__ == "__main__":
    main()

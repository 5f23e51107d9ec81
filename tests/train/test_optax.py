"""What optax and NNX bring works in the trainer: each against a loop by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxnets import train
from tests.helpers import assert_close
from tests.train.networks import blobs, linear_trainer


def gradient(params, x, y):
    """The gradient of mean cross-entropy of softmax regression, by hand."""
    logits = x @ params["kernel"] + params["bias"]
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    slope = (p - np.eye(3)[y]) / len(x)
    return {"kernel": x.T @ slope, "bias": slope.sum(0)}


def as_float64(params):
    return {name: np.asarray(value, np.float64) for name, value in params.items()}


def as_float32(params):
    return {name: value.astype(np.float32) for name, value in params.items()}


def test_clipping_by_global_norm():
    x, y = blobs(40)
    trainer = linear_trainer(
        optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(1.0))
    )
    params = as_float64(trainer.state.params)
    trainer.fit(x, y, batch_size=10, shuffle=False)
    for first in range(0, 40, 10):
        g = gradient(params, x[first : first + 10], y[first : first + 10])
        norm = np.sqrt(sum(np.sum(value**2) for value in g.values()))
        assert norm > 0.1
        params = {name: params[name] - 0.1 / norm * g[name] for name in params}
    assert_close(trainer.state.params, as_float32(params), reduction=10)


def test_accumulation_is_one_step_over_the_larger_batch():
    x, y = blobs(40)
    several = linear_trainer(optax.MultiSteps(optax.sgd(0.5), every_k_schedule=4))
    once = linear_trainer(optax.sgd(0.5))
    several.fit(x, y, batch_size=5, epochs=2, shuffle=False)
    once.fit(x, y, batch_size=20, epochs=2, shuffle=False)
    assert int(several.state.step) == 16
    assert_close(several.state.params, once.state.params, reduction=20)


def parameter_average(decay):
    """A transformation whose state is the moving average of the parameters."""

    def update(updates, average, params):
        after = optax.apply_updates(params, updates)
        return updates, optax.incremental_update(after, average, 1 - decay)

    return optax.GradientTransformation(lambda params: params, update)


def test_exponential_moving_average_of_parameters():
    x, y = blobs(40)
    trainer = linear_trainer(optax.chain(optax.sgd(0.1), parameter_average(0.9)))
    params = as_float64(trainer.state.params)
    average = params
    trainer.fit(x, y, batch_size=10, shuffle=False)
    for first in range(0, 40, 10):
        g = gradient(params, x[first : first + 10], y[first : first + 10])
        params = {name: params[name] - 0.1 * g[name] for name in params}
        average = {n: 0.9 * average[n] + 0.1 * params[n] for n in params}
    assert_close(trainer.state.opt_state[1], as_float32(average), reduction=10)


def test_schedule():
    x, y = blobs(40)
    schedule = optax.piecewise_constant_schedule(0.5, {2: 0.1})
    trainer = linear_trainer(optax.sgd(schedule))
    params = as_float64(trainer.state.params)
    trainer.fit(x, y, batch_size=10, shuffle=False)
    for number, rate in enumerate((0.5, 0.5, 0.05, 0.05)):
        rows = slice(10 * number, 10 * number + 10)
        g = gradient(params, x[rows], y[rows])
        params = {name: params[name] - rate * g[name] for name in params}
    assert_close(trainer.state.params, as_float32(params), reduction=10)


@pytest.mark.slow
def test_mixed_precision_computes_in_bfloat16_and_keeps_float32():
    x, y = blobs(64)
    seen = []

    class Mixed(nnx.Module):
        def __init__(self, rngs):
            kinds = {"dtype": jnp.bfloat16, "param_dtype": jnp.float32, "rngs": rngs}
            self.first = nnx.Linear(4, 16, **kinds)
            self.last = nnx.Linear(16, 3, **kinds)

        def __call__(self, x):
            h = jax.nn.relu(self.first(x))
            seen.append(h.dtype)
            return self.last(h)

    trainer = train.Trainer(
        Mixed(nnx.Rngs(0)),
        optimizer=optax.adam(1e-2),
        loss=optax.softmax_cross_entropy_with_integer_labels,
    )
    history = trainer.fit(x, y, epochs=5)
    assert set(seen) == {jnp.dtype(jnp.bfloat16)}
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(trainer.state.params)}
    assert dtypes == {jnp.dtype(jnp.float32)}
    assert history["loss"][-1] < history["loss"][0]
    logits = trainer.predict(x).astype(np.float64)
    rows = np.log(np.exp(logits).sum(1)) - logits[np.arange(64), y]
    # The outputs have bfloat16's 8 bits, so a loss is off by up to 2^-8 of itself.
    np.testing.assert_allclose(trainer.evaluate(x, y)["loss"], rows.mean(), rtol=2**-8)

"""Dense is nnx.Linear with more: same weights and outputs; its own options by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnets.functional._penalties import l1
from jaxnets.nn import Dense, penalty
from tests.helpers import assert_close


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_bias": False},
        {"param_dtype": jnp.bfloat16},
        {"dtype": jnp.bfloat16},
        {"bias_init": nnx.initializers.normal(), "precision": "highest"},
        {"kernel_init": nnx.initializers.orthogonal()},
    ],
)
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_same_as_flax(rng, options, batch):
    ours = Dense(5, 4, rngs=nnx.Rngs(7), **options)
    theirs = nnx.Linear(5, 4, rngs=nnx.Rngs(7), **options)
    pure = [nnx.to_pure_dict(nnx.state(layer)) for layer in (ours, theirs)]
    jax.tree.map(np.testing.assert_array_equal, *pure)
    x = jnp.asarray(rng.normal(size=(*batch, 5)), jnp.float32)
    assert_close(ours(x), theirs(x), reduction=5)


def test_activation_and_penalties(rng):
    x = rng.normal(size=(4, 3, 5)).astype(np.float32)
    twice = functools.partial(l1, strength=2.0)
    layer = Dense(
        5, 6, activation=jnp.tanh, kernel_regularizer=twice, bias_regularizer=l1,
        activity_regularizer=l1, bias_init=nnx.initializers.normal(),
        rngs=nnx.Rngs(0),
    )  # fmt: skip
    kernel, bias = (np.asarray(v[...], np.float64) for v in (layer.kernel, layer.bias))
    weights = 2 * abs(kernel).sum() + 0.01 * abs(bias).sum()
    np.testing.assert_allclose(penalty(layer), weights, rtol=1e-6)
    expected = np.tanh(x @ kernel + bias)
    assert_close(layer(x), expected, dtype="float32", reduction=5)
    activity = 0.01 * abs(expected).sum() / 4
    np.testing.assert_allclose(penalty(layer), weights + activity, rtol=1e-5)
    # One example without a batch axis.
    layer(x[0, 0])
    activity = 0.01 * abs(expected[0, 0]).sum()
    np.testing.assert_allclose(penalty(layer), weights + activity, rtol=1e-5)


def test_activity_penalty_agrees_with_keras(rng, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    x = rng.normal(size=(8, 5)).astype(np.float32)
    theirs = keras.layers.Dense(6, activity_regularizer=keras.regularizers.L1(0.3))
    with jax.numpy_rank_promotion("allow"):  # Keras broadcasts its bias
        theirs(x)
    ours = Dense(
        5, 6, activity_regularizer=functools.partial(l1, strength=0.3),
        rngs=nnx.Rngs(0),
    )  # fmt: skip
    ours.kernel[...] = jnp.asarray(theirs.kernel.value)
    ours(x)
    np.testing.assert_allclose(penalty(ours), theirs.losses[0], rtol=1e-5)


@pytest.mark.slow
def test_train_and_eval_mode_through_jit(rng):
    """Multi-layer perceptron with Flax's dropout: modes change it, jit does not."""
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(
        Dense(5, 64, activation=jax.nn.relu, rngs=rngs),
        nnx.Dropout(0.5, rngs=rngs),
        Dense(64, 2, rngs=rngs),
    )
    x = jnp.asarray(rng.normal(size=(3, 5)), jnp.float32)
    run = nnx.jit(lambda model, x: model(x))
    model.train()
    assert not np.allclose(run(model, x), run(model, x))
    model.eval()
    plain = model(x)
    np.testing.assert_allclose(run(model, x), plain, rtol=1e-5)
    hidden, last = model.layers[0], model.layers[2]
    expected = np.maximum(x @ hidden.kernel[...], 0) @ last.kernel[...]
    np.testing.assert_allclose(plain, expected, rtol=1e-5, atol=1e-6)


def test_float64(rng, x64):
    layer = Dense(5, 4, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    x = rng.normal(size=(3, 5))
    assert_close(layer(x), x @ np.asarray(layer.kernel[...]), reduction=5)


def test_errors():
    with pytest.raises(ValueError, match=r"^Dense: out_features must be at least 1"):
        Dense(3, 0, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"^Dense: bias_constraint is given but there"):
        Dense(3, 4, use_bias=False, bias_constraint=jnp.abs, rngs=nnx.Rngs(0))
    with pytest.raises(
        ValueError, match=r"^Dense: regularizer of the bias is given tw"
    ):
        metadata = {"regularizer": l1}
        Dense(3, 4, bias_metadata=metadata, bias_regularizer=l1, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"^dense: kernel has 3 input features but x"):
        Dense(3, 4, rngs=nnx.Rngs(0))(jnp.zeros((1, 5)))

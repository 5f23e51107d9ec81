"""Penalties on activities: recorded in training mode, left alone in evaluation mode."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnets import nn
from jaxnets.functional import l2
from tests.helpers import assert_close

HALF = functools.partial(l2, strength=0.5)
LAYERS = {
    "Conv": lambda **options: nn.Conv(2, 3, (3,), **options),
    "ConvTranspose": lambda **options: nn.ConvTranspose(2, 3, (3,), **options),
    "Dense": lambda **options: nn.Dense(2, 3, **options),
    "LocalConv": lambda **options: nn.LocalConv(2, 3, (3,), (5,), **options),
    "SeparableConv": lambda **options: nn.SeparableConv(2, 3, (3,), **options),
    "TiledConv": lambda **options: nn.TiledConv(2, 3, (3,), 2, **options),
}


def test_every_layer_with_an_activity_regularizer_is_here():
    found = {
        name
        for name, value in vars(nn).items()
        if isinstance(value, type)
        and "activity_regularizer" in (value.__doc__ or "")
        and name != "ActivityPenalty"
    }
    assert found | {"LocalConv", "TiledConv"} == set(LAYERS)


@pytest.mark.parametrize("name", LAYERS)
def test_evaluation_writes_no_penalty_and_adds_none(rng, name):
    model = nnx.Sequential(LAYERS[name](activity_regularizer=HALF, rngs=nnx.Rngs(0)))
    x = jnp.asarray(rng.normal(size=(4, 5, 2)), jnp.float32)
    y = np.asarray(model(x), np.float64)
    expected = 0.5 * (y**2).sum() / 4
    np.testing.assert_allclose(nn.penalty(model), expected, rtol=1e-5)

    model.eval()
    before = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model)))
    model(2 * x)
    assert_close(nnx.to_pure_dict(nnx.state(model)), before, tol=0)
    assert float(nn.penalty(model)) == 0

    model.train()
    np.testing.assert_allclose(nn.penalty(model), expected, rtol=1e-5)
    model(2 * x)
    assert float(nn.penalty(model)) > 2 * expected


@pytest.mark.parametrize("name", LAYERS)
def test_inference_under_nnx_vmap(rng, name):
    model = LAYERS[name](activity_regularizer=HALF, rngs=nnx.Rngs(0))
    model.eval()
    x = jnp.asarray(rng.normal(size=(3, 4, 5, 2)), jnp.float32)
    mapped = nnx.vmap(lambda model, x: model(x), in_axes=(None, 0))(model, x)
    assert_close(mapped, np.stack([model(one) for one in x]), reduction=6)


def test_a_shared_layer_counts_once_and_by_its_own_mode(rng):
    layer = LAYERS["Conv"](activity_regularizer=HALF, rngs=nnx.Rngs(0))
    silent = LAYERS["Conv"](activity_regularizer=HALF, rngs=nnx.Rngs(1))
    model = nnx.Sequential(layer, silent)
    model.again = layer
    x = jnp.asarray(rng.normal(size=(4, 5, 2)), jnp.float32)
    y = np.asarray(layer(x), np.float64)
    silent(x)
    silent.eval()
    np.testing.assert_allclose(nn.penalty(model), 0.5 * (y**2).sum() / 4, rtol=1e-5)

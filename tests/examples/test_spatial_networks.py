"""What the networks of the spatial transformer example are made of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnets import functional as F


@pytest.fixture
def networks(example):
    return example("spatial_networks")


@pytest.fixture
def config(example):
    return example("spatial_transformer").Config(
        distortion="tc", transform="attention", localization="places", window=0.5
    )


def test_mean_places_are_the_transformers_coordinates(networks):
    height, width = 3, 5
    grid = F.affine_grid(jnp.eye(2, 3)[None], (height, width))[0]
    for row, column in ((0, 0), (1, 4), (2, 1)):
        peak = jnp.zeros((1, height, width, 2)).at[0, row, column, 0].set(99.0)
        places = networks.mean_places(peak)
        # A flat map, the second one, says the middle.
        expected = [*grid[row, column], 0.0, 0.0]
        np.testing.assert_allclose(places[0], np.asarray(expected), atol=1e-6)


@pytest.mark.slow
def test_the_window_is_centred_at_first(networks, config):
    model = networks.make_network("st_cnn", config, 4, nnx.Rngs(0))
    theta = model.layers[0].theta(jax.random.uniform(jax.random.key(0), (2, 60, 60, 1)))
    expected = np.asarray([[[0.5, 0, 0], [0, 0.5, 0]]] * 2)
    np.testing.assert_allclose(theta, expected, atol=1e-7)


@pytest.mark.slow
def test_networks_of_cluttered_digits_have_equal_parameters(networks, config):
    counts = []
    for name in ("st_cnn", "cnn", "cnn_stride"):
        hidden = networks.fit_hidden(name, config)
        counts.append(
            networks.count(networks.make_network(name, config, hidden, nnx.Rngs(0)))
        )
    assert max(counts) - min(counts) < 0.01 * config.parameters, counts

"""SpatialTransformer: it starts as the identity, and learns to undo a move."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxnets import functional as F
from jaxnets import nn
from tests.helpers import assert_close


def make(transform: str, shape: tuple[int, ...], **options) -> nn.SpatialTransformer:
    rngs = nnx.Rngs(0)
    size = int(np.prod(shape))
    look = nnx.Sequential(
        nn.Flatten(), nn.Dense(size, 7, activation=jax.nn.relu, rngs=rngs)
    )
    options.setdefault("output_size", shape[:-1])
    return nn.SpatialTransformer(look, 7, transform=transform, rngs=rngs, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    "transform", ["affine", "projective", "tps", "translation", "attention"]
)
@pytest.mark.parametrize("shape", [(6, 5, 2), (3, 4, 5, 1)])
def test_it_starts_as_the_identity(transform, shape, rng):
    x = rng.normal(size=(3, *shape)).astype(np.float32)
    assert_close(make(transform, shape, control_points=3)(x), x, tol=1e-5)


@pytest.mark.slow
def test_theta_of_every_transform(rng):
    x = rng.normal(size=(2, 4, 4, 1)).astype(np.float32)
    attention = make("attention", (4, 4, 1))
    attention.last.bias = nnx.Param(jnp.asarray([0.5, 0.1, -0.2]))
    expected = np.asarray([[0.5, 0, 0.1], [0, 0.5, -0.2]], np.float32)
    assert_close(attention.theta(x), np.stack([expected] * 2))
    assert_close(attention(x), F.spatial_transform(x, np.stack([expected] * 2)))
    move = make("translation", (4, 4, 1))
    move.last.bias = nnx.Param(jnp.asarray([0.1, -0.2]))
    expected = np.asarray([[1, 0, 0.1], [0, 1, -0.2]], np.float32)
    assert_close(move.theta(x), np.stack([expected] * 2))


@pytest.mark.slow
def test_in_sequence_and_side_by_side(rng):
    x = rng.normal(size=(2, 6, 6, 1)).astype(np.float32)
    first = make("affine", (6, 6, 1), output_size=(5, 4))
    second = make("attention", (5, 4, 1), output_size=(3, 3))
    assert nnx.Sequential(first, second)(x).shape == (2, 3, 3, 1)
    sides = [make("attention", (6, 6, 1), output_size=(3, 3)) for _ in range(2)]
    both = jnp.concatenate([side(x) for side in sides], axis=-1)
    assert both.shape == (2, 3, 3, 2)


@pytest.mark.slow
def test_it_learns_to_undo_a_move():
    """One blob off the centre; descent on θ alone brings it to the centre."""
    axis = np.arange(9) - 4
    blob = np.exp(-(axis[:, None] ** 2 + axis[None] ** 2) / 8)[None, ..., None]
    target = jnp.asarray(blob, jnp.float32)
    x = F.warp_affine(target, F.translation(jnp.asarray([1.5, -1.0])))
    layer = make("translation", (9, 9, 1))
    graph, params = nnx.split(layer)
    tx = optax.adam(0.01)

    @jax.jit
    def step(params, state):
        loss, slope = jax.value_and_grad(
            lambda p: jnp.mean((nnx.merge(graph, p)(x) - target) ** 2)
        )(params)
        updates, state = tx.update(slope, state)
        return optax.apply_updates(params, updates), state, loss

    state = tx.init(params)
    losses = []
    for _ in range(80):
        params, state, loss = step(params, state)
        losses.append(float(loss))
    # The rest is what two interpolations have blurred.
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"transform": "rigid"},
            "SpatialTransformer: transform must be one of 'affine'",
        ),
        ({"output_size": ()}, "SpatialTransformer: output_size must have 1, 2 or 3"),
        (
            {"transform": "tps", "output_size": (4,)},
            "SpatialTransformer: output_size must have 1, 2 or 3 sizes, 2 or 3 for",
        ),
        ({"samples": 0}, "SpatialTransformer: samples must be at least 1; got 0"),
        (
            {"transform": "tps", "samples": 2},
            "SpatialTransformer: samples must be 1 for transform='tps'; got 2",
        ),
        (
            {"control_points": 1},
            "SpatialTransformer: control_points must be at least 2",
        ),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make(**{"transform": "affine", "shape": (4, 4, 1), **options})

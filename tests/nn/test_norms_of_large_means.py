"""Normalisation where the mean is thousands of deviations: pressures in pascal.

E[x²] − E[x]² has no correct digit here in float32. The places are known to half a unit
of 2⁻⁷, the spacing of float32 at 101,325, which is 3e-4 deviations.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnets import functional as F
from jaxnets import models, nn

SHAPE, MEAN, DEVIATION = (32, 16, 16, 4), 101_325, 30


def drawn():
    rng = np.random.default_rng(0)
    x = (MEAN + DEVIATION * rng.normal(size=SHAPE)).astype(np.float32)
    return x, rng.normal(size=SHAPE).astype(np.float32)


def oracle(x, g, axes):
    """Values, variance and the gradient of the sum of g · y, in float64."""
    x = x.astype(np.float64)
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    root = np.sqrt(var + 1e-5)
    y = (x - mean) / root
    slope = g.mean(axes, keepdims=True) + y * (g * y).mean(axes, keepdims=True)
    return y, var, (g - slope) / root


def own(**options):
    stats = F.BatchStats(jnp.zeros(4), jnp.ones(4))
    return lambda x: F.batch_norm(x, None, None, stats, training=True, **options)


def of_block(x):
    """ConvBlock with the identity for its convolution."""
    block = nn.ConvBlock(4, 4, (1, 1), activation=None, rngs=nnx.Rngs(0))
    block.conv.kernel[...] = jnp.eye(4)[None, None]
    y = block(x)
    return y, F.BatchStats(block.norm.mean[...], block.norm.var[...])


def before(make, x):
    """A block whose first layer is a normalisation: what it gives and keeps."""
    block = make(4, 4, preactivation=True, rngs=nnx.Rngs(0))
    norm = block.norms[0]
    y = norm(x)
    return y, F.BatchStats(norm.mean[...], norm.var[...])


OVER_BATCHES = {
    "F.batch_norm": own(),
    "F.batch_norm(mask=)": own(mask=jnp.ones((1, 1, 1, 1), bool)),
    "ConvBlock": of_block,
    "ResidualBlock": partial(before, nn.ResidualBlock),
    "BottleneckBlock": partial(before, nn.BottleneckBlock),
}


@pytest.mark.parametrize("name", OVER_BATCHES)
def test_over_batches(name):
    x, g = drawn()
    y, var, slope = oracle(x, g, (0, 1, 2))

    @jax.jit
    def run(x):
        return jax.value_and_grad(
            lambda x: (lambda y, s: (jnp.sum(y * g), (y, s)))(*OVER_BATCHES[name](x)),
            has_aux=True,
        )(x)

    (_, (got, stats)), gradient = run(x)
    np.testing.assert_allclose(got, y, atol=1e-3)
    np.testing.assert_allclose(stats.var, 0.9 + 0.1 * var.ravel(), rtol=1e-5)
    np.testing.assert_allclose(stats.mean, 0.1 * x.mean((0, 1, 2), float), rtol=1e-6)
    np.testing.assert_allclose(gradient, slope, atol=1e-4 * np.abs(slope).max())


OVER_EXAMPLES = {
    "layer_norm": (partial(F.layer_norm, axis=(1, 2, 3)), (1, 2, 3)),
    "group_norm": (partial(F.group_norm, num_groups=1), (1, 2, 3)),
    "instance_norm": (F.instance_norm, (1, 2)),
}


@pytest.mark.parametrize("name", OVER_EXAMPLES)
def test_over_examples(name):
    function, axes = OVER_EXAMPLES[name]
    x, g = drawn()
    y, _, slope = oracle(x, g, axes)
    got, back = jax.vjp(jax.jit(function), jnp.asarray(x))
    np.testing.assert_allclose(got, y, atol=1e-3)
    np.testing.assert_allclose(
        back(jnp.asarray(g))[0], slope, atol=1e-4 * np.abs(slope).max()
    )


def norms(model):
    found = [node for _, node in nnx.iter_graph(model) if hasattr(node, "epsilon")]
    return [node for node in found if hasattr(node, "use_fast_variance")]


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet50_keras", "resnet20_cifar", "vgg11_bn", "googlenet"]
)
def test_no_network_takes_the_fast_variance(name):
    model = nnx.eval_shape(lambda: models.create(name, rngs=nnx.Rngs(0)))
    assert norms(model)
    assert not any(norm.use_fast_variance for norm in norms(model))

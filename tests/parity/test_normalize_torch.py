"""Normalisations against PyTorch, values and gradients, channels moved."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.functional._batch_norm import BatchStats, batch_norm
from jaxnets.functional._local_response_norm import local_response_norm
from jaxnets.functional._normalize import (
    group_norm,
    instance_norm,
    layer_norm,
    rms_norm,
)
from tests.helpers import assert_close

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch
F = torch.nn.functional


def both(ours, theirs, *arrays):
    """Compare outputs and the gradients of a weighted sum, float64."""
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    expected = theirs(*tensors)
    weights = np.random.default_rng(0).normal(size=expected.shape)
    (expected * torch.tensor(weights)).sum().backward()
    assert_close(ours(*arrays), expected.detach().numpy(), reduction=100)

    def loss(*arrays):
        return (ours(*arrays) * weights).sum()

    grads = jax.grad(loss, argnums=tuple(range(len(arrays))))(*arrays)
    for grad, tensor in zip(grads, tensors, strict=True):
        assert_close(grad, tensor.grad.numpy(), reduction=100)


def last(x):
    return jnp.moveaxis(x, 1, -1)


def first(x):
    return jnp.moveaxis(x, -1, 1)


@pytest.fixture
def arrays(rng, x64):
    return rng.normal(size=(3, 6, 4, 5)) + 2, rng.normal(size=6), rng.normal(size=6)


@pytest.mark.slow
def test_layer_norm(rng, x64):
    x, scale, bias = (rng.normal(size=s) for s in ((3, 4, 5), (4, 5), (4, 5)))
    both(
        lambda x, s, b: layer_norm(x, s, b, axis=(-2, -1)),
        lambda x, s, b: F.layer_norm(x, (4, 5), s, b),
        x,
        scale,
        bias,
    )


@pytest.mark.slow
def test_rms_norm(rng, x64):
    x, scale = rng.normal(size=(3, 5)), rng.normal(size=5)
    both(
        lambda x, s: rms_norm(x, s, epsilon=1e-6),
        lambda x, s: F.rms_norm(x, (5,), s, eps=1e-6),
        x,
        scale,
    )


@pytest.mark.slow
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_norm(arrays, groups):
    both(
        lambda x, s, b: first(group_norm(last(x), s, b, num_groups=groups)),
        lambda x, s, b: F.group_norm(x, groups, s, b),
        *arrays,
    )


def test_instance_norm(arrays):
    both(
        lambda x, s, b: first(instance_norm(last(x), s, b)),
        lambda x, s, b: F.instance_norm(x, weight=s, bias=b),
        *arrays,
    )


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_local_response_norm(arrays, size):
    options = {"size": size, "alpha": 0.3, "beta": 0.6, "k": 1.7}
    both(
        lambda x: first(local_response_norm(last(x), **options)),
        lambda x: F.local_response_norm(x, **options),
        arrays[0],
    )


@pytest.mark.slow
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm(arrays, rng, training):
    x, scale, bias = arrays
    mean, var = rng.normal(size=6), rng.uniform(1, 2, 6)
    running = [torch.tensor(a) for a in (mean, var)]
    stats = BatchStats(mean, var)

    def ours(x, s, b):
        y, _ = batch_norm(
            x, s, b, stats, training=training, momentum=0.7, axis=1, unbiased=True
        )
        return y

    def theirs(x, s, b):
        return F.batch_norm(x, *running, s, b, training=training, momentum=0.3)

    both(ours, theirs, *arrays)
    _, new = batch_norm(
        x, scale, bias, stats, training=training, momentum=0.7, axis=1, unbiased=True
    )
    assert_close(new.mean, running[0].numpy(), reduction=60)
    assert_close(new.var, running[1].numpy(), reduction=60)

"""One layer used twice in a model: one set of parameters wherever the model goes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxnets.functional._penalties import l2
from jaxnets.nn import Conv, Dense, GlobalAvgPool, freeze, penalty, summary


class Twice(nnx.Module):
    """The same convolution at two depths, the same dense layer under two names."""

    def __init__(self, seed, **options):
        rngs = nnx.Rngs(seed)
        self.conv = Conv(3, 3, (3,), activation=jnp.tanh, rngs=rngs, **options)
        self.body = nnx.Sequential(self.conv, self.conv, GlobalAvgPool())
        self.head = Dense(3, 3, rngs=rngs)
        self.tail = self.head

    def __call__(self, x):
        return self.tail(jnp.tanh(self.head(self.body(x))))


@pytest.fixture
def data(rng):
    shapes = (4, 6, 3), (4, 3)
    return tuple(jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes)


def unshared(model, kernels, biases, x):
    """The same function with a parameter of its own for every use."""

    def conv(x, kernel, bias):
        padded = jnp.pad(x, ((0, 0), (1, 1), (0, 0)))
        taps = jnp.stack([padded[:, i : i + 6] for i in range(3)])
        return jnp.tanh(jnp.einsum("tnpc,tco->npo", taps, kernel) + bias[None, None])

    for kernel, bias in zip(kernels[:2], biases[:2], strict=True):
        x = conv(x, kernel, bias)
    x = x.mean(1)
    x = jnp.tanh(x @ kernels[2] + biases[2][None])
    return x @ kernels[3] + biases[3][None]


@pytest.mark.slow
def test_gradient_is_the_sum_over_the_uses(data):
    x, y = data
    model = Twice(0)
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    params = nnx.to_pure_dict(params)
    assert len(jax.tree.leaves(params)) == 4
    merged = nnx.merge(graph, params, rest)
    assert merged.body.layers[0] is merged.conv
    assert merged.head is merged.tail
    grads = jax.jit(
        jax.grad(lambda p: ((nnx.merge(graph, p, rest)(x) - y) ** 2).sum())
    )(params)
    layers = [model.conv, model.conv, model.head, model.head]
    kernels = [layer.kernel[...] for layer in layers]
    biases = [layer.bias[...] for layer in layers]

    def loss(kernels, biases):
        return ((unshared(model, kernels, biases, x) - y) ** 2).sum()

    k, b = jax.grad(loss, argnums=(0, 1))(kernels, biases)
    (first, second) = (jax.tree.leaves(grads), [b[0] + b[1], k[0] + k[1]])
    second += [b[2] + b[3], k[2] + k[3]]
    for got, expected in zip(first, second, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_optimizer_moves_the_one_set(data):
    x, y = data
    model = Twice(0)
    before = float(((model(x) - y) ** 2).mean())
    optimizer = nnx.Optimizer(model, freeze(model, optax.adam(0.05)), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        grads = nnx.grad(lambda model: ((model(x) - y) ** 2).mean())(model)
        optimizer.update(model, grads)

    for _ in range(20):
        step(model, optimizer)
    assert model.head is model.tail
    assert model.body.layers[1].kernel is model.conv.kernel
    assert float(((model(x) - y) ** 2).mean()) < 0.7 * before


def test_pure_dict_round_trip_through_a_file(data, tmp_path):
    x, _ = data
    model = Twice(0)
    params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    leaves, tree = jax.tree.flatten(params)
    np.savez(tmp_path / "model.npz", *leaves)
    with np.load(tmp_path / "model.npz") as stored:
        arrays = [jnp.asarray(stored[name]) for name in stored.files]
    other = Twice(1)
    assert not np.allclose(other(x), model(x))
    nnx.update(other, jax.tree.unflatten(tree, arrays))
    assert other.head is other.tail
    np.testing.assert_array_equal(other(x), model(x))


def test_penalty_and_summary_count_once(data):
    half = functools.partial(l2, strength=0.5)
    model = Twice(0, kernel_regularizer=half)
    expected = 0.5 * float((np.asarray(model.conv.kernel[...], np.float64) ** 2).sum())
    np.testing.assert_allclose(penalty(model), expected, rtol=1e-6)
    table = summary(model, data[0])
    assert table.parameters == (3 * 3 * 3 + 3) + (3 * 3 + 3)
    convs = [layer for layer in table.layers if layer.kind == "Conv"]
    assert [(c.parameters, c.shared) for c in convs] == [(30, False), (0, True)]
    assert table.flops == 2 * 2 * 4 * 6 * 3 * 9 + 2 * 2 * 4 * 3 * 3

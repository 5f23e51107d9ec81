"""Networks to be filled with weights, made and run without waiting for compilers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnets.interop import load_safetensors
from jaxnets.nn import Conv


def blank(make):
    """The network that `make(rngs=...)` makes, ready to predict, every number a NaN.

    Nothing is drawn, and what a test forgets to fill shows. Convolutions go to XLA,
    which compiles them several times faster than it does the other algorithms.
    """

    def fill(leaf):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.key(0)
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            return jnp.asarray(np.full(leaf.shape, np.nan), leaf.dtype)
        return jnp.zeros(leaf.shape, leaf.dtype)

    graph, state = nnx.split(nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0))))
    model = nnx.merge(graph, jax.tree.map(fill, state))
    for _, node in nnx.iter_graph(model):
        if isinstance(node, Conv):
            node.algorithm = "direct"
    model.eval()
    return model


def draw(model, rng):
    """Fill a network with numbers that keep the size of signals."""
    for path, variable in nnx.iter_graph(model):
        if not isinstance(variable, nnx.Param | nnx.BatchStat):
            continue
        value = 0.2 * rng.normal(size=variable.shape)
        if path[-1] == "kernel":
            fan_in = max(np.prod(variable.shape[:-1]), 1)
            value *= 5 * np.sqrt(2 / fan_in)
        elif path[-1] in ("scale", "var"):
            value = np.exp(value)
        variable.set_value(jnp.asarray(value, variable.dtype))
    return model


def run(model, x, *, method="__call__"):
    """What the network gives, compiled as one."""
    graph, state = nnx.split(model)
    call = jax.jit(lambda state, x: getattr(nnx.merge(graph, state), method)(x))
    return call(state, jnp.asarray(x))


def values(model):
    """Every parameter and statistic by its path, on the host."""
    return {
        ".".join(map(str, path)): np.asarray(variable[...])
        for path, variable in nnx.iter_graph(model)
        if isinstance(variable, nnx.Param | nnx.BatchStat)
    }


def assert_logits(got, wanted):
    """Equal to 1e-4 of the largest logit, and the logits are no zeros."""
    wanted = np.asarray(wanted)
    assert got.shape == wanted.shape and np.abs(wanted).max() > 0.05
    assert np.abs(np.asarray(got) - wanted).max() <= 1e-4 * np.abs(wanted).max()


def assert_same(one, other):
    """Every parameter and statistic is the same number."""
    assert values(one).keys() == values(other).keys()
    for name, value in values(one).items():
        np.testing.assert_array_equal(values(other)[name], value, name)


def refused(path, match, *, make, error=ValueError, **options):
    """The error, after which no number of the model has changed."""
    model = blank(make)
    with pytest.raises(error, match=match) as caught:
        load_safetensors(model, path, **options)
    assert all(np.isnan(value).all() for value in values(model).values())
    return str(caught.value)

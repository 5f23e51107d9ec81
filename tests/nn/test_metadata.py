"""Regularizers that parameters carry: penalty and annotate, on stock Flax layers."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnets.functional._penalties import l1, l2
from jaxnets.nn import ActivityPenalty, annotate, penalty

HALF_L2 = functools.partial(l2, strength=0.5)


class Shared(nnx.Module):
    """One layer under two names, one layer of its own in a list."""

    def __init__(self, rngs, **metadata):
        self.first = nnx.Linear(3, 3, kernel_metadata=metadata, rngs=rngs)
        self.second = self.first
        self.layers = nnx.List(
            [nnx.Linear(3, 2, rngs=rngs, bias_init=nnx.initializers.normal())]
        )

    def __call__(self, x):
        return self.layers[0](self.second(jnp.tanh(self.first(x))))


def squares(variable):
    return (np.asarray(variable[...], np.float64) ** 2).sum()


def test_penalty_counts_a_shared_parameter_once():
    model = Shared(nnx.Rngs(0), regularizer=HALF_L2)
    expected = 0.5 * squares(model.first.kernel)
    np.testing.assert_allclose(penalty(model), expected, rtol=1e-6)
    annotate(model.layers[0].bias, regularizer=functools.partial(l1, strength=2.0))
    expected += 2 * np.abs(model.layers[0].bias[...]).sum()
    np.testing.assert_allclose(penalty(model), expected, rtol=1e-6)


def test_no_penalty_is_a_float32_zero():
    got = penalty(Shared(nnx.Rngs(0)))
    assert got.dtype == jnp.float32
    assert got.shape == ()
    assert float(got) == 0


def test_annotate_a_whole_module_and_frozen_parameters():
    model = Shared(nnx.Rngs(0))
    annotate(model, regularizer=HALF_L2)
    everything = [model.first.kernel, model.first.bias]
    everything += [model.layers[0].kernel, model.layers[0].bias]
    expected = 0.5 * sum(squares(v) for v in everything)
    np.testing.assert_allclose(penalty(model), expected, rtol=1e-6)
    annotate(model.first, trainable=False)
    expected = 0.5 * sum(squares(v) for v in everything[2:])
    np.testing.assert_allclose(penalty(model), expected, rtol=1e-6)
    annotate(model.first, trainable=True)
    expected = 0.5 * sum(squares(v) for v in everything)
    np.testing.assert_allclose(penalty(model), expected, rtol=1e-6)


def test_gradient_reaches_the_parameters_through_split_and_merge():
    model = Shared(nnx.Rngs(0), regularizer=HALF_L2)
    graph, params = nnx.split(model, nnx.Param)
    pure = nnx.to_pure_dict(params)
    grads = jax.jit(jax.grad(lambda p: penalty(nnx.merge(graph, p))))(pure)
    np.testing.assert_allclose(grads["first"]["kernel"], model.first.kernel[...])
    np.testing.assert_array_equal(grads["layers"][0]["kernel"], 0)
    stock = nnx.grad(penalty)(model)
    np.testing.assert_allclose(stock["first"]["kernel"][...], model.first.kernel[...])


def test_half_parameters_are_summed_in_float32():
    model = nnx.Linear(
        100,
        100,
        kernel_init=nnx.initializers.constant(10.0),
        param_dtype=jnp.float16,
        kernel_metadata={"regularizer": functools.partial(l2, strength=1.0)},
        rngs=nnx.Rngs(0),
    )
    got = penalty(model)
    assert got.dtype == jnp.float32
    assert float(got) == 1e6


def test_double_parameters_stay_double(x64):
    model = nnx.Linear(3, 2, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    annotate(model.kernel, regularizer=HALF_L2)
    model.activity = ActivityPenalty(jnp.asarray(0.25, jnp.float32))
    assert penalty(model).dtype == jnp.float64
    expected = 0.5 * squares(model.kernel) + 0.25
    np.testing.assert_allclose(penalty(model), expected, rtol=1e-14)


def test_errors():
    layer = nnx.Linear(2, 2, rngs=nnx.Rngs(0))
    # The type checks of the test suite stand before the function's own.
    unchecked = inspect.unwrap(annotate)
    for name in ("regularizer", "constraint"):
        message = rf"annotate: {name} must be a function of an array; got 0.1"
        with pytest.raises(TypeError, match=message):
            unchecked(layer.kernel, **{name: 0.1})
    with pytest.raises(TypeError, match="annotate: trainable must be a bool; got 0"):
        unchecked(layer.kernel, trainable=0)
    annotate(layer.kernel, regularizer=jnp.abs)
    message = (
        r"penalty: a regularizer must .* of kernel returned shape \(2, 2\) \(sum it"
    )
    with pytest.raises(ValueError, match=message):
        penalty(layer)

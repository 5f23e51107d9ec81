"""Pool modules inside nnx.Sequential, against windows taken by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnets import nn
from tests.helpers import assert_close


def windows(x):
    """The 2×3 windows, side by side, of a `(N, 4, 6, C)` array; cells in axis 3."""
    n, _, _, c = x.shape
    split = x.reshape(n, 2, 2, 2, 3, c).transpose(0, 1, 3, 2, 4, 5)
    return split.reshape(n, 2, 2, 6, c)


def reduced(reduce, axis):
    return lambda x: reduce(windows(x) if axis == 3 else x, axis)


def power(x, axis):
    return (abs(x) ** 3).sum(axis) ** (1 / 3)


CASES = {
    "MaxPool": (nn.MaxPool((2, 3)), reduced(np.max, 3)),
    "MinPool": (nn.MinPool([2, 3]), reduced(np.min, 3)),
    "SumPool": (nn.SumPool((2, 3)), reduced(np.sum, 3)),
    "AvgPool": (nn.AvgPool((2, 3)), reduced(np.mean, 3)),
    "AvgPool by 4": (
        nn.AvgPool((2, 3), divisor_override=4),
        lambda x: windows(x).sum(3) / 4,
    ),
    "LpPool": (nn.LpPool((2, 3), p=3), reduced(power, 3)),
    "GlobalAvgPool": (nn.GlobalAvgPool(), reduced(np.mean, (1, 2))),
    "GlobalMaxPool": (nn.GlobalMaxPool(), reduced(np.max, (1, 2))),
    "GlobalMinPool": (nn.GlobalMinPool(), reduced(np.min, (1, 2))),
    "GlobalSumPool": (nn.GlobalSumPool(), reduced(np.sum, (1, 2))),
    "GlobalLpPool": (nn.GlobalLpPool(p=3), reduced(power, (1, 2))),
    "GlobalAvgPool of one axis": (
        nn.GlobalAvgPool(spatial_ndim=1, keepdims=True),
        lambda x: x.mean(2, keepdims=True),
    ),
    "AdaptiveAvgPool": (nn.AdaptiveAvgPool((2, 2)), reduced(np.mean, 3)),
    "AdaptiveMaxPool": (nn.AdaptiveMaxPool([2, 2]), reduced(np.max, 3)),
    "Flatten": (nn.Flatten(), lambda x: x.reshape(len(x), -1)),
    "Flatten of two": (nn.Flatten(batch_ndim=2), lambda x: x.reshape(2, 4, -1)),
}


@pytest.mark.parametrize("name", CASES)
def test_in_a_sequential_model(rng, name):
    module, oracle = CASES[name]
    x = rng.normal(size=(2, 4, 6, 3)).astype(np.float32)
    model = nnx.Sequential(jnp.negative, module)
    expected = oracle(-x.astype(np.float64))
    assert_close(model(x), expected, dtype="float32", reduction=24)
    jitted = nnx.jit(lambda model, x: model(x))
    assert_close(jitted(model, x), expected, dtype="float32", reduction=24)


@pytest.mark.parametrize("name", CASES)
def test_without_parameters_and_with_a_hash(name):
    graph, state = nnx.split(CASES[name][0])
    assert not jax.tree.leaves(state)
    assert hash(graph) == hash(nnx.graphdef(nnx.clone(CASES[name][0])))


def test_options_reach_the_function(rng):
    x = rng.normal(size=(1, 5, 2)).astype(np.float32)
    wide = np.pad(x, ((0, 0), (1, 1), (0, 0)), constant_values=-np.inf)
    expected = np.stack([np.maximum(wide[:, i], wide[:, i + 2]) for i in (0, 3)], 1)
    module = nn.MaxPool((2,), strides=3, padding=[(1, 1)], dilation=2)
    assert_close(module(x), expected)
    first = nn.MaxPool(
        (2,), strides=3, padding=1, dilation=2, data_format="channels_first"
    )
    assert_close(first(np.moveaxis(x, -1, 1)), np.moveaxis(expected, -1, 1))
    padded = np.pad(x, ((0, 0), (1, 1), (0, 0)))[:, :6].reshape(1, 3, 2, 2)
    expected = padded.sum(2) / np.asarray([1, 2, 2])[:, None]
    module = nn.AvgPool((2,), padding=[(1, 0)], count_include_pad=False)
    assert_close(module(x), expected.astype(np.float32), reduction=2)
    ceil = nn.SumPool((2,), ceil_mode=True)
    assert_close(ceil(x)[:, 2], x[:, 4])
    assert ceil(x).shape == (1, 3, 2)


def test_errors():
    x = np.zeros((1, 5, 2), np.float32)
    with pytest.raises(TypeError, match="stride"):
        nn.AvgPool((2,), stride=1)
    with pytest.raises(ValueError, match=r"^max_pool: .*window"):
        nn.MaxPool((0,))(x)
    with pytest.raises(ValueError, match="Flatten: batch_ndim must be at least 0"):
        nn.Flatten(batch_ndim=-1)
    with pytest.raises(ValueError, match="Flatten: x must have at least 4 axes"):
        nn.Flatten(batch_ndim=4)(x)

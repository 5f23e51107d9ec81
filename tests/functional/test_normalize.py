"""Normalisations against NumPy loops written from the papers' formulas."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxnets.functional._batch_norm import BatchStats, batch_norm
from jaxnets.functional._local_response_norm import local_response_norm
from jaxnets.functional._normalize import (
    group_norm,
    instance_norm,
    layer_norm,
    rms_norm,
)
from tests.functional.norm_oracles import (
    CASES,
    EPS,
    in_groups,
    response,
    standardise,
)
from tests.helpers import assert_close


@pytest.fixture
def arrays(rng):
    x = rng.normal(size=(2, 3, 4, 6)) * 2 + 1
    return x, rng.normal(size=6), rng.normal(size=6)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_values(arrays, name, dtype):
    function, oracle = CASES[name]
    args = [jnp.asarray(a, dtype) for a in arrays]
    expected = oracle(*(np.asarray(a, np.float64) for a in args))
    with jax.numpy_dtype_promotion("strict"):
        got = jax.jit(function)(*args)
    assert_close(got, expected, dtype=dtype, reduction=24)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_float64_and_derivatives(arrays, x64, name):
    function, oracle = CASES[name]
    assert_close(function(*arrays), oracle(*arrays), reduction=24)
    check_grads(function, arrays, order=2, modes=["fwd", "rev"])


@pytest.mark.parametrize("name", ["layer", "group", "instance"])
def test_a_large_mean_does_not_cancel(rng, name):
    # mean(x²) − mean² would lose the variance: 1e4² has 8 digits, float32 has 7.
    x = (rng.normal(size=(2, 5, 6)) + 1e4).astype(np.float32)
    function, oracle = CASES[name]
    one, zero = np.ones(6, np.float32), np.zeros(6, np.float32)
    expected = oracle(x.astype(np.float64), one, zero)
    # The mean itself is rounded to 1e-3 at 1e4.
    assert_close(function(x, one, zero), expected, dtype="float32", tol=2e-3)


def test_several_axes_and_no_parameters(rng, x64):
    x, scale, bias = (rng.normal(size=s) for s in ((3, 4, 5), (3, 5), (3, 5)))
    expected = np.empty_like(x)
    for j in range(4):
        expected[:, j] = standardise(x[:, j]) * scale + bias
    for axis in ((0, 2), (-1, 0)):
        got = layer_norm(x, scale, bias, axis=axis, epsilon=EPS)
        assert_close(got, expected, reduction=15)
    root = np.sqrt((x**2).mean((0, 2), keepdims=True) + EPS)
    assert_close(rms_norm(x, axis=(0, 2), epsilon=EPS), x / root, reduction=15)
    y = group_norm(x, num_groups=5, epsilon=EPS)
    assert_close(y, instance_norm(x, epsilon=EPS), reduction=4)


def test_spatial_ndim_says_which_axes_are_batch(arrays, x64):
    x = arrays[0]
    for example, y in zip(x, group_norm(x, num_groups=3, epsilon=EPS), strict=True):
        got = group_norm(example, num_groups=3, spatial_ndim=2, epsilon=EPS)
        assert_close(got, y, reduction=24)
    got = instance_norm(x, spatial_ndim=1, epsilon=EPS)
    rows = in_groups(x.reshape(6, 4, 6), 6).reshape(x.shape)
    assert_close(got, rows, reduction=4)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 30])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_local_response_norm(rng, size, dtype):
    x = jnp.asarray(rng.normal(size=(2, 3, 7)), dtype)
    options = {"size": size, "alpha": 0.9, "beta": 0.6, "k": 1.5}
    with jax.numpy_dtype_promotion("strict"):
        got = local_response_norm(x, **options)
    expected = response(np.asarray(x, np.float64), **options)
    assert_close(got, expected, dtype=dtype, reduction=size)


@pytest.mark.slow
def test_local_response_norm_defaults_and_derivatives(rng, x64):
    x = 30 * rng.normal(size=(2, 7))
    expected = response(x, 5, 1e-4, 0.75, 1.0)
    assert_close(local_response_norm(x, size=5), expected)
    f = functools.partial(local_response_norm, size=4, alpha=0.9)
    check_grads(f, (x / 30,), order=2, modes=["fwd", "rev"])
    assert np.isfinite(jax.grad(lambda x: f(x).sum())(0 * x)).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CASES, "batch", "response"])
def test_transforms_agree(arrays, name):
    x, scale, bias = (a.astype(np.float32) for a in arrays)
    stats = BatchStats(np.zeros(6, np.float32), np.ones(6, np.float32))

    def f(x):
        match name:
            case "batch":
                return batch_norm(x, scale, bias, stats, training=True)[0]
            case "response":
                return local_response_norm(x, size=3, alpha=0.5)
            case _:
                return CASES[name][0](x, scale, bias)

    many = jnp.stack([jnp.asarray(x), x[::-1] * 2, x + 1])
    one_by_one = jnp.stack([f(one) for one in many])
    assert_close(jax.vmap(f)(many), one_by_one, reduction=24)
    scanned = jax.lax.scan(lambda c, one: (c, f(one)), 0.0, many)[1]
    assert_close(scanned, one_by_one, reduction=24)
    grad = jax.grad(lambda x: (f(x) ** 3).sum())(x)
    again = jax.grad(lambda x: (jax.checkpoint(f)(x) ** 3).sum())(x)
    assert_close(again, grad, reduction=144)


def test_errors(arrays):
    x, scale, bias = (a.astype(np.float32) for a in arrays)
    stats = BatchStats(np.zeros(6, np.float32), np.ones(6, np.float32))
    whole = np.ones((2, 6), np.int32)

    def batch(x=x, scale=scale, bias=bias, stats=stats, training=True, **options):
        return batch_norm(x, scale, bias, stats, training=training, **options)

    for name, call in {
        "layer_norm": lambda: layer_norm(whole),
        "rms_norm": lambda: rms_norm(whole),
        "group_norm": lambda: group_norm(whole, num_groups=1),
        "instance_norm": lambda: instance_norm(whole),
        "batch_norm": lambda: batch(whole),
        "local_response_norm": lambda: local_response_norm(whole, size=3),
    }.items():
        with pytest.raises(TypeError, match=f"^{name}: x must be floating; got int32"):
            call()
    for message, call in {
        r"layer_norm: axis 4 does not exist in an array of 4": lambda: layer_norm(
            x, axis=4
        ),
        r"layer_norm: axis must name one or more different.*got \(3, -1\)": (
            lambda: layer_norm(x, axis=(3, -1))
        ),
        r"layer_norm: scale must have shape \(6,\).*got \(5,\)": lambda: layer_norm(
            x, scale[:5]
        ),
        r"rms_norm: scale must have shape \(6,\)": lambda: rms_norm(x, scale[:5]),
        r"group_norm: num_groups must divide.*4 groups for 6": lambda: group_norm(
            x, num_groups=4
        ),
        r"group_norm: num_groups must be at least 1": lambda: group_norm(
            x, num_groups=0
        ),
        r"group_norm: bias must have shape \(6,\)": lambda: group_norm(
            x, scale, bias[:1], num_groups=2
        ),
        r"instance_norm: x must have at least one spatial": lambda: instance_norm(
            x[0, 0]
        ),
        r"instance_norm: x must have at least 6 axes": lambda: instance_norm(
            x, spatial_ndim=5
        ),
        r"batch_norm: stats.mean must have shape \(3,\)": lambda: batch(axis=1),
        r"batch_norm: scale must have shape \(6,\)": lambda: batch(scale=scale[:2]),
        r"batch_norm: mask must have 4 axes.*mask.shape=\(2,\)": lambda: batch(
            mask=np.ones(2, bool)
        ),
        r"batch_norm: mask .*mask.shape=\(3, 1, 1, 1\)": lambda: batch(
            mask=np.ones((3, 1, 1, 1), bool)
        ),
        r"batch_norm: unbiased needs at least 2 values": lambda: batch(
            x[:1, 0, 0], unbiased=True
        ),
        r"local_response_norm: size must be at least 1": lambda: local_response_norm(
            x, size=0
        ),
        r"local_response_norm: x must have at least 1 axes": (
            lambda: local_response_norm(np.float32(1), size=3)
        ),
    }.items():
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match="batch_norm: mask must be boolean; got int32"):
        batch(mask=np.ones((2, 1, 1, 1), np.int32))

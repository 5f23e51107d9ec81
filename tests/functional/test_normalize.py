"""Normalisations against NumPy loops written from the papers' formulas."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec
from jax.test_util import check_grads

from jaxnets.functional._batch_norm import BatchStats, batch_norm
from jaxnets.functional._local_response_norm import local_response_norm
from jaxnets.functional._normalize import (
    group_norm,
    instance_norm,
    layer_norm,
    rms_norm,
)
from tests.helpers import assert_close

EPS = 1e-3


def standardise(values):
    return (values - values.mean()) / np.sqrt(values.var() + EPS)


def in_groups(x, groups):
    """Normalise each example and group of channels of a `(N, *spatial, C)` array."""
    y = np.empty_like(x)
    width = x.shape[-1] // groups
    for n in range(len(x)):
        for first in range(0, x.shape[-1], width):
            part = (n, ..., slice(first, first + width))
            y[part] = standardise(x[part])
    return y


def over_batch(x, keep=None):
    y = np.empty_like(x)
    keep = np.ones(x.shape, bool) if keep is None else np.broadcast_to(keep, x.shape)
    mean, var = np.empty(x.shape[-1]), np.empty(x.shape[-1])
    for c in range(x.shape[-1]):
        chosen = x[..., c][keep[..., c]]
        mean[c], var[c] = chosen.mean(), chosen.var()
        y[..., c] = (x[..., c] - mean[c]) / np.sqrt(var[c] + EPS)
    return y, mean, var


def response(x, size, alpha, beta, k):
    y = np.empty_like(x)
    for c in range(x.shape[-1]):
        low, high = max(c - size // 2, 0), c + (size - 1) // 2 + 1
        energy = (x[..., low:high] ** 2).sum(-1)
        y[..., c] = x[..., c] / (k + alpha / size * energy) ** beta
    return y


def layer_oracle(x, scale, bias):
    y = np.empty_like(x)
    for index in np.ndindex(*x.shape[:-1]):
        y[index] = standardise(x[index])
    return y * scale + bias


CASES = {
    "layer": (functools.partial(layer_norm, epsilon=EPS), layer_oracle),
    "group": (
        functools.partial(group_norm, num_groups=3, epsilon=EPS),
        lambda x, scale, bias: in_groups(x, 3) * scale + bias,
    ),
    "instance": (
        functools.partial(instance_norm, epsilon=EPS),
        lambda x, scale, bias: in_groups(x, 6) * scale + bias,
    ),
    "rms": (
        lambda x, scale, bias: rms_norm(x, scale, epsilon=EPS),
        lambda x, scale, bias: (
            x / np.sqrt((x**2).mean(-1, keepdims=True) + EPS) * scale
        ),
    ),
}


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


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("unbiased", [False, True])
def test_batch_norm_in_training(arrays, rng, dtype, unbiased):
    x, scale, bias = (jnp.asarray(a, dtype) for a in arrays)
    old = rng.normal(size=6), rng.uniform(1, 2, 6)
    stats = BatchStats(*(a.astype(np.float32) for a in old))
    with jax.numpy_dtype_promotion("strict"):
        y, new = batch_norm(
            x, scale, bias, stats, training=True, epsilon=EPS, momentum=0.8,
            unbiased=unbiased,
        )  # fmt: skip
    wide = [np.asarray(a, np.float64) for a in (x, scale, bias)]
    normalised, mean, var = over_batch(wide[0])
    assert_close(y, normalised * wide[1] + wide[2], dtype=dtype, reduction=24)
    var = var * 24 / 23 if unbiased else var
    assert_close(new.mean, 0.8 * old[0] + 0.2 * mean, dtype="float32", reduction=24)
    assert_close(new.var, 0.8 * old[1] + 0.2 * var, dtype="float32", reduction=24)


def test_batch_norm_in_evaluation(arrays, rng, x64):
    x, scale, bias = arrays
    stats = BatchStats(rng.normal(size=6), rng.uniform(1, 2, 6))
    y, new = batch_norm(x, scale, bias, stats, training=False, epsilon=EPS)
    expected = (x - stats.mean) / np.sqrt(stats.var + EPS) * scale + bias
    assert_close(y, expected)
    np.testing.assert_array_equal(new.mean, stats.mean)
    np.testing.assert_array_equal(new.var, stats.var)


def test_batch_norm_over_other_axes(arrays, x64):
    x = arrays[0]
    stats = BatchStats(np.zeros(3), np.ones(3))
    y, new = batch_norm(
        x, None, None, stats, training=True, axis=1, momentum=0.0, epsilon=EPS
    )
    expected, mean, var = over_batch(np.moveaxis(x, 1, -1))
    assert_close(y, np.moveaxis(expected, -1, 1), reduction=48)
    assert_close(new, BatchStats(mean, var), reduction=48)
    stats = BatchStats(np.zeros((3, 4, 6)), np.ones((3, 4, 6)))
    y, new = batch_norm(
        x, None, None, stats, training=True, axis=(1, 2, -1), momentum=0.0, epsilon=EPS
    )
    assert_close(y, (x - x.mean(0)) / np.sqrt(x.var(0) + EPS))
    assert_close(new, BatchStats(x.mean(0), x.var(0)))


def test_batch_norm_derivatives_go_through_the_moments(arrays, x64):
    stats = BatchStats(np.zeros(6), np.ones(6))

    def f(x, scale, bias):
        return batch_norm(x, scale, bias, stats, training=True, epsilon=EPS)[0]

    check_grads(f, arrays, order=2, modes=["fwd", "rev"])
    # A shift of a whole feature changes nothing.
    _, tangent = jax.jvp(
        lambda x: f(x, *arrays[1:]), arrays[:1], (np.ones((2, 3, 4, 6)),)
    )
    np.testing.assert_allclose(tangent, 0, atol=1e-12)


def test_batch_norm_mask(arrays, x64):
    x, scale, bias = arrays
    x[1] = np.nan_to_num(np.inf)  # the padded example holds rubbish
    mask = np.asarray([True, False]).reshape(2, 1, 1, 1)
    stats = BatchStats(np.zeros(6), np.ones(6))
    y, new = batch_norm(
        x, scale, bias, stats, training=True, mask=mask, momentum=0.0, epsilon=EPS
    )
    expected, mean, var = over_batch(x[:1])
    assert_close(y[:1], expected * scale + bias, reduction=12)
    assert_close(new, BatchStats(mean, var), reduction=12)
    nothing = batch_norm(
        x, scale, bias, stats, training=True, mask=np.zeros((2, 1, 1, 1), bool)
    )[1]
    assert_close(nothing, stats)


def test_batch_norm_over_devices_with_unequal_shares(arrays, rng):
    """Four devices with 3, 1, 0 and 2 valid examples are one batch of 6."""
    x = rng.normal(size=(12, 5, 6)).astype(np.float32)
    valid = np.zeros(12, bool)
    valid[[0, 1, 2, 4, 9, 11]] = True
    mask = valid.reshape(12, 1, 1)
    stats = BatchStats(np.zeros(6, np.float32), np.ones(6, np.float32))
    run = functools.partial(
        batch_norm, training=True, unbiased=True, momentum=0.0, epsilon=EPS
    )
    expected, mean, var = over_batch(x[valid].astype(np.float64))

    def check(y, new):
        assert_close(y.reshape(x.shape)[valid], expected, dtype="float32", reduction=30)
        want = BatchStats(mean, var * 30 / 29)
        assert_close(new, want, dtype="float32", reduction=30)

    mesh = Mesh(np.asarray(jax.devices()[:4]), ("data",))
    split, whole = PartitionSpec("data"), PartitionSpec()
    sharded = jax.shard_map(
        lambda x, mask: run(x, None, None, stats, mask=mask, axis_name="data"),
        mesh=mesh,
        in_specs=split,
        out_specs=(split, whole),
    )
    check(*jax.jit(sharded)(x, mask))
    mapped = jax.vmap(
        lambda x, mask: run(x, None, None, stats, mask=mask, axis_name="batch"),
        axis_name="batch",
    )
    y, new = mapped(x.reshape(4, 3, 5, 6), mask.reshape(4, 3, 1, 1))
    check(y, jax.tree.map(lambda a: a[2], new))

    def loss(x, function):
        return (function(x)[0] ** 3 * mask).sum()

    grad = jax.jit(jax.grad(loss), static_argnums=1)
    one = grad(x, lambda x: run(x, None, None, stats, mask=mask))
    many = grad(x, lambda x: sharded(x, mask))
    assert_close(many, one, reduction=30)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 30])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_local_response_norm(rng, size, dtype):
    x = jnp.asarray(rng.normal(size=(2, 3, 7)), dtype)
    options = {"size": size, "alpha": 0.9, "beta": 0.6, "k": 1.5}
    with jax.numpy_dtype_promotion("strict"):
        got = local_response_norm(x, **options)
    expected = response(np.asarray(x, np.float64), **options)
    assert_close(got, expected, dtype=dtype, reduction=size)


def test_local_response_norm_defaults_and_derivatives(rng, x64):
    x = 30 * rng.normal(size=(2, 7))
    expected = response(x, 5, 1e-4, 0.75, 1.0)
    assert_close(local_response_norm(x, size=5), expected)
    f = functools.partial(local_response_norm, size=4, alpha=0.9)
    check_grads(f, (x / 30,), order=2, modes=["fwd", "rev"])
    assert np.isfinite(jax.grad(lambda x: f(x).sum())(0 * x)).all()


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

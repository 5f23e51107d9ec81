"""dropout: both values, the share kept, axes kept together, transforms, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.functional._dropout import dropout, spatial_dropout
from tests.helpers import EPSILON


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("keep_prob", [0.1, 0.5, 0.9])
def test_entries_are_zero_or_scaled(rng, dtype, keep_prob):
    x = jnp.asarray(rng.uniform(1, 2, (50, 40)), dtype)
    y = dropout(jax.random.key(3), x, keep_prob=keep_prob)
    assert y.dtype == x.dtype
    kept = np.asarray(y != 0)
    scaled = np.asarray(x, np.float64) / keep_prob
    # Rounded once: half a unit in the last place.
    np.testing.assert_allclose(
        np.asarray(y, np.float64)[kept], scaled[kept], rtol=EPSILON[dtype]
    )
    # 2000 draws: five standard deviations.
    allowed = 5 * (keep_prob * (1 - keep_prob) / kept.size) ** 0.5
    assert abs(kept.mean() - keep_prob) < allowed


def test_rows_and_columns_are_independent():
    y = dropout(jax.random.key(1), np.ones((200, 200), np.float32), keep_prob=0.5)
    kept = np.asarray(y != 0, np.float64) - 0.5
    for axis in (0, 1):
        neighbours = (np.roll(kept, 1, axis) * kept).mean() / 0.25
        assert abs(neighbours) < 5 / 200
    other = dropout(jax.random.key(2), np.ones((200, 200), np.float32), keep_prob=0.5)
    assert abs(((np.asarray(other) != 0) - 0.5) * kept).mean() <= 0.25
    assert abs((((np.asarray(other) != 0) - 0.5) * kept).mean() / 0.25) < 5 / 200


def test_one_is_the_identity_static_and_traced(rng):
    x = jnp.asarray(rng.normal(size=(4, 3)), jnp.float32)
    key = jax.random.key(0)
    np.testing.assert_array_equal(dropout(key, x, keep_prob=1), x)
    traced = jax.jit(lambda p: dropout(key, x, keep_prob=p))
    np.testing.assert_array_equal(traced(1.0), x)
    np.testing.assert_array_equal(traced(0.5), dropout(key, x, keep_prob=0.5))


def test_same_entries_with_64_bit_types(x64):
    key = jax.random.key(0)
    with jax.enable_x64(False):
        narrow = dropout(key, jnp.ones(1000, jnp.float32), keep_prob=0.7)
    wide = dropout(key, jnp.ones(1000, jnp.float64), keep_prob=0.7)
    assert wide.dtype == jnp.float64
    np.testing.assert_array_equal(narrow != 0, wide != 0)
    assert float(wide.max()) == 1 / 0.7


@pytest.mark.parametrize("axes", [(0,), (-1,), (0, 2)])
def test_broadcast_axes(axes):
    x = np.ones((4, 30, 5), np.float32)
    y = np.asarray(dropout(jax.random.key(0), x, keep_prob=0.5, broadcast_axes=axes))
    first = np.take(np.take(y, [0], axes[0]), [0], axes[-1])
    np.testing.assert_array_equal(y, np.broadcast_to(first, y.shape))
    rest = tuple({0, 1, 2} - {axis % 3 for axis in axes})
    assert all(len(np.unique(np.take(y, 0, axes[0]))) == 2 for _ in rest)


def test_spatial_dropout_drops_whole_channels(rng):
    x = jnp.asarray(rng.uniform(1, 2, (20, 4, 5, 8)), jnp.float32)
    y = np.asarray(spatial_dropout(jax.random.key(0), x, keep_prob=0.25))
    kept = (y != 0).any((1, 2))
    np.testing.assert_array_equal(y, np.where(kept[:, None, None], 4 * x, 0))
    assert abs(kept.mean() - 0.25) < 5 * (0.25 * 0.75 / kept.size) ** 0.5
    # Examples and channels are drawn apart.
    assert len(np.unique(kept, axis=0)) > 10
    assert len(np.unique(kept, axis=1)) > 5


def test_spatial_ndim_says_which_axes_are_batch():
    x = np.ones((3, 4, 6, 50), np.float32)
    y = np.asarray(spatial_dropout(jax.random.key(0), x, keep_prob=0.5, spatial_ndim=1))
    np.testing.assert_array_equal(y, np.broadcast_to(y[:, :, :1], y.shape))
    assert not (y == y[:, :1]).all()


def test_gradient_is_the_mask(rng):
    x = jnp.asarray(rng.normal(size=(6, 7)), jnp.float32)
    key = jax.random.key(5)

    def f(x):
        return dropout(key, x, keep_prob=0.4)

    mask = np.where(f(jnp.ones_like(x)) != 0, 1 / 0.4, 0)
    grad = jax.grad(lambda x: (f(x) * x).sum())(x)
    np.testing.assert_allclose(grad, 2 * mask * np.asarray(x), rtol=1e-6)
    _, tangent = jax.jvp(f, (x,), (2 * x,))
    np.testing.assert_allclose(tangent, 2 * mask * np.asarray(x), rtol=1e-6)


def test_vmap_over_keys(rng):
    keys = jax.random.split(jax.random.key(0), 3)
    x = jnp.asarray(rng.normal(size=(8,)), jnp.float32)
    together = jax.vmap(lambda key: dropout(key, x, keep_prob=0.5))(keys)
    apart = [dropout(key, x, keep_prob=0.5) for key in keys]
    np.testing.assert_array_equal(together, np.stack(apart))


@pytest.mark.parametrize("keep_prob", [0, -0.5, 1.5, float("nan"), np.ones(3)])
def test_keep_prob_out_of_range(keep_prob):
    x = np.ones(3, np.float32)
    message = r"dropout: keep_prob must be a number in \(0, 1\]; got .*rate to drop"
    with pytest.raises(ValueError, match=message):
        dropout(jax.random.key(0), x, keep_prob=keep_prob)


def test_other_errors():
    key = jax.random.key(0)
    with pytest.raises(TypeError, match=r"dropout: x must be floating.*got int32"):
        dropout(key, np.ones(3, np.int32), keep_prob=0.5)
    with pytest.raises(ValueError, match="dropout: axis 2 does not exist in an array"):
        x = np.ones((3, 3), np.float32)
        dropout(key, x, keep_prob=0.5, broadcast_axes=(2,))
    with pytest.raises(
        ValueError, match="spatial_dropout: x must have at least 2 axes"
    ):
        spatial_dropout(key, np.ones(3, np.float32), keep_prob=0.5)
    with pytest.raises(ValueError, match="spatial_ndim must be at least 0; got -1"):
        x = np.ones((3, 3), np.float32)
        spatial_dropout(key, x, keep_prob=0.5, spatial_ndim=-1)

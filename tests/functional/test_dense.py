"""dense against a NumPy loop, and its errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxnets.functional._dense import dense
from tests.helpers import assert_close


def loop(x, kernel, bias):
    y = np.zeros((*x.shape[:-1], kernel.shape[1]))
    for index in np.ndindex(*x.shape[:-1]):
        for j in range(kernel.shape[1]):
            products = (x[index][i] * kernel[i, j] for i in range(kernel.shape[0]))
            y[index][j] = sum(products) + bias[j]
    return y


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_values(rng, batch, dtype):
    x, kernel, bias = (
        jnp.asarray(rng.normal(size=shape), dtype)
        for shape in ((*batch, 5), (5, 4), (4,))
    )
    wide = [np.asarray(a, np.float64) for a in (x, kernel, bias)]
    assert_close(dense(x, kernel, bias), loop(*wide), dtype=dtype, reduction=5)
    assert_close(
        dense(x, kernel), loop(*wide[:2], np.zeros(4)), dtype=dtype, reduction=5
    )


def test_float64_and_integers(rng, x64):
    x, kernel, bias = (rng.normal(size=shape) for shape in ((2, 5), (5, 4), (4,)))
    assert_close(dense(x, kernel, bias), loop(x, kernel, bias), reduction=5)
    whole = rng.integers(-9, 9, (2, 5)), rng.integers(-9, 9, (5, 3)), np.arange(3)
    assert_close(dense(*whole), loop(*whole).astype(int))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_halves_are_summed_in_float32(dtype):
    # 4096 + 4096 ones: a sum kept in either half type stops growing at 2048 or 256.
    x = jnp.ones(8192, dtype)
    assert float(dense(x, jnp.ones((8192, 1), dtype))[0]) == 8192
    # 256 + 1 - 256 is 0 in bfloat16 unless the bias joins before the rounding.
    kernel = jnp.asarray([[256.0], [1.0]], dtype)
    y = dense(jnp.ones(2, dtype), kernel, jnp.asarray([-256.0], dtype))
    assert float(y[0]) == 1


def test_derivatives_and_transforms(rng):
    x, kernel, bias = (
        jnp.asarray(rng.normal(size=shape), jnp.float32)
        for shape in ((3, 5), (5, 4), (4,))
    )
    check_grads(dense, (x, kernel, bias), order=2, modes=["fwd", "rev"], rtol=1e-2)
    many = jnp.stack([kernel, -2 * kernel])
    expected = np.stack([loop(x, k, bias) for k in np.asarray(many)])
    got = jax.jit(jax.vmap(dense, in_axes=(None, 0, None)))(x, many, bias)
    assert_close(got, expected, dtype="float32", reduction=5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_gradient_of_halves_under_strict_promotion(rng, dtype):
    x, kernel, bias = (
        jnp.asarray(rng.normal(size=shape), dtype) for shape in ((3, 5), (5, 4), (4,))
    )

    def loss(x, kernel, bias):
        return dense(x, kernel, bias).astype(jnp.float32).sum()

    with jax.numpy_dtype_promotion("strict"):
        gx, gk, gb = jax.grad(loss, argnums=(0, 1, 2))(x, kernel, bias)
    wide = [np.asarray(a, np.float64) for a in (x, kernel)]
    assert_close(gx, np.tile(wide[1].sum(1), (3, 1)), dtype=dtype, reduction=4)
    assert_close(gk, np.tile(wide[0].sum(0)[:, None], (1, 4)), dtype=dtype, reduction=3)
    assert_close(gb, np.full(4, 3.0), dtype=dtype)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((), (5, 4)), r"dense: x must have at least 1 axes, \(\*batch, in\)"),
        (((5,), (5,)), r"dense: kernel must be \(in, out\); got kernel.shape=\(5,\)"),
        (((3, 4), (5, 4)), "dense: kernel has 5 input features but x has 4"),
        (((3, 5), (5, 4), (1,)), r"dense: bias must have shape \(4,\)"),
    ],
)
def test_errors(shapes, message):
    with pytest.raises(ValueError, match=message):
        dense(*(np.zeros(shape, np.float32) for shape in shapes))

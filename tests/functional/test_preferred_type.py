"""`preferred_element_type` of the convolutions, against sums in NumPy and `lax`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxnets import functional as F
from tests import oracles
from tests.helpers import assert_close

X = np.random.default_rng(0).integers(-128, 128, (2, 6, 5, 4)).astype(np.int8)
K = np.random.default_rng(1).integers(-128, 128, (3, 2, 4, 6)).astype(np.int8)


@pytest.mark.parametrize("algorithm", ["auto", "gemm", "shift", "direct"])
def test_int8_wraps_around_and_sums_in_int32_where_asked(algorithm):
    sums = oracles.conv(X.astype(np.int64), K.astype(np.int64))
    wide = F.conv(X, K, preferred_element_type=jnp.int32, algorithm=algorithm)
    assert_close(wide, sums.astype(np.int32))
    assert abs(sums).max() > 2**14  # far beyond int8
    assert_close(
        F.conv(X, K, algorithm=algorithm), sums.astype(np.int64).astype(np.int8)
    )


def test_it_is_that_of_lax():
    layout = ("NHWC", "HWIO", "NHWC")
    for wanted in (None, jnp.int16, jnp.int32, jnp.float32):
        expected = lax.conv_general_dilated(
            X,
            K,
            (2, 1),
            "SAME",
            dimension_numbers=layout,
            preferred_element_type=wanted,
        )
        actual = F.conv(X, K, strides=(2, 1), preferred_element_type=wanted)
        assert_close(actual, expected, reduction=24)


def test_the_other_convolutions():
    wide = {"preferred_element_type": jnp.int32}
    x, k = X.astype(np.int32), K.astype(np.int32)
    turned = np.swapaxes(K, 2, 3)
    expected = F.conv_transpose(x, turned.astype(np.int32), strides=2)
    assert_close(F.conv_transpose(X, turned, strides=2, **wide), expected)
    tiles = np.stack([K, K])[:, None]
    assert_close(F.tiled_conv(X, tiles, **wide), F.conv(x, k))
    local = np.broadcast_to(K, (4, 4, *K.shape))
    assert_close(F.local_conv(X, local, **wide), F.conv(x, k, padding="VALID"))
    depthwise, pointwise = K[..., :1, :4], K[:1, :1]
    assert_close(
        F.separable_conv(X, depthwise, pointwise, **wide),
        F.conv(F.conv(x, k[..., :1, :4], groups=4), k[:1, :1]),
    )
    rows, columns = K[:, 0, 0, 0], K[0, :, 0, 0]
    kernel = np.multiply.outer(rows.astype(np.int32), columns.astype(np.int32))
    assert_close(
        F.spatially_separable_conv(X, [rows, columns], **wide),
        F.conv(x, np.tile(kernel[..., None, None], (1, 1, 1, 4)), groups=4),
    )


def test_halves_with_a_wide_result_and_gradients_of_their_own_type(rng):
    x = jnp.asarray(rng.normal(size=(2, 6, 5, 4)), jnp.bfloat16)
    k = jnp.asarray(rng.normal(size=(3, 2, 4, 6)), jnp.bfloat16)
    g = jnp.asarray(rng.normal(size=(2, 6, 5, 6)), jnp.float32)

    def conv(x, k):
        return F.conv(x, k, preferred_element_type=jnp.float32)

    y, back = jax.vjp(conv, x, k)
    wide = [np.asarray(a, np.float64) for a in (x, k, g)]
    assert_close(y, oracles.conv(*wide[:2]), dtype=jnp.float32, reduction=24)
    _, exact = jax.vjp(F.conv, *(jnp.asarray(a, jnp.float32) for a in wide[:2]))
    for got, want in zip(back(g), exact(g), strict=True):
        assert_close(got, want, dtype=jnp.bfloat16, reduction=1)


@pytest.mark.parametrize(
    ("dtype", "wanted"),
    [
        ("int32", "int8"),
        ("float32", "bfloat16"),
        ("float32", "int32"),
        ("int8", "uint8"),
    ],
)
def test_a_type_that_does_not_hold_the_values_is_refused(dtype, wanted):
    message = (
        rf"preferred_element_type must hold the values of {dtype}, .*; got {wanted} "
        r"\(cast the result instead\)"
    )
    x, k = jnp.ones((1, 4, 2), dtype), jnp.ones((3, 2, 2), dtype)
    for function in (F.conv, F.conv_transpose):
        with pytest.raises(ValueError, match=f"{function.__name__}: {message}"):
            function(x, k, preferred_element_type=wanted)

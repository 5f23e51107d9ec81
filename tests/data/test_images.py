import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.data import scale_images, to_binary, to_grayscale, to_rgb
from tests.helpers import assert_close


def test_bytes_become_shares_of_255():
    x = np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1)
    expected = [np.float32(i / 255) for i in range(256)]
    got = scale_images(x)
    assert got.dtype == np.float32
    assert got.shape == x.shape
    assert got.ravel().tolist() == expected


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_only_bytes_are_scaled(dtype):
    message = f"scale_images: images must be uint8; got {np.dtype(dtype)}"
    with pytest.raises(TypeError, match=message):
        scale_images(np.zeros((2, 2), dtype))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_brightness_is_the_weighted_sum(rng, dtype):
    x = jnp.asarray(rng.random((2, 5, 4, 3)), dtype)
    exact = np.asarray(x, np.float64)
    expected = np.empty((2, 5, 4, 1))
    for place in np.ndindex(2, 5, 4):
        red, green, blue = exact[place]
        expected[place] = 0.299 * red + 0.587 * green + 0.114 * blue
    assert_close(to_grayscale(x), expected, dtype=dtype)


def test_white_stays_white_and_double_stays_double(x64):
    got = to_grayscale(np.ones((1, 2, 3)))
    assert_close(got, np.ones((1, 2, 1)))


def test_gray_goes_to_colour_and_back(rng):
    gray = rng.random((3, 4, 4, 1)).astype(np.float32)
    colour = to_rgb(gray)
    for channel in range(3):
        np.testing.assert_array_equal(colour[..., channel], gray[..., 0])
    assert_close(to_grayscale(colour), gray)
    assert to_rgb(np.zeros((2, 1), np.uint8)).dtype == np.uint8


def test_black_and_white(rng):
    x = rng.random((3, 4, 1)).astype(np.float32)
    assert to_binary(x).ravel().tolist() == [float(v > 0.5) for v in x.ravel()]
    median = np.median(x, axis=(1, 2), keepdims=True)
    got = jax.jit(lambda x, t: to_binary(x, threshold=t))(x, median)
    assert np.asarray(got).sum(axis=(1, 2)).tolist() == [2, 2, 2]
    assert to_binary(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: to_grayscale(np.zeros((2, 3), np.uint8)),
            TypeError,
            r"to_grayscale: x must be floating; got uint8 \(use scale_images first\)",
        ),
        (
            lambda: to_grayscale(np.zeros((2, 4), np.float32)),
            ValueError,
            r"to_grayscale: x must have 3 channels on its last axis; x.shape=\(2, 4\)",
        ),
        (
            lambda: to_rgb(np.zeros((2, 3))),
            ValueError,
            r"to_rgb: x must have 1 channel on its last axis; x.shape=\(2, 3\)",
        ),
        (
            lambda: to_binary(np.zeros(2, np.int32)),
            TypeError,
            "to_binary: x must be floating; got int32",
        ),
    ],
)
def test_bad_images(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_conversions_work_under_the_transforms(rng):
    x = rng.random((4, 3, 3, 3)).astype(np.float32)
    assert_close(jax.jit(to_grayscale)(x), to_grayscale(x))
    assert_close(jax.vmap(to_grayscale)(x), to_grayscale(x))
    # Linear: the derivative in any direction is the conversion of that direction.
    _, tangent = jax.jvp(to_grayscale, (jnp.asarray(x),), (jnp.asarray(x[::-1]),))
    assert_close(tangent, to_grayscale(x[::-1]))
    with jax.numpy_dtype_promotion("strict"):
        to_grayscale(x.astype(jnp.bfloat16))
        to_binary(x)

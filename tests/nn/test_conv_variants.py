"""ConvTranspose against Flax's, and the separable, local and tiled layers."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnets.functional import conv_transpose, l2
from jaxnets.nn import penalty
from jaxnets.nn._conv_local import LocalConv, TiledConv
from jaxnets.nn._conv_separable import SeparableConv
from jaxnets.nn._conv_transpose import ConvTranspose
from tests import oracles
from tests.functional.conv_transpose_cases import loop_transpose
from tests.functional.test_conv_variants import loop_tiled
from tests.helpers import assert_close

FLAX_OPTIONS = [
    {},
    {"strides": 2},
    {"strides": (2, 3), "padding": "VALID", "use_bias": False},
    {"strides": (5, 4), "padding": "VALID"},
    {"strides": (4, 1), "kernel_dilation": (1, 2)},
    {"strides": 2, "padding": ((0, 2), (3, 1))},
    {"padding": (4, 0), "kernel_dilation": 2},
    {"padding": ((0, 5), (4, 3)), "strides": 3},
    {"strides": 2, "padding": "CIRCULAR"},
    {"strides": (1, 3), "padding": "CIRCULAR", "kernel_dilation": (3, 1)},
]


@pytest.mark.slow
@pytest.mark.parametrize("transpose_kernel", [False, True])
@pytest.mark.parametrize("options", FLAX_OPTIONS)
def test_conv_transpose_is_flax_own(options, transpose_kernel, rng):
    """The same arguments and keys give the same weights and the same result."""
    options = {
        "bias_init": nnx.initializers.normal(),
        "transpose_kernel": transpose_kernel,
        **options,
    }
    ours = ConvTranspose(3, 4, (3, 2), rngs=nnx.Rngs(0), **options)
    theirs = nnx.ConvTranspose(3, 4, (3, 2), rngs=nnx.Rngs(0), **options)
    assert_close(ours.kernel[...], theirs.kernel[...])
    x = jnp.asarray(rng.normal(size=(2, 4, 3, 3)), jnp.float32)
    assert_close(ours(x), theirs(x), reduction=18)
    first = ConvTranspose(
        3, 4, (3, 2), data_format="channels_first", rngs=nnx.Rngs(0), **options
    )
    y = first(jnp.moveaxis(x, -1, 1))
    assert_close(jnp.moveaxis(y, 1, -1), theirs(x), reduction=18)


@pytest.mark.slow
@pytest.mark.parametrize("transpose_kernel", [False, True])
@pytest.mark.parametrize("padding", ["SAME", "VALID", "CIRCULAR", 1, ((2, 3),)])
def test_conv_transpose_is_flax_own_in_every_size(padding, transpose_kernel, rng):
    """Windows shorter and longer than strides, images smaller than windows."""
    sizes = itertools.product((1, 2, 5), (1, 2, 3, 4), (1, 2, 3), (1, 2))
    for size, window, strides, dilation in sizes:
        options = {
            "strides": strides,
            "padding": padding,
            "kernel_dilation": dilation,
            "transpose_kernel": transpose_kernel,
        }
        ours = ConvTranspose(2, 3, (window,), rngs=nnx.Rngs(0), **options)
        theirs = nnx.ConvTranspose(2, 3, (window,), rngs=nnx.Rngs(0), **options)
        x = jnp.asarray(rng.normal(size=(2, size, 2)), jnp.float32)
        expected = theirs(x)
        if expected.size:
            assert_close(ours(x), expected, reduction=8)
        else:
            with pytest.raises(ValueError, match="must have at least one cell"):
                ours(x)


def test_valid_with_a_window_shorter_than_the_stride(rng):
    """14 cells end with the last window; Flax, Keras and lax add zeros up to 5 · 3."""
    x = jnp.asarray(rng.normal(size=(1, 5, 2)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(2, 3, 2)), jnp.float32)
    options = {"strides": 3, "padding": "VALID"}
    theirs = jax.lax.conv_transpose(x, kernel, (3,), "VALID", transpose_kernel=True)
    assert theirs.shape == (1, 15, 3)
    ours = conv_transpose(x, kernel, **options)
    assert_close(ours, theirs[:, :14], reduction=4)
    assert not theirs[:, 14:].any()
    more = conv_transpose(x, kernel, output_padding=3 - 2, **options)
    assert_close(more, theirs, reduction=4)


@pytest.mark.slow
@pytest.mark.parametrize("transpose_kernel", [False, True])
def test_conv_transpose_beyond_flax(transpose_kernel, rng):
    """Groups, output padding, mask and activation, against loops."""
    mask = rng.integers(0, 2, (3, 2, 2, 6) if not transpose_kernel else (3, 2, 3, 4))
    layer = ConvTranspose(
        4, 6, (3, 2), 2, padding=1, output_padding=(1, 0), feature_group_count=2,
        mask=mask, transpose_kernel=transpose_kernel, activation=jnp.tanh,
        bias_init=nnx.initializers.normal(), rngs=nnx.Rngs(0),
    )  # fmt: skip
    x = rng.normal(size=(2, 4, 3, 4))
    kernel = np.asarray(layer.kernel[...]) * mask
    if not transpose_kernel:
        # (window, in // groups, out) to (window, out // groups, in), group by group.
        parts = np.split(kernel[::-1, ::-1], 2, axis=-1)
        kernel = np.concatenate([np.swapaxes(part, 2, 3) for part in parts], axis=-1)
    # Padding p here cuts kernel_size − 1 − p cells off the line that x is spread to.
    sums = loop_transpose(
        x, kernel, layer.bias[...], strides=2, groups=2, padding=(1, 0),
        output_padding=(1, 0),
    )  # fmt: skip
    assert_close(layer(x), np.tanh(sums), dtype=jnp.float32, reduction=24)


def test_separable_conv_layer(rng):
    layer = SeparableConv(
        3, 4, (3, 2), strides=2, depth_multiplier=2, activation=jnp.tanh,
        bias_init=nnx.initializers.normal(), rngs=nnx.Rngs(0),
    )  # fmt: skip
    assert layer.depthwise_kernel.shape == (3, 2, 1, 6)
    x = rng.normal(size=(2, 5, 6, 3))
    middle = oracles.conv(x, layer.depthwise_kernel[...], groups=3, strides=2)
    sums = oracles.conv(middle, layer.pointwise_kernel[...], layer.bias[...])
    assert_close(layer(x), np.tanh(sums), dtype=jnp.float32, reduction=36)


@pytest.mark.slow
@pytest.mark.parametrize("shared_bias", [False, True])
def test_local_and_tiled_layers(shared_bias, rng):
    x = rng.normal(size=(2, 6, 5, 4))
    common = {
        "strides": (2, 1),
        "feature_group_count": 2,
        "shared_bias": shared_bias,
        "bias_init": nnx.initializers.normal(),
        "activation": jnp.tanh,
        "rngs": nnx.Rngs(0),
    }
    local = LocalConv(4, 6, (3, 2), (6, 5), **common)
    tiled = TiledConv(4, 6, (3, 2), (2, 3), **common)
    assert local.kernel.shape == (2, 4, 3, 2, 2, 6)
    assert tiled.kernel.shape == (2, 3, 3, 2, 2, 6)
    for layer, padding in ((local, "VALID"), (tiled, "SAME")):
        assert layer.bias.ndim == (1 if shared_bias else 3)
        sums = loop_tiled(
            x, layer.kernel[...], np.asarray(layer.bias[...]),
            strides=(2, 1), groups=2, padding=padding,
        )  # fmt: skip
        assert_close(layer(x), np.tanh(sums), dtype=jnp.float32, reduction=24)


@pytest.mark.slow
def test_weights_begin_as_large_as_those_of_a_conv():
    """The fan-in of 64·9 is that of a window, however many windows there are."""
    for layer in (
        LocalConv(64, 8, (3, 3), (6, 6), rngs=nnx.Rngs(0)),
        TiledConv(64, 8, (3, 3), 3, rngs=nnx.Rngs(0)),
    ):
        kernel = np.asarray(layer.kernel[...])
        np.testing.assert_allclose(kernel.std() * 24, 1, rtol=0.03)
        assert np.all(kernel[0, 0] != kernel[0, 1])


LAYERS = [
    functools.partial(ConvTranspose, 2, 3, (3,)),
    functools.partial(LocalConv, 2, 3, (3,), (5,)),
    functools.partial(TiledConv, 2, 3, 3, 2),
]


@pytest.mark.slow
@pytest.mark.parametrize("make", LAYERS)
def test_penalties_metadata_and_dtypes(make, rng):
    half = functools.partial(l2, strength=0.5)
    layer = make(
        kernel_regularizer=half, bias_regularizer=half, activity_regularizer=half,
        bias_init=nnx.initializers.normal(), trainable=False,
        kernel_metadata={"note": "mine"}, rngs=nnx.Rngs(0),
    )  # fmt: skip
    assert layer.kernel.get_metadata("note") == "mine"
    for variable in (layer.kernel, layer.bias):
        assert variable.get_metadata("trainable") is False
        variable.set_metadata(trainable=True)
    x = jnp.asarray(rng.normal(size=(4, 5, 2)), jnp.float32)
    y = np.asarray(layer(x), np.float64)
    values = [np.asarray(v[...], np.float64) for v in (layer.kernel, layer.bias)]
    expected = 0.5 * sum((v**2).sum() for v in values) + 0.5 * (y**2).sum() / 4
    np.testing.assert_allclose(penalty(layer), expected, rtol=1e-5)
    short = make(dtype=jnp.bfloat16, use_bias=False, rngs=nnx.Rngs(0))
    assert jax.eval_shape(short, x).dtype == jnp.bfloat16
    assert short.bias is None


def test_separable_penalties_are_of_each_kernel():
    options = {
        "depthwise_regularizer": functools.partial(l2, strength=1.0),
        "pointwise_regularizer": functools.partial(l2, strength=0.5),
        "pointwise_constraint": jnp.abs,
    }
    layer = SeparableConv(2, 3, 3, rngs=nnx.Rngs(0), **options)
    assert layer.pointwise_kernel.get_metadata("constraint") is jnp.abs
    expected = float(jnp.sum(layer.depthwise_kernel[...] ** 2))
    expected += 0.5 * float(jnp.sum(layer.pointwise_kernel[...] ** 2))
    np.testing.assert_allclose(penalty(layer), expected, rtol=1e-6)


ERRORS = [
    (ConvTranspose, (3, 4, (3, 0)), {}, "kernel_size must be at least 1; got 0"),
    (ConvTranspose, (3, 4, 3), {"feature_group_count": 2}, "feature_group_count must"),
    (ConvTranspose, (3, 4, 3), {"mask": np.ones(3)}, r"mask must have shape \(3, 3, 4"),
    (ConvTranspose, (3, 4, 3), {"padding": "FULL"}, "padding must be one of 'SAME', "),
    (ConvTranspose, (3, 4, 3), {"padding": (1, 2)}, "padding must have 1 entries"),
    (ConvTranspose, (3, 4, 3), {"data_format": "NCW"}, "data_format must be one of"),
    (
        ConvTranspose,
        (3, 4, 3),
        {"output_padding": 1},
        r"output_padding needs padding in numbers; got \(1,\) with padding='SAME'",
    ),
    (SeparableConv, (3, 0, 3), {}, "out_features must be at least 1; got 0"),
    (SeparableConv, (3, 4, 3), {"depth_multiplier": 0}, "depth_multiplier must be at"),
    (SeparableConv, (3, 4, 3), {"strides": (1, 2)}, "strides must have 1 entries"),
    (SeparableConv, (3, 4, 3), {"data_format": "NCW"}, "data_format must be one of"),
    (LocalConv, (3, 4, 3, (5, 5)), {}, "input_size must have one entry an axis of ker"),
    (LocalConv, (3, 4, 3, (2,)), {}, "window must fit into the padded input"),
    (LocalConv, (3, 4, 3, (5,)), {"feature_group_count": 2}, "feature_group_count mus"),
    (TiledConv, (3, 4, 3, 0), {}, "tiles must be at least 1; got 0"),
    (TiledConv, (3, 4, 3, (1, 2)), {}, "tiles must have 1 entries"),
    (TiledConv, (0, 4, 3, 1), {}, "in_features must be at least 1; got 0"),
    (TiledConv, (3, 4, 3, 1), {"data_format": "NCW"}, "data_format must be one of"),
]


@pytest.mark.parametrize(("make", "sizes", "options", "message"), ERRORS)
def test_errors(make, sizes, options, message):
    with pytest.raises(ValueError, match=f"^{make.__name__}: {message}"):
        make(*sizes, rngs=nnx.Rngs(0), **options)


def test_what_conv_transpose_does_not_take():
    message = "^ConvTranspose: preferred_element_type is not supported; .*use dtype="
    with pytest.raises(TypeError, match=message):
        ConvTranspose(3, 4, 3, preferred_element_type=jnp.float32, rngs=nnx.Rngs(0))


def test_a_local_layer_has_one_size_of_input():
    layer = LocalConv(3, 4, 3, (5,), rngs=nnx.Rngs(0))
    message = r"local_conv: kernel is made for positions \(3,\) but x has \(4,\)"
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(layer, jnp.zeros((2, 6, 3)))

"""Every message of conv, read."""

import jax.numpy as jnp
import pytest

from jaxnets.functional import conv, conv_output_shape

X, K = jnp.zeros((8, 28, 28, 4)), jnp.zeros((3, 3, 4, 16))


@pytest.mark.parametrize(
    ("x", "kernel", "options", "message"),
    [
        (
            X,
            jnp.zeros((3, 3, 3, 16)),
            {},
            r"conv: kernel has 3 input channels but x has 4 "
            r"\(x.shape=\(8, 28, 28, 4\), kernel.shape=\(3, 3, 3, 16\), groups=1\)",
        ),
        (X, K, {"groups": 2}, "kernel has 2 groups of 4 input channels but x has 4"),
        (
            X,
            jnp.zeros((3, 3, 2, 15)),
            {"groups": 2},
            "groups must divide the output channels; got 15 channels in 2 groups",
        ),
        (X, K, {"groups": 0}, "conv: groups must be at least 1; got 0"),
        (X, jnp.zeros((4, 16)), {}, "kernel must have at least 3 axes"),
        (jnp.zeros((28, 4)), K, {}, r"x must have at least 3 axes.*x.shape=\(28, 4\)"),
        (X, K, {"strides": 0}, "conv: strides must be at least 1; got 0"),
        (X, K, {"strides": (1, -2)}, "conv: strides must be at least 1; got -2"),
        (X, K, {"strides": (1, 2, 3)}, "strides must have 2 entries.*got 3"),
        (X, K, {"dilation": 0}, "conv: dilation must be at least 1; got 0"),
        (X, K, {"padding": "SOME"}, "padding must be one of 'VALID', 'SAME'.*'SOME'"),
        (X, K, {"padding": -1}, "conv: padding must be at least 0; got -1"),
        (X, K, {"padding": ((1, 1),)}, "padding must have 2 entries.*got 1"),
        (X, K, {"padding": ((1, 2, 3), 1)}, r"padding pairs must be \(lo, hi\)"),
        (
            jnp.zeros((8, 28, 4)),
            jnp.zeros((3, 4, 2)),
            {"padding": (1, 2)},
            r"got 2 in \(1, 2\) \(write \(\(lo, hi\),\) for one axis\)",
        ),
        (
            X,
            jnp.zeros((0, 3, 4, 16)),
            {},
            "conv: kernel's window must be at least 1; got 0",
        ),
        (
            X,
            jnp.zeros((29, 3, 4, 16)),
            {"padding": "VALID"},
            r"the window spans 29 cells but spatial axis 0 has only 28, with padding "
            r"\(0, 0\); pad more \(padding='SAME'\)",
        ),
        (
            X,
            K,
            {"padding": "VALID", "dilation": (1, 14)},
            "the window spans 29 cells but spatial axis 1 has only 28",
        ),
        (
            jnp.zeros((8, 0, 28, 4)),
            K,
            {"padding": 2, "padding_mode": "reflect"},
            "padding_mode='reflect' needs cells to copy but spatial axis 0 is empty",
        ),
    ],
)
def test_bad_sizes(x, kernel, options, message):
    with pytest.raises(ValueError, match=message):
        conv(x, kernel, **options)
    if "padding_mode" not in options:
        with pytest.raises(ValueError, match=message):
            conv_output_shape(x.shape, kernel.shape, **options)


def test_bias_of_the_wrong_shape():
    message = r"bias must have shape \(16,\) \(one an output channel\); got \(4,\)"
    with pytest.raises(ValueError, match=message):
        conv(X, K, jnp.zeros(4))


@pytest.mark.parametrize("option", ["padding_mode", "data_format", "algorithm"])
def test_unknown_choices_list_the_known(option):
    with pytest.raises(ValueError, match=f"{option} must be one of .*; got 'other'"):
        conv(X, K, **{option: "other"})


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("algorithm", [None, 3, ["gemm"]])
def test_an_algorithm_is_a_name_or_a_plan(algorithm):
    with pytest.raises((TypeError, ValueError), match="conv: algorithm must be"):
        conv(X, K, algorithm=algorithm)


@pytest.mark.parametrize(
    ("algorithm", "options", "reason"),
    [
        ("winograd", {"strides": 2}, r"needs strides of 1; got \(2, 2\)"),
        ("winograd", {"dilation": 2}, r"needs a dilation of 1; got \(2, 2\)"),
    ],
)
def test_an_algorithm_that_cannot_says_why(algorithm, options, reason):
    message = f"conv: algorithm '{algorithm}' {reason} .algorithm='auto' takes one"
    with pytest.raises(ValueError, match=message):
        conv(X, K, algorithm=algorithm, **options)
    with pytest.raises(ValueError, match=r"needs a window of 3 cells.*got \(5, 3\)"):
        conv(X, jnp.zeros((5, 3, 4, 16)), algorithm=algorithm)


@pytest.mark.parametrize("algorithm", ["fft", "overlap_add", "winograd"])
def test_algorithms_for_floats_refuse_integers(algorithm):
    with pytest.raises(ValueError, match=f"{algorithm}.*got int32 .cast x and kernel"):
        conv(X.astype("int32"), K.astype("int32"), algorithm=algorithm)


def test_booleans_are_not_numbers():
    with pytest.raises(TypeError, match="x and kernel must be numbers; got booleans"):
        conv(X.astype(bool), K.astype(bool))


@pytest.mark.usefixtures("untyped")
def test_a_fractional_stride_is_no_integer():
    with pytest.raises(TypeError, match=r"strides must be an integer; got 1\.5"):
        conv(X, K, strides=(1, 1.5))

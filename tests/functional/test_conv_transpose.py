"""conv_transpose against sums written out, and as the transpose of conv."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from jaxnets.functional import conv
from jaxnets.functional._conv_transpose import conv_transpose
from jaxnets.functional._conv_transpose_shapes import conv_transpose_output_shape
from tests import oracles
from tests.functional.conv_transpose_cases import loop_transpose, transpose_cases
from tests.helpers import assert_close


def check_against_loops(case):
    expected = loop_transpose(*case[:3], **case.options)
    actual = jax.jit(lambda *a: conv_transpose(*a, **case.options))(*case[:3])
    terms = int(np.prod(case.kernel.shape)) // case.kernel.shape[-2]
    assert_close(actual, expected, dtype=jnp.float32, reduction=terms)
    sizes = {k: v for k, v in case.options.items() if k != "flip_kernel"}
    shape = conv_transpose_output_shape(case.x.shape, case.kernel.shape, **sizes)
    assert shape == actual.shape


@pytest.mark.slow
@settings(max_examples=20)
@given(st.data())
def test_it_equals_the_sums_written_out(data):
    check_against_loops(data.draw(transpose_cases(data.draw(st.integers(1, 3)))))


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "examples"), [(1, 150), (2, 100), (3, 50), (4, 15)])
def test_many_equal_the_sums_written_out(rank, examples):
    @settings(max_examples=examples)
    @given(transpose_cases(rank))
    def check(case):
        check_against_loops(case)

    check()


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({"strides": 2}, (8, 6)),
        ({"strides": (2, 3), "padding": "SAME_LOWER"}, (8, 9)),
        ({"padding": "FULL"}, (5, 4)),
        ({"padding": ((1, 0), (0, 2)), "strides": 2, "output_padding": 1}, (9, 5)),
        ({"padding": "VALID", "dilation": 2, "groups": 2}, (9, 8)),
    ],
)
def test_it_is_the_transpose_of_conv(options, sizes, rng):
    """⟨conv(y, k), x⟩ = ⟨y, conv_transpose(x, k)⟩, conv by loops."""
    groups = options.get("groups", 1)
    kernel = rng.normal(size=(3, 2, 4 // groups, 6))
    y = rng.normal(size=(2, *sizes, 4))
    forward = {k: v for k, v in options.items() if k != "output_padding"}
    image = oracles.conv(y, kernel, **forward)
    x = rng.normal(size=image.shape)
    with jax.enable_x64(True):
        back = conv_transpose(x, kernel, **options)
        assert back.shape == y.shape
        np.testing.assert_allclose(np.vdot(image, x), np.vdot(y, back), rtol=1e-12)


def test_a_small_one_by_hand():
    x = jnp.array([[1.0, 2], [3, 4]])[..., None]
    kernel = jnp.array([[1.0, 10], [100, 1000]])[..., None, None]
    y = conv_transpose(x, kernel, padding="VALID")[..., 0]
    assert y.tolist() == [[1, 12, 20], [103, 1234, 2040], [300, 3400, 4000]]


def test_patches_side_by_side(rng):
    """A stride of the window's size writes every cell once: unpatchify."""
    x, kernel = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(2, 3, 6, 5))
    y = conv_transpose(x, kernel, strides=(2, 3))
    expected = np.einsum("npqc,tuoc->nptquo", x, kernel).reshape(2, 6, 12, 6)
    assert_close(y, expected, dtype=jnp.float32, reduction=5)


@pytest.mark.parametrize("algorithm", ["direct", "gemm"])
def test_algorithms_agree(algorithm, rng):
    x, kernel = rng.normal(size=(2, 5, 4, 4)), rng.normal(size=(3, 2, 3, 4))
    options = {"strides": 2, "groups": 2, "dilation": (1, 2)}
    expected = loop_transpose(x, kernel, **options)
    y = conv_transpose(x, kernel, algorithm=algorithm, **options)
    assert_close(y, expected, dtype=jnp.float32, reduction=12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "options",
    [{"strides": 2}, {"padding": 1, "dilation": 3, "groups": 2, "output_padding": 2}],
)
def test_derivatives_to_second_order(options, rng):
    groups = options.get("groups", 1)
    x, kernel = rng.normal(size=(1, 3, 2)), rng.normal(size=(2, 4 // groups, 2))

    def call(x, kernel):
        return conv_transpose(x, kernel, **options)

    check_grads(call, (x, kernel), order=2, modes=("fwd", "rev"))


def test_gradients_are_convolutions_of_our_own(rng):
    """No lhs_dilation, no image-sized kernel: the gradients bind the same family."""
    x, kernel = jnp.ones((2, 5, 5, 4)), jnp.ones((3, 3, 6, 4))

    def loss(x, kernel):
        return jnp.sum(jnp.sin(conv_transpose(x, kernel, strides=2)))

    text = str(jax.make_jaxpr(jax.grad(loss, (0, 1)))(x, kernel))
    assert "jaxnets_conv_input_grad" in text
    assert "jaxnets_conv_kernel_grad" in text
    assert "jaxnets_conv[" in text
    assert "conv_general_dilated" not in text


def test_empty_batch_integers_and_halves(rng):
    assert conv_transpose(jnp.zeros((0, 3, 2)), jnp.zeros((3, 4, 2))).shape == (0, 3, 4)
    x, kernel = rng.integers(0, 4, (2, 4, 2)), rng.integers(0, 3, (3, 2, 2))
    y = conv_transpose(jnp.asarray(x, "int32"), jnp.asarray(kernel, "int32"))
    assert_close(y, loop_transpose(x, kernel).astype("int32"))
    ones = jnp.ones((512, 1), "bfloat16").at[0].set(512)
    y = conv_transpose(ones, jnp.ones((512, 1, 1), "bfloat16"), padding="VALID")
    assert y[511, 0] == jnp.asarray(512 + 511, "bfloat16")


def test_it_gives_back_the_shape_that_conv_took(rng):
    kernel = rng.normal(size=(3, 3, 4, 6)).astype(np.float32)
    y = conv(rng.normal(size=(1, 8, 6, 4)).astype(np.float32), kernel, strides=2)
    assert conv_transpose(y, kernel, strides=2).shape == (1, 8, 6, 4)


X, K = (2, 4, 5, 6), (3, 3, 4, 6)
ERRORS = [
    ((X, (3, 6)), {}, "kernel must have at least 3 axes"),
    (((5,), (3, 1, 1)), {}, "x must have at least 2 axes"),
    (
        (X, (3, 3, 6, 4)),
        {},
        r"kernel has 4 input channels but x has 6 \(x.shape=.*out // groups, in\)",
    ),
    ((X, K), {"groups": 4}, "groups must divide the input channels; got 6 .* 4 groups"),
    ((X, K), {"groups": 0}, "groups must be at least 1; got 0"),
    ((X, K), {"strides": (1, 2, 3)}, "strides must have 2 entries"),
    ((X, K), {"dilation": 0}, "dilation must be at least 1; got 0"),
    ((X, (0, 3, 4, 6)), {}, "kernel's window must be at least 1; got 0"),
    ((X, K), {"padding": "SOME"}, "padding must be one of .*got 'SOME'"),
    ((X, K), {"padding": -1}, "padding must be at least 0; got -1"),
    (
        (X, K),
        {"padding": "causal", "strides": 2},
        r"padding='CAUSAL' could mean two things \(write \(\(0, 1\), \(0, 1\)\) for "
        r"outputs that see no later cell, \(\(2, 0\), \(2, 0\)\) for the transpose",
    ),
    (
        (X, K),
        {"output_padding": 1, "strides": 2},
        "output_padding needs padding in numbers or 'VALID'; got 1 with padding='SAME'",
    ),
    (
        (X, K),
        {"output_padding": (0, 2), "strides": 2, "padding": 1},
        "output_padding must be below the stride or the dilation of its axis; got 2 "
        r"along spatial axis 1 \(stride=2, dilation=1\)",
    ),
    (
        (X, K),
        {"padding": ((0, 0), (4, 3))},
        "the output must have at least one cell; 5 cells of spatial axis 1 are spread "
        r"over 7, of which padding \(4, 3\) takes all \(use less padding",
    ),
    (
        ((2, 0, 5, 6), K),
        {"padding": "VALID"},
        "the output must have at least one cell; 0 cells",
    ),
    ((X, K), {"data_format": "NHWC"}, "data_format must be one of"),
]


@pytest.mark.parametrize(("shapes", "options", "message"), ERRORS)
def test_errors(shapes, options, message):
    for call in (
        lambda: conv_transpose(*map(jnp.zeros, shapes), **options),
        lambda: conv_transpose_output_shape(*shapes, **options),
    ):
        with pytest.raises(ValueError, match=f"^conv_transpose: {message}"):
            call()


def test_errors_of_arrays_and_algorithms(untyped):
    x, kernel = jnp.zeros(X), jnp.zeros(K)
    with pytest.raises(ValueError, match=r"bias must have shape \(4,\) .*got \(6,\)"):
        conv_transpose(x, kernel, jnp.zeros(6))
    with pytest.raises(ValueError, match=r"conv_transpose: algorithm must be one of"):
        conv_transpose(x, kernel, algorithm="magic")
    with pytest.raises(TypeError, match="x and kernel must be numbers; got booleans"):
        conv_transpose(x > 0, kernel > 0)
    with pytest.raises(TypeError, match="output_padding must be an integer"):
        conv_transpose_output_shape(X, K, output_padding=(0, 0.5))

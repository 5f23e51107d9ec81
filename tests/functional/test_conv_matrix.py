"""The matrix of a convolution and its operator, against sums and textbook matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnets.functional import conv
from jaxnets.functional._conv_matrix import conv_matrix
from jaxnets.functional._conv_operator import ConvOperator, conv_operator
from tests import oracles
from tests.functional.conv_cases import conv_cases
from tests.helpers import assert_close


def matrix_of(kernel, input_shape, **options):
    """Columns are what the convolution, written out, makes of unit images."""
    units = np.eye(int(np.prod(input_shape)))
    images = oracles.conv(units.reshape(-1, *input_shape), kernel, **options)
    return images.reshape(len(units), -1).T


def without_batch(case):
    """The case's shape of one image and the options that the matrix has."""
    rank = case.kernel.ndim - 2
    shape = case.x.shape[-rank - 1 :]
    if case.options["data_format"] == "channels_first":
        shape = (*shape[1:], shape[0])
    shared = {
        k: v
        for k, v in case.options.items()
        if k not in ("data_format", "algorithm") and not isinstance(v, str)
    }
    padding = case.options["padding"]
    if isinstance(padding, str):
        padding = padding.upper()
    shared |= {"padding": padding, "padding_mode": case.options["padding_mode"]}
    return shape, shared


def check(case):
    shape, options = without_batch(case)
    expected = matrix_of(case.kernel, shape, **options)
    matrix = conv_matrix(case.kernel, shape, **options)
    operator = conv_operator(case.kernel, shape, **options)
    taps = int(np.prod(case.kernel.shape))
    assert matrix.shape == operator.shape == expected.shape
    assert_close(matrix.todense(), expected, dtype=jnp.float32, reduction=taps)
    assert_close(operator.todense(), expected, dtype=jnp.float32, reduction=taps)
    v = np.random.default_rng(0).normal(size=len(expected)).astype(np.float32)
    assert_close(operator.T @ v, v @ expected, dtype=jnp.float32, reduction=v.size)
    if options["padding_mode"] == "zeros":
        places = np.asarray(matrix.indices)
        assert matrix.nse == np.count_nonzero(expected)
        order = np.lexsort((places[:, 1], places[:, 0]))
        assert matrix.indices_sorted and order.tolist() == list(range(len(order)))


@pytest.mark.slow
@settings(max_examples=6)
@given(st.data())
def test_the_matrix_equals_the_sums_written_out(data):
    check(data.draw(conv_cases(data.draw(st.integers(1, 2)))))


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "examples"), [(1, 20), (2, 20), (3, 5)])
def test_many_matrices_equal_the_sums_written_out(rank, examples):
    settings(max_examples=examples)(given(conv_cases(rank))(check))()


def test_one_axis_gives_a_toeplitz_matrix(rng):
    k = rng.normal(size=4).astype(np.float32)
    matrix = conv_matrix(k[:, None, None], (7, 1), padding="FULL", flip_kernel=True)
    column = np.concatenate([k, np.zeros(6, np.float32)])
    row = np.concatenate([k[:1], np.zeros(6, np.float32)])
    assert_close(matrix.todense(), scipy.linalg.toeplitz(column, row))


def test_circular_padding_gives_a_circulant_matrix(rng):
    k = rng.normal(size=3).astype(np.float32)
    matrix = conv_matrix(
        k[:, None, None], (5, 1), padding_mode="circular", flip_kernel=True
    )
    column = np.array([k[1], k[2], 0, 0, k[0]], np.float32)
    assert_close(matrix.todense(), scipy.linalg.circulant(column))


def test_two_axes_give_a_toeplitz_matrix_of_toeplitz_blocks(rng):
    k = rng.normal(size=(2, 3)).astype(np.float32)
    matrix = conv_matrix(
        k[..., None, None], (3, 4, 1), padding="FULL", flip_kernel=True
    )
    blocks = [
        scipy.linalg.toeplitz(np.pad(row, (0, 3)), np.pad(row[:1], (0, 3)))
        for row in (*k, np.zeros(3, np.float32))
    ]
    which = scipy.linalg.toeplitz([0, 1, 2, 2], [0, 2, 2])
    expected = np.block([[blocks[i] for i in row] for row in which])
    assert_close(matrix.todense(), expected)


def test_the_matrix_is_differentiable_in_the_kernel(rng):
    kernel = jnp.asarray(rng.normal(size=(3, 2, 2, 4)), jnp.float32)
    x = jnp.asarray(rng.normal(size=(5, 4, 4)), jnp.float32)
    options = {"strides": (2, 1), "padding": "SAME_LOWER", "groups": 2}

    def by_matrix(kernel):
        y = conv_matrix(kernel, x.shape, **options) @ x.reshape(-1)
        return jnp.sum(jnp.sin(y))

    def by_conv(kernel):
        return jnp.sum(jnp.sin(conv(x, kernel, **options)))

    actual, expected = jax.jit(jax.grad(by_matrix))(kernel), jax.grad(by_conv)(kernel)
    assert_close(actual, np.asarray(expected), reduction=64)


@pytest.mark.slow
def test_the_operator_multiplies_vectors_and_matrices(rng):
    kernel = rng.normal(size=(3, 2, 1, 4)).astype(np.float32)
    options = {"strides": 2, "dilation": (1, 2), "groups": 2}
    dense = matrix_of(kernel, (5, 6, 2), **options)
    operator = conv_operator(kernel, (5, 6, 2), **options)
    v, m = rng.normal(size=60), rng.normal(size=(60, 3))
    for arrays, matrix, multiplied in (
        ((v, m, m[:, :0]), operator, dense),
        ((dense @ v, dense @ m), operator.T, dense.T),
        ((v,), operator.T.T, dense),
    ):
        assert matrix.shape == multiplied.shape
        for array in arrays:
            expected = multiplied @ array
            assert_close(matrix @ array, expected, dtype=np.float32, reduction=60)


@pytest.mark.slow
def test_the_operator_goes_through_jit_and_grad(rng):
    kernel = jnp.asarray(rng.normal(size=(3, 1, 1)), jnp.float32)
    v = jnp.asarray(rng.normal(size=6), jnp.float32)
    operator = conv_operator(
        kernel, (6, 1), padding=[(1, 0)], precision=["highest"] * 2
    )
    assert jax.tree.leaves(operator) == [kernel]

    @jax.jit
    def loss(operator: ConvOperator, v: jax.Array) -> jax.Array:
        return jnp.sum((operator.T @ (operator @ v)) ** 2)

    def loss_of_dense(kernel):
        rows = [jnp.pad(kernel[:, 0, 0], (i, 4 - i)) for i in range(5)]
        dense = jnp.stack(rows)[:, 1:]
        return jnp.sum((dense.T @ (dense @ v)) ** 2)

    gradient = jax.grad(loss)(operator, v)
    assert isinstance(gradient, ConvOperator)
    expected = jax.grad(loss_of_dense)(kernel)
    assert_close(gradient.kernel, np.asarray(expected), reduction=64)


@pytest.mark.slow
def test_conjugate_gradients_undo_a_blur(rng):
    kernel = jnp.asarray(np.outer([1, 3, 1], [1, 2, 1]), jnp.float32) / 20
    operator = conv_operator(kernel[..., None, None], (6, 5, 1), padding="FULL")
    sharp = jnp.asarray(rng.normal(size=30), jnp.float32)
    seen = operator @ sharp
    again, _ = jax.scipy.sparse.linalg.cg(
        lambda v: operator.T @ (operator @ v), operator.T @ seen, tol=1e-7
    )
    # Normal equations square the condition number, here about 20.
    assert_close(again, np.asarray(sharp), tol=1e-3)


@pytest.mark.parametrize("function", [conv_matrix, conv_operator])
def test_messages(function):
    kernel, name = jnp.zeros((3, 3, 2, 4)), function.__name__
    with pytest.raises(ValueError, match=rf"{name}: input_shape must have 3 entries, "):
        function(kernel, (8, 5, 5, 2))
    with pytest.raises(ValueError, match=f"{name}: input_shape must be at least 1; go"):
        function(kernel, (0, 5, 2))
    with pytest.raises(ValueError, match=f"{name}: kernel must have at least 3 axes"):
        function(kernel[0, 0], (5, 5, 2))
    with pytest.raises(ValueError, match="kernel has 2 input channels but x has 3"):
        function(kernel, (5, 5, 3))
    with pytest.raises(ValueError, match="padding_mode must be one of 'zeros', 'ref"):
        function(kernel, (5, 5, 2), padding_mode="mirror")


@pytest.mark.slow
def test_messages_of_the_operator():
    kernel = jnp.zeros((3, 3, 2, 4))
    with pytest.raises(ValueError, match="conv_operator: algorithm must be one of"):
        conv_operator(kernel, (5, 5, 2), algorithm="magic")
    operator = conv_operator(kernel, (5, 5, 2))
    for bad in (jnp.zeros(49), jnp.zeros((50, 1, 1)), jnp.zeros(())):
        message = r"of shape \(100, 50\) multiplies vectors \(50,\) or matrices \(50, n"
        with pytest.raises(ValueError, match=message):
            operator @ bad

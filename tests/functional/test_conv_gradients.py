"""conv_input_grad and conv_kernel_grad, and derivatives by every algorithm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.test_util import check_grads

from jaxnets.functional import conv, conv_input_grad, conv_kernel_grad
from jaxnets.functional.conv_algorithms import ALGORITHMS, ConvSpec
from tests import oracles
from tests.functional.conv_algorithm_cases import (
    skip_without_kernels,
    some_slow,
    width_of,
)
from tests.functional.conv_cases import conv_cases, loop_gradients
from tests.helpers import assert_close


def meaning(case):
    """Options as the oracle takes them."""
    options = {k: v for k, v in case.options.items() if k != "algorithm"}
    if isinstance(options["padding"], str):
        options["padding"] = options["padding"].upper()
    return options


def channels_last(array, case):
    if case.options["data_format"] == "channels_last":
        return array
    return np.moveaxis(array, -(case.kernel.ndim - 2) - 1, -1)


def input_gradient(case, g):
    """⟨conv(e, kernel), g⟩ for every unit image e."""
    rank = case.kernel.ndim - 2
    image = case.x.shape[-rank - 1 :]
    units = np.eye(int(np.prod(image))).reshape(-1, *image)
    rows = oracles.conv(units, case.kernel, **meaning(case))
    flat = g.reshape(-1, rows[0].size) @ rows.reshape(len(rows), -1).T
    return flat.reshape(case.x.shape)


def kernel_gradient(case, g):
    """Product by product, over x with its padding written out."""
    options, rank = meaning(case), case.kernel.ndim - 2
    x, g = (channels_last(a, case) for a in (case.x, g))
    x, g = (a.reshape(-1, *a.shape[-rank - 1 :]).astype(np.float64) for a in (x, g))
    strides, dilation = (
        oracles.per_axis(options[n], rank) for n in ("strides", "dilation")
    )
    padding = oracles.per_axis(options["padding"], rank)
    axes = (padding, x.shape[1:-1], case.kernel.shape[:rank], strides, dilation)
    widths = [oracles.pad_widths(*axis) for axis in zip(*axes, strict=True)]
    mode = oracles._CONTENT[options["padding_mode"]]
    x = np.pad(x, [(0, 0), *widths, (0, 0)], mode=mode)
    spec = ConvSpec(strides, ((0, 0),) * rank, dilation, options["groups"], None)
    _, dk = loop_gradients(x, case.kernel.astype(np.float64), g, spec)
    return np.flip(dk, range(rank)) if options["flip_kernel"] else dk


def check_against_sums(case):
    rank = case.kernel.ndim - 2
    first = case.options["data_format"] == "channels_first"
    size = case.x.shape[-rank:] if first else case.x.shape[-rank - 1 : -1]
    shape = oracles.conv(case.x, case.kernel, **meaning(case)).shape
    g = np.cos(np.arange(np.prod(shape), dtype=np.float32)).reshape(shape)
    dx = conv_input_grad(g, case.kernel, size, **case.options)
    wanted = input_gradient(case, g)
    assert_close(dx, wanted, dtype=jnp.float32, reduction=case.kernel.size)
    dk = conv_kernel_grad(case.x, g, case.kernel.shape[:-2], **case.options)
    wanted = kernel_gradient(case, g)
    assert_close(dk, wanted, dtype=jnp.float32, reduction=g.size)


@pytest.mark.slow
@settings(max_examples=5)
@given(st.data())
def test_gradients_equal_the_sums_written_out(data):
    check_against_sums(data.draw(conv_cases(data.draw(st.integers(1, 3)))))


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "examples"), [(1, 30), (2, 30), (3, 10)])
def test_many_gradients_equal_the_sums_written_out(rank, examples):
    @settings(max_examples=examples)
    @given(conv_cases(rank))
    def check(case):
        check_against_sums(case)

    check()


def test_the_textbook_gradients():
    """Goodfellow et al., equations 9.9 to 9.13, on numbers that one can follow."""
    x = jnp.array([1.0, 2.0, 3.0, 4.0])[:, None]
    kernel = jnp.array([10.0, 1.0])[:, None, None]
    g = jnp.array([1.0, 0.0, 2.0])[:, None]
    dx = conv_input_grad(g, kernel, (4,), padding="VALID")
    assert dx[:, 0].tolist() == [10.0, 1.0, 20.0, 2.0]
    dk = conv_kernel_grad(x, g, (2,), padding="VALID")
    assert dk[:, 0, 0].tolist() == [1 + 6, 2 + 8]
    assert conv_kernel_grad(x, g, 2, padding="VALID").tolist() == dk.tolist()


def test_strides_leave_more_than_one_input_size():
    g, kernel = jnp.ones((2, 1)), jnp.ones((1, 1, 1))
    for size, wanted in ((3, [1, 0, 1]), (4, [1, 0, 1, 0])):
        dx = conv_input_grad(g, kernel, size, strides=2, padding="VALID")
        assert dx[:, 0].tolist() == wanted
    with pytest.raises(ValueError, match=r"output \(3, 1\); got g.shape=\(2, 1\)"):
        conv_input_grad(g, kernel, 5, strides=2, padding="VALID")


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", some_slow(("direct", "gemm", "winograd")))
def test_adjoint_law(name, rng):
    """⟨conv(x, k), g⟩ = ⟨x, input_grad(g, k)⟩ = ⟨k, kernel_grad(x, g)⟩."""
    skip_without_kernels(name)
    dtype = width_of(name)
    options = {"padding": ((1, 2), (2, 0)), "groups": 2, "algorithm": name}
    x = rng.normal(size=(3, 2, 6, 7, 4)).astype(dtype)
    k = rng.normal(size=(3, 3, 2, 6)).astype(dtype)
    y = conv(x, k, **options)
    g = rng.normal(size=y.shape).astype(dtype)
    left = jnp.vdot(y, g)
    terms = 1 if dtype == np.float64 else y.size
    dx = conv_input_grad(g, k, (6, 7), **options)
    assert_close(jnp.vdot(x, dx), left, reduction=terms)
    dk = conv_kernel_grad(x, g, (3, 3), **options)
    assert_close(jnp.vdot(k, dk), left, reduction=terms)


@pytest.mark.usefixtures("x64")
def test_gradients_equal_finite_differences(rng):
    options = {"strides": (2, 1), "padding": 1, "dilation": (1, 2), "groups": 2}
    x, k = rng.normal(size=(1, 5, 5, 2)), rng.normal(size=(3, 2, 1, 2))

    def loss(x, k):
        return np.sum(np.sin(oracles.conv(x, k, **options)))

    def difference(of, arrays):
        slopes = np.zeros(arrays[of].shape)
        for index in np.ndindex(*slopes.shape):
            ends = []
            for step in (1e-5, -1e-5):
                moved = [a.copy() for a in arrays]
                moved[of][index] += step
                ends.append(loss(*moved))
            slopes[index] = (ends[0] - ends[1]) / 2e-5
        return slopes

    y = oracles.conv(x, k, **options)
    # Central differences of 1e-5 are good to about 1e-10.
    dx = conv_input_grad(np.cos(y), k, (5, 5), **options)
    assert_close(dx, difference(0, [x, k]), tol=1e-8)
    dk = conv_kernel_grad(x, np.cos(y), (3, 2), **options)
    assert_close(dk, difference(1, [x, k]), tol=1e-8)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", some_slow(("gemm",)))
def test_derivatives_of_second_order(name, rng):
    skip_without_kernels(name, rank=1)
    options = {"padding": ((2, 1),), "groups": 2, "algorithm": name}
    arrays = rng.normal(size=(2, 5, 2)), rng.normal(size=(3, 1, 2))
    x, k = (a.astype(width_of(name)) for a in arrays)
    # In float32 a step leaves 1e-4 of its own and 1e-5 times the values by rounding.
    wide = {"eps": 1e-2, "atol": 2e-3, "rtol": 2e-3} if x.dtype == np.float32 else {}
    modes = ("fwd", "rev")
    check_grads(lambda *a: conv(*a, **options), (x, k), order=2, modes=modes, **wide)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ALGORITHMS)
def test_third_derivatives_in_mixed_modes(name, rng):
    skip_without_kernels(name, rank=1)
    options = {"padding": ((2, 1),), "groups": 2, "algorithm": name}
    arrays = rng.normal(size=(1, 4, 2)), rng.normal(size=(3, 1, 2))
    x, k = (a.astype(width_of(name)) for a in arrays)
    # The second derivative is of degree two in x: any step gives exact differences.
    step_size, tol = (1e-5, 1e-8) if x.dtype == np.float64 else (0.5, 1e-5)

    def loss(x, k):
        return jnp.sum(conv(x, k, **options) ** 3)

    third = jax.jacfwd(jax.jacrev(jax.jacfwd(loss), argnums=1))(x, k)
    # y = Kx, so that d3 of sum(y**3) is exact by differences of the second derivative.
    second = jax.jacrev(jax.jacfwd(loss), argnums=1)
    for index in np.ndindex(*x.shape):
        step = np.zeros_like(x)
        step[index] = step_size
        slope = (second(x + step, k) - second(x - step, k)) / (2 * step_size)
        assert_close(third[(..., *index)], slope, tol=tol)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "name", ["gemm", pytest.param("winograd", marks=pytest.mark.slow)]
)
def test_the_gradients_have_derivatives(name, rng):
    options = {"padding": ((1, 0),), "groups": 2, "algorithm": name}
    x, k, g = (rng.normal(size=s) for s in ((2, 5, 4), (3, 2, 2), (2, 4, 2)))

    def of_input(g, k):
        return conv_input_grad(g, k, 5, **options)

    def of_kernel(x, g):
        return conv_kernel_grad(x, g, 3, **options)

    check_grads(of_input, (g, k), order=2)
    check_grads(of_kernel, (x, g), order=2)


@pytest.mark.parametrize(
    "name", some_slow(("gemm",), [n for n in ALGORITHMS if n != "direct"])
)
def test_no_image_sized_kernels_in_a_gradient(name, rng):
    """XLA's own rules make the gradient of y a kernel as large as the image."""
    skip_without_kernels(name)
    x, k = jnp.zeros((2, 12, 12, 4)), jnp.zeros((3, 3, 4, 4))
    strides = 1 if name == "winograd" else 2

    def loss(x, k):
        return jnp.sum(jnp.sin(conv(x, k, strides=strides, algorithm=name)))

    for derivative in (jax.grad(loss, (0, 1)), jax.hessian(loss, 1)):
        text = jax.jit(derivative).lower(x, k).as_text()
        assert "stablehlo.convolution" not in text
        assert "lhs_dilat" not in text


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "int32", "complex64"])
def test_dtypes_are_kept(dtype, rng):
    x, k = rng.integers(-3, 3, (2, 5, 2)), rng.integers(-3, 3, (3, 2, 3))
    g = rng.integers(-3, 3, (2, 5, 3))
    spec = ConvSpec((1,), ((1, 1),), (1,), 1, None)
    wanted = loop_gradients(*(a.astype(np.float64) for a in (x, k, g)), spec)
    x, k, g = (jnp.asarray(a, dtype) for a in (x, k, g))
    # Sums of small integers are exact in every one of these.
    dx, dk = conv_input_grad(g, k, 5), conv_kernel_grad(x, g, 3)
    assert_close((dx, dk), tuple(w.astype(dx.dtype) for w in wanted), tol=0)


@pytest.mark.slow
def test_jit_vmap_and_scan(rng):
    g = rng.normal(size=(3, 2, 5, 4)).astype(np.float32)
    x = rng.normal(size=(3, 2, 5, 2)).astype(np.float32)
    k = rng.normal(size=(3, 2, 4)).astype(np.float32)
    each = [conv_input_grad(one, k, 5) for one in g]
    mapped = jax.jit(jax.vmap(lambda g: conv_input_grad(g, k, 5)))(g)
    assert_close(mapped, jnp.stack(each), reduction=12)
    each = [conv_kernel_grad(a, b, 3) for a, b in zip(x, g, strict=True)]
    mapped = jax.vmap(lambda x, g: conv_kernel_grad(x, g, 3))(x, g)
    assert_close(mapped, jnp.stack(each), reduction=10)
    total, _ = lax.scan(
        lambda sum_, pair: (sum_ + conv_kernel_grad(*pair, 3), None),
        jnp.zeros((3, 2, 4)),
        (x, g),
    )
    assert_close(total, jnp.sum(mapped, 0), reduction=30)

"""The elementwise bound, and confinement of NaN, on data that transforms get wrong."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxnets import native
from jaxnets.functional import conv, conv_transpose
from tests.functional.accuracy_cases import (
    FAST,
    LAYERS,
    adversarial,
    check_bound,
    check_confined,
    integers,
    layer,
    rounded,
)
from tests.functional.conv_algorithm_cases import limit_blocks
from tests.functional.conv_cases import make_problem
from tests.native.native_cases import tap_sums

# `native` has a file of its own, tests/native/test_accuracy.py.
NAMES = ("auto", "direct", "gemm", "shift")
DTYPES = ("float32", "float64", "bfloat16")
pytestmark = pytest.mark.usefixtures("plain_precision", "without_kernels")


@pytest.fixture
def plain_precision():
    """The precision that users have: the suite's own rules out what rounds more."""
    with jax.default_matmul_precision("default"):
        yield


@pytest.fixture
def without_kernels(monkeypatch):
    reason = "is switched off by JAXNETS_NATIVE=0"
    monkeypatch.setattr(native, "missing", lambda: reason)


def three_parts(problem, algorithm):
    """A jitted function of x, kernel and g: the convolution and both its gradients."""
    strides, padding, dilation, groups, *_ = problem.spec
    options = {"strides": strides, "padding": padding, "groups": groups}
    if algorithm == "lax":
        layout = ("N" + "DHW"[: len(strides)] + "C", "DHW"[: len(strides)] + "IO")
        run = partial(
            lax.conv_general_dilated,
            window_strides=strides,
            padding=padding,
            rhs_dilation=dilation,
            dimension_numbers=(*layout, layout[0]),
            feature_group_count=groups,
        )
    else:
        run = partial(conv, **options, dilation=dilation, algorithm=algorithm)

    @jax.jit
    def parts(x, kernel, g):
        y, backward = jax.vjp(run, x, kernel)
        return y, *backward(g)

    return parts


LAYERS_AND_DTYPES = [
    pytest.param(
        name,
        dtype,
        marks=() if name in FAST and dtype == "float32" else pytest.mark.slow,
    )
    for name in LAYERS
    for dtype in DTYPES
]


@pytest.mark.parametrize("algorithm", [*NAMES, "lax"])
@pytest.mark.parametrize(("name", "dtype"), LAYERS_AND_DTYPES)
@pytest.mark.usefixtures("x64")
def test_errors_are_relative_to_the_terms_of_each_result(name, dtype, algorithm, rng):
    """`lax` itself is within the same bound."""
    plain = layer(name, rng)
    run = three_parts(plain, algorithm)
    for where, problem in adversarial(plain, rng):
        problem = rounded(problem, dtype)
        results = run(*(jnp.asarray(a, dtype) for a in problem[:3]))
        check_bound(results, problem, dtype, where)


@pytest.mark.parametrize("algorithm", NAMES)
@pytest.mark.parametrize(("name", "dtype"), LAYERS_AND_DTYPES)
@pytest.mark.usefixtures("x64")
def test_sums_of_integers_are_exact(name, dtype, algorithm, rng):
    """Up to 2^24, where float32 ends: a large part comes near."""
    plain = layer(name, rng)
    problem = integers(plain, rng, 256 if dtype == "bfloat16" else 2**12)
    arrays = (jnp.asarray(a, dtype) for a in problem[:3])
    results = three_parts(problem, algorithm)(*arrays)
    for result, want in zip(results, tap_sums(problem), strict=True):
        assert want.max() < 2**24
        rounded_once = np.asarray(jnp.asarray(want, dtype), np.float64)
        np.testing.assert_array_equal(np.asarray(result, np.float64), rounded_once)


@pytest.mark.parametrize("algorithm", NAMES)
@pytest.mark.parametrize(
    "name",
    [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in LAYERS],
)
def test_what_is_not_finite_stays_where_sums_have_it(name, algorithm, rng):
    problem = layer(name, rng)
    check_confined(problem, three_parts(problem, algorithm), rng)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["gemm", "shift"])
@pytest.mark.parametrize("name", LAYERS)
def test_what_is_not_finite_stays_there_in_small_blocks(
    name, algorithm, rng, monkeypatch
):
    limit_blocks(monkeypatch, 3000)
    problem = layer(name, rng)
    check_confined(problem, three_parts(problem, algorithm), rng)


@pytest.mark.parametrize("algorithm", NAMES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.usefixtures("x64")
def test_a_transposed_convolution_keeps_the_bound(rank, dtype, algorithm, rng):
    sizes = (11,) * rank, (5,) * rank
    plain = make_problem(rng, 2, *sizes, 3, 4, strides=2, padding=0)

    @jax.jit
    def run(x, kernel, g):
        """The transpose takes g to an x, and its own gradients are the other two."""
        spread = partial(
            conv_transpose, strides=2, padding="VALID", algorithm=algorithm
        )
        dx, backward = jax.vjp(spread, g, kernel)
        y, dk = backward(x)
        return y, dx, dk

    for where, problem in adversarial(plain, rng):
        problem = rounded(problem, dtype)
        results = run(*(jnp.asarray(a, dtype) for a in problem[:3]))
        check_bound(results, problem, dtype, where)
    if dtype == "float32":
        check_confined(plain, run, rng)

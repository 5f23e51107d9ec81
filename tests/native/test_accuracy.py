"""The native kernels keep the elementwise bound, by every instruction set.

The data and the bound are those of tests/functional/test_conv_accuracy.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.functional import conv
from jaxnets.functional.conv_algorithms import ALGORITHMS, PARTS
from tests.functional.accuracy_cases import (
    FAST,
    LAYERS,
    OPERANDS,
    adversarial,
    check_bound,
    check_confined,
    integers,
    layer,
    rounded,
)
from tests.functional.conv_cases import make_problem
from tests.native.native_cases import instruction_sets, tap_sums

pytestmark = [
    pytest.mark.usefixtures("plain_precision"),
    pytest.mark.skipif(not instruction_sets(), reason="no compiled kernels"),
]
# Layers that the kernels may transform in all three parts; those of LAYERS they sum.
TRANSFORMED = {
    "1-D, by tiles": (1, (512,), (64,), 1, 1, {"padding": 31}),
    "1-D, channels by tiles": (1, (2048,), (128,), 4, 4, {"padding": 64}),
    "1-D, depthwise by tiles": (
        *(1, (1024,), (128,), 1, 1),
        {"padding": ((127, 0),), "groups": 8},
    ),
    "2-D, by tiles": (1, (40, 40), (15, 15), 1, 1, {"padding": 7}),
    "2-D, channels by tiles": (1, (28, 28), (11, 11), 16, 16, {"padding": 5}),
    "2-D, depthwise by tiles": (
        *(2, (28, 28), (13, 13), 1, 1),
        {"padding": 6, "groups": 16},
    ),
    "2-D, 3x3 by tiles": (4, (56, 56), (3, 3), 64, 64, {"padding": 1}),
    "3-D, by tiles": (1, (16, 16, 16), (5, 5, 5), 4, 4, {"padding": 2}),
}
ALL = LAYERS | TRANSFORMED
QUICK = (*FAST, *(name for name in TRANSFORMED if name != "2-D, 3x3 by tiles"))
SOME_LAYERS = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
    for name in ALL
]


@pytest.fixture
def plain_precision():
    """The precision that users have: the suite's own keeps to sums."""
    with jax.default_matmul_precision("default"):
        yield


@pytest.fixture(params=["auto", *(instruction_sets() or ["none"])])
def by_native(request, monkeypatch):
    """A function of a problem, by the default rule or by one instruction set."""
    if request.param == "auto":
        return by_default
    real = jax.ffi.ffi_call

    def with_instructions(*args, **options):
        call = real(*args, **options)
        chosen = {"instructions": request.param}
        return lambda *arrays, **attributes: call(*arrays, **attributes | chosen)

    monkeypatch.setattr(jax.ffi, "ffi_call", with_instructions)
    return by_algorithm


def by_default(problem):
    """What `conv` and its gradients do with no option set."""
    strides, padding, dilation, groups, *_ = problem.spec

    def run(x, kernel):
        return conv(
            x,
            kernel,
            strides=strides,
            padding=padding,
            dilation=dilation,
            groups=groups,
        )

    @jax.jit
    def parts(x, kernel, g):
        y, backward = jax.vjp(run, x, kernel)
        return y, *backward(g)

    return parts


def by_algorithm(problem):
    """The three parts as the algorithm calls the kernels."""
    native, spec = ALGORITHMS["native"], problem.spec

    @jax.jit
    def parts(x, kernel, g):
        return (
            native.forward(x, kernel, spec),
            native.input_grad(g, kernel, spec, problem.spatial),
            native.kernel_grad(x, g, spec, problem.window),
        )

    return parts


@pytest.mark.parametrize("name", TRANSFORMED)
def test_these_layers_go_by_transforms_where_errors_may_be_relaxed(name, rng):
    facts = layer(name, rng, ALL).single().facts
    facts = facts._replace(spec=facts.spec._replace(relaxed=True))
    works = [ALGORITHMS["native"].work(part, facts) for part in PARTS]
    assert {work.kind for work in works} == {"transforms"}


@pytest.mark.parametrize("name", SOME_LAYERS)
def test_errors_are_relative_to_the_terms_of_each_result(name, by_native, rng):
    plain = layer(name, rng, ALL)
    run = by_native(plain)
    for where, problem in adversarial(plain, rng):
        problem = rounded(problem, "float32")
        results = run(*(jnp.asarray(a, "float32") for a in problem[:3]))
        check_bound(results, problem, "float32", where)


@pytest.mark.parametrize("name", SOME_LAYERS)
def test_sums_of_integers_are_exact(name, by_native, rng):
    problem = integers(layer(name, rng, ALL), rng, 2**12)
    results = by_native(problem)(*(jnp.asarray(a, "float32") for a in problem[:3]))
    for result, want in zip(results, tap_sums(problem), strict=True):
        np.testing.assert_array_equal(result, want)


@pytest.mark.parametrize("name", SOME_LAYERS)
def test_what_is_not_finite_stays_where_sums_have_it(name, by_native, rng):
    problem = layer(name, rng, ALL)
    check_confined(problem, by_native(problem), rng)


def test_a_window_wider_than_the_image_confines_nan(by_native, rng):
    """One NaN in x reached a second result."""
    pads, strides = ((0, 3), (0, 2)), (2, 1)
    problem = make_problem(
        *(rng, 3, (2, 1), (4, 2), 1, 1), groups=19, padding=pads, strides=strides
    )
    check_confined(problem, by_native(problem), rng)


def test_ones_are_counted_by_a_window_of_ones(by_native, rng):
    """72 % of the results were not whole numbers."""
    problem = make_problem(rng, 1, (128, 128), (11, 11), 1, 1, padding=5)
    ones = dict(zip(OPERANDS, map(np.ones_like, problem[:3]), strict=True))
    problem = problem._replace(**ones)
    results = by_native(problem)(*(jnp.asarray(a, "float32") for a in problem[:3]))
    for result, want in zip(results, tap_sums(problem), strict=True):
        np.testing.assert_array_equal(result, want)


def test_a_large_element_spoils_no_window_but_its_own(by_native, rng):
    """One of 1e8 among positive ones: the relative error elsewhere was 2.2."""
    problem = make_problem(rng, 1, (96, 96), (31, 31), 1, 1, padding=15)
    for where, case in adversarial(problem, rng):
        if not where.startswith("spike"):
            continue
        case = rounded(case, "float32")
        results = by_native(problem)(*(jnp.asarray(a, "float32") for a in case[:3]))
        check_bound(results, case, "float32", where)

"""What each algorithm states of itself: accuracy, precision, limits and work."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.functional.conv_algorithms import ALGORITHMS, PARTS, gemm, shift, winograd
from tests.functional.conv_algorithm_cases import (
    lowered,
    parts_of,
    skip_without_kernels,
    some_slow,
)
from tests.functional.conv_cases import make_problem
from tests.helpers import EPSILON


def relative_errors(name, problem, wanted, dtype):
    """Error of each part relative to the result, in the 2-norm."""
    arrays = [jnp.asarray(a, dtype) for a in problem[:3]]
    parts = jax.jit(parts_of(name, problem.spec, problem.spatial, problem.window))
    results = parts(*arrays)
    assert all(r.dtype == dtype for r in results)
    return [
        np.linalg.norm(np.asarray(got, np.float64) - want) / np.linalg.norm(want)
        for got, want in zip(results, wanted, strict=True)
    ]


def strict_parts(problem):
    """The parts in float64 by matrix products over the taps, in NumPy."""
    x, kernel, g, spec = problem
    rows, columns = g.shape[1:3]
    padded = np.pad(x, ((0, 0), *spec.padding, (0, 0)))
    y, dpadded = np.zeros(g.shape), np.zeros(padded.shape)
    dk = np.zeros(kernel.shape)
    for i, j in np.ndindex(*kernel.shape[:2]):
        seen = padded[:, i : i + rows, j : j + columns]
        y += seen @ kernel[i, j]
        dpadded[:, i : i + rows, j : j + columns] += g @ kernel[i, j].T
        dk[i, j] = np.tensordot(seen, g, ((0, 1, 2), (0, 1, 2)))
    inner = [slice(lo, n - hi) for n, (lo, hi) in zip(padded.shape[1:3], spec.padding)]  # noqa: B905
    return y, dpadded[:, *inner], dk


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGORITHMS)
def test_accuracy_is_the_stated_one(name, rng):
    skip_without_kernels(name)
    problem = make_problem(rng, 2, (28, 28), (3, 3), 64, 64, padding=1)
    # The inputs exactly as the algorithm sees them: float32, and bfloat16 below.
    single = problem._replace(
        **{n: getattr(problem, n).astype(np.float32) for n in ("x", "kernel", "g")}
    )
    wide = single._replace(
        **{n: getattr(single, n).astype(np.float64) for n in ("x", "kernel", "g")}
    )
    errors = relative_errors(name, single, strict_parts(wide), jnp.float32)
    terms = (9 * 64, 9 * 64, 2 * 28 * 28)
    for part, error, reduction in zip(PARTS, errors, terms, strict=True):
        sums = 1e-7 * reduction**0.5
        bound = 1e-5 if name in ("fft", "overlap_add", "winograd") else sums
        assert 1e-9 < error < bound, part


@pytest.mark.parametrize("name", some_slow(("direct", "gemm", "winograd")))
def test_halves_round_once(name, rng):
    skip_without_kernels(name, "bfloat16")
    problem = make_problem(rng, 2, (9, 9), (3, 3), 16, 16, padding=1)
    arrays = {n: getattr(problem, n) for n in ("x", "kernel", "g")}
    halves = {
        n: np.asarray(jnp.asarray(a, jnp.bfloat16), np.float64)
        for n, a in arrays.items()
    }
    wide = problem._replace(**halves)
    errors = relative_errors(name, problem, strict_parts(wide), jnp.bfloat16)
    # Rounding every entry once to 8 bits leaves eps / sqrt(12) / 2 .. eps / 2 of it.
    assert max(errors) < EPSILON["bfloat16"] / 2


@pytest.mark.parametrize(
    "name", some_slow(("gemm", "fft"), [n for n in ALGORITHMS if n != "direct"])
)
def test_no_convolution_is_left_to_xla(name, rng):
    skip_without_kernels(name)
    problem = make_problem(rng, 2, (10, 9), (3, 3), 2, 2, padding=1)
    text = lowered(name, problem, "float32").as_text()
    assert "stablehlo.convolution" not in text
    if name == "winograd":
        return
    strided = make_problem(rng, 2, (10, 9), (3, 3), 2, 2, padding=1, strides=2)
    assert "stablehlo.convolution" not in lowered(name, strided, "float32").as_text()
    for window in ((1, 1), (2, 2)):
        beside = make_problem(rng, 2, (8, 8), window, 2, 2, strides=window)
        assert "stablehlo.convolution" not in lowered(name, beside, "float32").as_text()


def all_products(jaxpr):
    """Every dot_general and convolution in a jaxpr, the inner ones too."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            yield equation
        for value in equation.params.values():
            for part in value if isinstance(value, tuple) else (value,):
                inner = getattr(part, "jaxpr", part)
                if hasattr(inner, "eqns"):
                    yield from all_products(inner)


@pytest.mark.parametrize("name", ["direct", "gemm", "shift", "winograd"])
def test_precision_reaches_every_product(name, rng):
    problem = make_problem(rng, 2, (6, 6), (3, 3), 2, 2, padding=1)
    problem = problem._replace(spec=problem.spec._replace(precision="highest"))
    parts = parts_of(name, problem.spec, problem.spatial, problem.window)
    arrays = (jnp.asarray(a, "float32") for a in problem[:3])
    with jax.default_matmul_precision("bfloat16"):
        products = list(all_products(jax.make_jaxpr(parts)(*arrays).jaxpr))
    assert len(products) >= 3
    for product in products:
        assert "HIGHEST" in str(product.params["precision"]), product


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (
            {"window": (3, 2)},
            r"needs a window of 3 cells along every axis; got \(3, 2\)",
        ),
        ({"strides": (1, 2)}, r"needs strides of 1; got \(1, 2\)"),
        ({"dilation": (2, 1)}, r"needs a dilation of 1; got \(2, 1\)"),
        ({"window": (3,) * 4}, "has tiles for 3 spatial axes at most"),
        ({"dtype": "int32"}, "works on floating-point numbers; got int32 .cast x"),
        ({"dtype": "complex64"}, "works on floating-point numbers; got complex64"),
    ],
)
def test_what_winograd_lacks(facts, reason, rng):
    window = facts.get("window", (3, 3))
    options = {k: v for k, v in facts.items() if k in ("strides", "dilation")}
    made = make_problem(rng, 1, (9,) * len(window), window, 1, 1, **options).facts
    made = made._replace(dtype=facts.get("dtype", "float32"))
    assert re.match(reason, winograd.unsupported(made) or "")


@pytest.mark.parametrize("part", PARTS)
def test_work_counts_every_product(part, rng):
    problem = make_problem(rng, 2, (8, 6), (3, 2), 2, 3, strides=(2, 1), groups=2)
    count = 0
    if part == "input_grad":
        # Every cell of x meets the taps of its phase, those outside g included.
        for _, row, *_ in np.ndindex(*problem.x.shape):
            for tap, _ in np.ndindex(3, 2):
                count += problem.facts.fan_out * ((row - tap) % 2 == 0)
    else:
        for _ in np.ndindex(*problem.g.shape):
            for _ in np.ndindex(*problem.kernel.shape[:-1]):
                count += 1
    assert gemm.work(part, problem.facts).flops == 2 * count
    assert shift.work(part, problem.facts).flops == 2 * count
    # The stride of 2 leaves zeros that XLA multiplies in the input gradient.
    zeros = 2 if part == "input_grad" else 1
    assert ALGORITHMS["direct"].work(part, problem.facts).flops == 2 * count * zeros


@pytest.mark.parametrize("name", ALGORITHMS)
def test_work_grows_with_the_batch(name, rng):
    facts = make_problem(rng, 1, (20, 20), (3, 3), 4, 4, padding=1).facts
    for part in PARTS:
        one, many = (
            ALGORITHMS[name].work(part, facts._replace(batch=n)) for n in (1, 64)
        )
        assert min(one[:3]) > 0
        assert many.flops > 16 * one.flops
        assert many.bytes > 16 * one.bytes
        assert many.calls >= one.calls

"""One algorithm of convolution at a time: traced, checked, in small blocks."""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import pytest

from jaxnets.functional.conv_algorithms import (
    ALGORITHMS,
    fft,
    gemm,
    overlap_add,
    shift,
    winograd,
)
from tests.helpers import assert_close

LIMITS = (
    (gemm, "BUFFER_BYTES"),
    (gemm, "IMAGE_BYTES"),
    (gemm, "FOLD_BYTES"),
    (shift, "BLOCK_BYTES"),
    (shift, "SUM_BYTES"),
    (shift, "CHANNEL_SUM_BYTES"),
    (winograd, "BUFFER_BYTES"),
    (fft, "STEP_BYTES"),
    (overlap_add, "STEP_BYTES"),
)


def parts_of(name, spec, spatial, window):
    """The convolution and both gradients by one algorithm."""
    algorithm = ALGORITHMS[name]

    def parts(x, kernel, g):
        return (
            algorithm.forward(x, kernel, spec),
            algorithm.input_grad(g, kernel, spec, spatial),
            algorithm.kernel_grad(x, g, spec, window),
        )

    return parts


def lowered(name, problem, dtype=None):
    """The three parts, traced anew and lowered."""
    parts = parts_of(name, problem.spec, problem.spatial, problem.window)
    arrays = (jnp.asarray(a, dtype) for a in problem[:3])
    return jax.jit(parts).lower(*arrays)


def check(name, problem, wanted=None):
    """Against the sums written out, in float64."""
    arrays = map(jnp.asarray, problem[:3])
    results = lowered(name, problem).compile()(*arrays)
    wanted = problem.written_out() if wanted is None else wanted
    assert_close(results, wanted, tol=1e-11 if name == "winograd" else 1e-12)


def limit_blocks(patch, limit):
    """Make blocks small, that many of them happen on small arrays."""
    for module, constant in LIMITS:
        patch.setattr(module, constant, limit)
    patch.setattr(fft, "WHOLE_BYTES", 0)


def some_slow(fast, names: Iterable[str] = ALGORITHMS):
    """The names, those not in `fast` as slow tests: every one compiles for seconds."""
    slow = pytest.mark.slow
    return [n if n in fast else pytest.param(n, marks=slow) for n in names]

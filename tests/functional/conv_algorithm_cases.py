"""One algorithm of convolution at a time: traced, checked, in small blocks."""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import native
from jaxnets.functional.conv_algorithms import (
    ALGORITHMS,
    ConvFacts,
    ConvSpec,
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
    """Against the sums written out, in float64; in float32 by what has no other."""
    if width_of(name) == np.float32:
        problem, wanted = problem.single(), None
    arrays = map(jnp.asarray, problem[:3])
    results = lowered(name, problem).compile()(*arrays)
    wanted = problem.written_out() if wanted is None else wanted
    if problem.x.dtype == np.float32:
        for result, want, terms in zip(results, wanted, problem.terms, strict=True):
            assert_close(result, want, dtype=np.float32, reduction=terms)
        return
    assert_close(results, wanted, tol=1e-11 if name == "winograd" else 1e-12)


def width_of(name):
    """The widest floats that an algorithm takes."""
    return np.dtype(np.float32 if name == "native" else np.float64)


def skip_without_kernels(name, dtype="float32", rank=2):
    """Skip what `native` alone says that it does not do, here or anywhere."""
    if name == "native":
        ones = (1,) * rank
        spec = ConvSpec(ones, ((0, 0),) * rank, ones, 1, None)
        facts = ConvFacts(1, ones, ones, 1, 1, spec, dtype)
        reason = ALGORITHMS[name].unsupported(facts)
        if reason is not None:
            pytest.skip(f"native {reason}")


def present():
    """Names of the algorithms that this installation has."""
    return [name for name in ALGORITHMS if name != "native" or not native.missing()]


def limit_blocks(patch, limit):
    """Make blocks small, that many of them happen on small arrays."""
    for module, constant in LIMITS:
        patch.setattr(module, constant, limit)
    patch.setattr(fft, "WHOLE_BYTES", 0)


def some_slow(fast, names: Iterable[str] = ALGORITHMS):
    """The names, those not in `fast` as slow tests: every one compiles for seconds."""
    slow = pytest.mark.slow
    return [n if n in fast else pytest.param(n, marks=slow) for n in names]

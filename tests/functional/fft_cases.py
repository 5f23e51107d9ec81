"""Problems, and what both algorithms by transforms are checked against."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from jaxnets.functional.conv_algorithms import fft, overlap_add
from jaxnets.functional.conv_algorithms._spec import ConvFacts, ConvSpec
from tests import oracles
from tests.helpers import assert_close

ALGORITHMS = {
    "fft": fft,
    "overlap_add": overlap_add,
}
PARTS = ("forward", "input_grad", "kernel_grad")


def spec_of(rank, *, strides=1, padding=(0, 0), dilation=1, groups=1):
    """A spec with the same option along every axis."""
    axes = (1,) * rank
    return ConvSpec(
        tuple(strides * a for a in axes),
        (padding,) * rank,
        tuple(dilation * a for a in axes),
        groups,
        None,
    )


def facts_of(spec, batch, spatial, window, channels, out, dtype="float32"):
    return ConvFacts(batch, spatial, window, channels, out, spec, dtype)


def draw_arrays(rng, spec, batch, spatial, window, fan_in, out, dtype="float64"):
    """x, the kernel and the gradient of the output."""
    positions = spec.positions(spatial, window)
    shapes = (
        (batch, *spatial, fan_in * spec.groups),
        (*window, fan_in, out),
        (batch, *positions, out),
    )
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def run_parts(algorithm, arrays, spec, **options):
    """The convolution and its two gradients."""
    x, kernel, g = map(jnp.asarray, arrays)

    @jax.jit
    def parts(x, kernel, g):
        return (
            algorithm.forward(x, kernel, spec, **options),
            algorithm.input_grad(g, kernel, spec, x.shape[1:-1], **options),
            algorithm.kernel_grad(x, g, spec, kernel.shape[:-2], **options),
        )

    return parts(x, kernel, g)


def oracle(x, kernel, spec):
    names = ("strides", "padding", "dilation", "groups")
    options = {name: getattr(spec, name) for name in names}
    return oracles.conv(x, kernel, **options)


def check(algorithm, arrays, spec, rng, **options):
    """Values by loops; both gradients by the adjoint law, for two more x and kernels.

    ⟨conv(x, k), g⟩ = ⟨x, input_grad(g, k)⟩ = ⟨k, kernel_grad(x, g)⟩ for every x and k.
    """
    x, kernel, g = arrays
    y, dx, dk = run_parts(algorithm, arrays, spec, **options)
    assert_close(y, oracle(x, kernel, spec), tol=1e-12)
    assert dx.shape == x.shape and dk.shape == kernel.shape
    for _ in range(2):
        other_x, other_kernel = (rng.normal(size=a.shape) for a in (x, kernel))
        left = np.vdot(oracle(other_x, kernel, spec), g)
        assert_close(jnp.vdot(other_x, dx), np.float64(left), tol=1e-12)
        left = np.vdot(oracle(x, other_kernel, spec), g)
        assert_close(jnp.vdot(other_kernel, dk), np.float64(left), tol=1e-12)


@st.composite
def problems(draw, rank):
    """Sizes and a spec, with padding wider than the window and windows off the data."""
    small = 4 if rank < 3 else 2
    along = lambda low, high: draw(st.tuples(*[st.integers(low, high)] * rank))  # noqa: E731
    spec = ConvSpec(
        along(1, 3),
        draw(st.tuples(*[st.tuples(st.integers(0, 6), st.integers(0, 6))] * rank)),
        along(1, 3),
        draw(st.sampled_from([1, 1, 2])),
        None,
    )
    window, spatial = along(1, small), along(1, 2 * small)
    batch, fan_in, fan_out = (draw(st.integers(1, 2)) for _ in range(3))
    seed = draw(st.integers(0, 2**32 - 1))
    return spec, (batch, spatial, window, fan_in, fan_out * spec.groups), seed

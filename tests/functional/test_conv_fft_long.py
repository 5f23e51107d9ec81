"""Overlap-add on long signals and large images: values, and memory."""

import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from jaxnets.functional.conv_algorithms import overlap_add
from tests.functional.fft_cases import (
    draw_arrays,
    facts_of,
    run_parts,
    spec_of,
)
from tests.helpers import assert_close


@pytest.mark.parametrize(("length", "taps"), [(50_000, 300), (20_000, 7000)])
def test_long_signals(length, taps, rng, x64):
    """A true convolution by SciPy's overlap-add, and its gradients by correlation."""
    signal, kernel, g = (
        rng.normal(size=size) for size in (length, taps, length + taps - 1)
    )
    spec = spec_of(1, padding=(taps - 1, taps - 1))
    facts = facts_of(spec, 1, (length,), (taps,), 1, 1, "float64")
    plan = overlap_add.plan(facts, 2 << 20)
    assert plan is not None and plan.tiles[0].count(length) > 1
    y, dx, dk = run_parts(
        overlap_add,
        (signal[None, :, None], kernel[::-1, None, None], g[None, :, None]),
        spec,
        memory=2 << 20,
    )
    wanted = scipy.signal.oaconvolve(signal, kernel)
    assert_close(y[0, :, 0], wanted, tol=1e-12)
    wanted = scipy.signal.oaconvolve(g, kernel[::-1], mode="valid")
    assert_close(dx[0, :, 0], wanted, tol=1e-12)
    wanted = scipy.signal.oaconvolve(g, signal[::-1], mode="valid")[::-1]
    assert_close(dk[:, 0, 0], wanted, tol=1e-12)


@pytest.mark.slow
def test_large_image(rng, x64):
    """Tiles along both axes, several of them and of the images at once."""
    spec = spec_of(2, padding=(4, 4), groups=2)
    facts = facts_of(spec, 3, (90, 70), (5, 9), 4, 2, "float64")
    plan = overlap_add.plan(facts, 200_000)
    assert plan is not None
    assert all(tile.step for tile in plan.tiles)
    arrays = draw_arrays(rng, spec, 3, (90, 70), (5, 9), 2, 2)
    y, dx, dk = run_parts(overlap_add, arrays, spec, memory=200_000)
    x, kernel, g = arrays
    padded = np.pad(x, ((0, 0), (4, 4), (4, 4), (0, 0)))
    wanted = np.zeros_like(y)
    for n, o, i in np.ndindex(3, 2, 2):
        plane, taps = padded[n, :, :, 2 * o + i], kernel[:, :, i, o]
        wanted[n, :, :, o] += scipy.signal.correlate(plane, taps, mode="valid")
    assert_close(y, wanted, tol=1e-12)
    inner = np.vdot(wanted, g)
    assert_close(jnp.vdot(x, dx), inner, tol=1e-12)
    assert_close(jnp.vdot(kernel, dk), inner, tol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("memory", [4 << 20, 16 << 20])
@pytest.mark.parametrize("channels", [1, 6])
def test_memory_is_bounded(memory, channels):
    """XLA's own count of what lives beside the arrays and their copies."""
    length, taps, batch = 300_000, 1000, 2
    spec = spec_of(1, padding=(taps - 1, 0), groups=channels)
    x = jax.ShapeDtypeStruct((batch, length, channels), jnp.float32)
    kernel = jax.ShapeDtypeStruct((taps, 1, channels), jnp.float32)
    options = {"spec": spec, "memory": memory}
    parts = {
        overlap_add.forward: ((x, kernel), {}),
        overlap_add.input_grad: ((x, kernel), {"spatial": (length,)}),
        overlap_add.kernel_grad: ((x, x), {"window": (taps,)}),
    }
    for part, (arrays, more) in parts.items():
        compiled = jax.jit(partial(part, **options, **more)).lower(*arrays).compile()
        analysis = compiled.memory_analysis()
        assert analysis is not None
        arrays_bytes = 4 * batch * length * channels
        assert analysis.temp_size_in_bytes < memory + 3 * arrays_bytes


LONG = """
import sys
import jax, jax.numpy as jnp, numpy as np
from jaxnets.functional.conv_algorithms import overlap_add
from jaxnets.functional.conv_algorithms._spec import ConvSpec

length, taps = 10**7, int(sys.argv[1])
spec = ConvSpec((1,), ((taps - 1, 0),), (1,), 1, None)
rng = np.random.default_rng(0)
x, g = (jnp.asarray(rng.normal(size=(1, length, 1)).astype("f")) for _ in range(2))
kernel = jnp.asarray(rng.normal(size=(taps, 1, 1)).astype("f"))
forward = jax.jit(lambda x, k: overlap_add.forward(x, k, spec))
input_grad = jax.jit(lambda g, k: overlap_add.input_grad(g, k, spec, (length,)))
kernel_grad = jax.jit(lambda x, g: overlap_add.kernel_grad(x, g, spec, (taps,)))
y, dx, dk = forward(x, kernel), input_grad(g, kernel), kernel_grad(x, g)
left, *right = [
    np.vdot(np.asarray(a, np.float64), np.asarray(b, np.float64))
    for a, b in ((y, g), (x, dx), (kernel, dk))
]
scale = np.linalg.norm(y) * np.linalg.norm(g)
print(max(abs(left - value) for value in right) / scale)
tail = slice(length - 50, length)
window = np.asarray(x, np.float64)[0, length - taps - 49 :, 0]
wanted = np.convolve(window, np.asarray(kernel, np.float64)[::-1, 0, 0], "valid")
print(np.linalg.norm(y[0, tail, 0] - wanted) / np.linalg.norm(wanted))
# Of this program alone: ru_maxrss also counts the process that it was forked from.
with open("/proc/self/status") as status:
    peak = next(line for line in status if line.startswith("VmHWM"))
print(int(peak.split()[1]) / 2**20)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
@pytest.mark.parametrize("taps", [1000, 100_000])
def test_ten_million_samples(taps):
    """The convolution and both gradients, in a process of less than 2 GiB."""
    run = subprocess.run(
        [sys.executable, "-c", LONG, str(taps)],
        capture_output=True,
        text=True,
        check=True,
    )
    adjoint, error, peak_gib = map(float, run.stdout.split())
    assert adjoint < 1e-6
    assert error < 1e-5
    assert peak_gib < 2.0

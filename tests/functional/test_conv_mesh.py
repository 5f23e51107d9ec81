"""Every algorithm of convolution cut over devices, and in blocks on each of them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, PartitionSpec

from jaxnets.functional import conv
from jaxnets.functional.conv_algorithms import ALGORITHMS
from tests.functional.conv_algorithm_cases import limit_blocks, some_slow
from tests.helpers import assert_close

# They state 1e-5 in the 2-norm; single entries are up to 4 times as far off.
BLOCK_TOLERANCE = {"winograd": 4e-5, "fft": 1e-5, "overlap_add": 1e-5}


@pytest.mark.parametrize("limit", [4096, pytest.param(1 << 24, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", some_slow(("gemm", "shift")))
def test_shard_map_sums_the_kernel_gradient(name, limit, rng, monkeypatch):
    """Also where a device goes through its share in blocks."""
    limit_blocks(monkeypatch, limit)
    x = rng.normal(size=(8, 12, 9, 2)).astype(np.float32)
    k = rng.normal(size=(3, 3, 2, 2)).astype(np.float32)

    def loss(x, k, name):
        return jnp.sum(jnp.sin(conv(x, k, algorithm=name)))

    mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Auto,))
    spread = jax.shard_map(
        lambda x, k: lax.psum(loss(x, k, name), "d"),
        mesh=mesh,
        in_specs=(PartitionSpec("d"), PartitionSpec()),
        out_specs=PartitionSpec(),
    )
    wanted = jax.grad(lambda x, k: loss(x, k, "direct"), (0, 1))(x, k)
    tol = BLOCK_TOLERANCE.get(name, 4e-6)
    assert_close(jax.jit(jax.grad(spread, (0, 1)))(x, k), wanted, tol=tol)


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("cut", ["batch", "features"])
@pytest.mark.parametrize("name", some_slow(()))
def test_derivatives_on_a_mesh_in_blocks(name, cut, axis_type, rng, monkeypatch):
    limit_blocks(monkeypatch, 4096)
    x, k = draw_for_mesh(rng)

    def loss(x, k, name):
        return jnp.sum(jnp.sin(conv(x, k, algorithm=name)))

    wanted = jax.jit(jax.grad(lambda *a: loss(*a, "direct"), (0, 1)))(x, k)
    mesh = jax.make_mesh((4,), ("d",), axis_types=(axis_type,))
    with jax.set_mesh(mesh):
        xs, ks = over_mesh(x, k, cut)
        got = jax.jit(jax.grad(lambda *a: loss(*a, name), (0, 1)))(xs, ks)
    tol = BLOCK_TOLERANCE.get(name, 4e-6)
    assert_close(got, wanted, tol=tol)


def shared_out():
    """Every algorithm with every cut: slow but for two, and what XLA gathers."""
    gathers = pytest.mark.xfail(
        reason="blocks are cut along the batch: XLA gathers them on a CPU mesh",
        strict=False,
    )
    for name, cut in itertools.product(ALGORITHMS, ("batch", "features")):
        marks = [gathers] if cut == "batch" and name != "direct" else []
        if (name, cut) == ("winograd", "features"):
            reason = "XLA loses the cut of the outputs in the transform of the kernel"
            marks = [pytest.mark.xfail(reason=reason, strict=False)]
        if name not in ("direct", "gemm"):
            marks.append(pytest.mark.slow)
        yield pytest.param(name, cut, marks=marks)


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize(("name", "cut"), list(shared_out()))
def test_a_mesh_shares_the_work_out(name, cut, axis_type, rng, monkeypatch):
    """No device collects the whole batch, to do what all the others do."""
    limit_blocks(monkeypatch, 4096)
    mesh = jax.make_mesh((4,), ("d",), axis_types=(axis_type,))
    with jax.set_mesh(mesh):
        xs, ks = over_mesh(*draw_for_mesh(rng), cut)
        run = jax.jit(lambda x, k: conv(x, k, algorithm=name))
        compiled = run.lower(xs, ks).compile()
        spread = tuple(run(xs, ks).sharding.spec)
    assert spread[:1] == ("d",) if cut == "batch" else spread[3:] == ("d",)
    if cut == "batch":
        assert " all-gather" not in compiled.as_text()


def draw_for_mesh(rng):
    x = rng.normal(size=(8, 12, 9, 2)).astype(np.float32)
    return x, rng.normal(size=(3, 3, 2, 4)).astype(np.float32)


def over_mesh(x, k, cut):
    """X cut along its batch, or the kernel along its outputs, over 4 devices."""
    over_x = PartitionSpec("d") if cut == "batch" else PartitionSpec()
    over_k = PartitionSpec() if cut == "batch" else PartitionSpec(None, None, None, "d")
    return jax.device_put(x, over_x), jax.device_put(k, over_k)

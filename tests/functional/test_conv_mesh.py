"""Every algorithm of convolution cut over devices, and in blocks on each of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, PartitionSpec

from jaxnets.functional import conv
from tests.functional.conv_algorithm_cases import (
    limit_blocks,
    skip_without_kernels,
    some_slow,
)
from tests.helpers import assert_close

# They state 1e-5 in the 2-norm; single entries are up to 4 times as far off.
BLOCK_TOLERANCE = {"winograd": 4e-5, "fft": 1e-5, "overlap_add": 1e-5}


@pytest.mark.parametrize("limit", [4096, pytest.param(1 << 24, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", some_slow(("gemm", "shift")))
def test_shard_map_sums_the_kernel_gradient(name, limit, rng, monkeypatch):
    """Also where a device goes through its share in blocks."""
    skip_without_kernels(name)
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
    skip_without_kernels(name)
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


@pytest.mark.parametrize("cut", ["batch", "features"])
@pytest.mark.parametrize("name", some_slow(("gemm",)))
def test_an_explicit_mesh_shares_the_work_out(name, cut, rng, monkeypatch):
    """No device collects the whole batch, to do what all the others do."""
    skip_without_kernels(name)
    limit_blocks(monkeypatch, 4096)
    text, spread = compile_on_mesh(name, cut, AxisType.Explicit, rng)
    assert spread == (
        ("d", None, None, None) if cut == "batch" else (None,) * 3 + ("d",)
    )
    assert " all-gather" not in text


@pytest.mark.parametrize("name", ["auto", "direct"])
def test_an_automatic_mesh_shares_the_batch_out(name, rng):
    """XLA decides about the cuts, so "auto" takes the algorithm that it can cut."""
    text, spread = compile_on_mesh(name, "batch", AxisType.Auto, rng)
    assert spread[:1] == ("d",)
    assert " all-gather" not in text


@pytest.mark.parametrize(
    ("groups", "over_x", "over_k"),
    [
        (1, (None, None, None, "d"), ()),
        (1, ("d",), (None, None, None, "e")),
        (1, ("d", "e"), (None, None, "d")),
        (4, ("d",), (None, None, None, "e")),
        (4, (None, None, None, ("d", "e")), ()),
        # Four devices cannot share two groups: that cut is undone.
        (2, (), (None, None, None, ("d", "e"))),
    ],
)
def test_cuts_of_an_explicit_mesh(groups, over_x, over_k, rng):
    x = rng.normal(size=(8, 6, 5, 4)).astype(np.float32)
    k = rng.normal(size=(3, 3, 4 // groups, 8)).astype(np.float32)

    def loss(x, k, name):
        return jnp.sum(jnp.sin(conv(x, k, groups=groups, algorithm=name)))

    wanted = jax.jit(jax.grad(lambda *a: loss(*a, "direct"), (0, 1)))(x, k)
    explicit = (AxisType.Explicit,) * 2
    with jax.set_mesh(jax.make_mesh((2, 2), ("d", "e"), axis_types=explicit)):
        xs = jax.device_put(x, PartitionSpec(*over_x))
        ks = jax.device_put(k, PartitionSpec(*over_k))
        got = jax.jit(jax.grad(lambda *a: loss(*a, "gemm"), (0, 1)))(xs, ks)
        for g, a in zip(got, (xs, ks), strict=True):
            assert g.sharding.is_equivalent_to(a.sharding, a.ndim)
    assert_close(got, wanted, tol=4e-6)


def compile_on_mesh(name, cut, axis_type, rng):
    """The compiled convolution on 4 devices, and how its result is cut."""
    mesh = jax.make_mesh((4,), ("d",), axis_types=(axis_type,))
    with jax.set_mesh(mesh):
        xs, ks = over_mesh(*draw_for_mesh(rng), cut)
        compiled = jax.jit(lambda x, k: conv(x, k, algorithm=name)).lower(xs, ks)
        compiled = compiled.compile()
        return compiled.as_text(), tuple(compiled(xs, ks).sharding.spec)


def draw_for_mesh(rng):
    x = rng.normal(size=(8, 12, 9, 2)).astype(np.float32)
    return x, rng.normal(size=(3, 3, 2, 4)).astype(np.float32)


def over_mesh(x, k, cut):
    """X cut along its batch, or the kernel along its outputs, over 4 devices."""
    over_x = PartitionSpec("d") if cut == "batch" else PartitionSpec()
    over_k = PartitionSpec() if cut == "batch" else PartitionSpec(None, None, None, "d")
    return jax.device_put(x, over_x), jax.device_put(k, over_k)

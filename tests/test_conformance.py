"""Laws that every public function of arrays and every module keeps.

The table of cases is `tests/cases.py`; `test_public_names.py` sees to it that every
public name is in it.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tests.case_kinds import Case
from tests.case_laws import (
    costly_law,
    plain,
    quick_law,
    result_and_gradient,
    smooth_part,
)
from tests.helpers import assert_close

# For laws of differentiation alone, in float64: what XLA makes of a program faster, and
# what its rounding is, other laws see.
QUICK_TO_COMPILE = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}


@quick_law
def test_jit_equals_eager_and_a_second_call_compiles_nothing(case: Case):
    chex.clear_trace_counter()
    counted = jax.jit(chex.assert_max_traces(case.call, n=1))
    arguments = case.draw(0)
    assert_close(counted(*arguments), case.call(*arguments), reduction=64)
    counted(*case.draw(1))


@costly_law
def test_vmap_equals_loop(case: Case):
    draws = [case.draw(seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *draws)
    mapped = jax.jit(jax.vmap(case.call))(*stacked)
    for i, arguments in enumerate(draws):
        one = jax.tree.map(lambda a, i=i: a[i], mapped)
        assert_close(one, case.call(*arguments), reduction=64)


@costly_law
def test_vmap_over_one_argument_equals_loop(case: Case):
    draws = [case.draw(seed) for seed in range(3)]
    first = draws[0]
    with_arrays = [i for i, a in enumerate(first) if jax.tree.leaves(a)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *draws)

    @jax.jit
    def over_each(first, stacked):
        results = []
        for position in with_arrays:
            axes = [0 if i == position else None for i in range(len(first))]
            together = (*first[:position], stacked[position], *first[position + 1 :])
            results.append(jax.vmap(case.call, in_axes=axes)(*together))
        return results

    for position, mapped in zip(with_arrays, over_each(first, stacked), strict=True):
        for i, draw in enumerate(draws):
            one = jax.tree.map(lambda a, i=i: a[i], mapped)
            arguments = (*first[:position], draw[position], *first[position + 1 :])
            assert_close(one, case.call(*arguments), reduction=64)


@costly_law
def test_scan_equals_loop(case: Case):
    draws = [case.draw(seed) for seed in range(2)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *draws)
    _, results = lax.scan(lambda c, a: (c, case.call(*a)), None, stacked)
    for i, arguments in enumerate(draws):
        one = jax.tree.map(lambda a, i=i: a[i], results)
        assert_close(one, case.call(*arguments), reduction=64)


@costly_law
def test_remat_keeps_the_gradient(case: Case):
    again = jax.jit(lambda *a: result_and_gradient(case, a, remat=True)[1])
    _, gradient = plain(case)
    assert_close(again(*case.draw(0)), gradient, reduction=64)
    size = sum(float(jnp.sum(jnp.abs(g))) for g in jax.tree.leaves(gradient))
    assert 0 < size < np.inf


def dot(a, b):
    """The sum of the products of all entries of two trees."""
    return sum(map(jnp.vdot, jax.tree.leaves(a), jax.tree.leaves(b)))


@costly_law
@pytest.mark.usefixtures("x64")
def test_derivatives_to_second_order_in_both_modes(case: Case):
    """Every pair of modes gives the same, and what differences of values give.

    All is one program: `jax.test_util.check_grads` goes op by op, and compiles for
    each case some hundred small programs.
    """
    arguments = to_dtype(case.draw(0), jnp.float64)
    call, smooth = smooth_part(case, arguments)
    rng = np.random.default_rng(0)
    normal = lambda a: rng.normal(size=a.shape)  # noqa: E731
    along = jax.tree.map(normal, smooth)
    weights = jax.tree.map(normal, jax.eval_shape(lambda a: call(*a), smooth))

    def pull(x):
        """The gradient of the weighted sum of the results."""
        return jax.grad(lambda a: dot(call(*a), weights))(x)

    def push(x, v):
        """The derivative of the results along `v`."""
        return jax.jvp(lambda a: call(*a), (x,), (v,))[1]

    @functools.partial(jax.jit, compiler_options=QUICK_TO_COMPILE)
    def derivatives(x, v):
        first = call(*x), push(x, v), pull(x)
        along_v = {
            "forward over forward": jax.jvp(lambda a: push(a, v), (x,), (v,))[1],
            "forward over reverse": jax.jvp(pull, (x,), (v,))[1],
            "reverse over reverse": jax.grad(lambda a: dot(pull(a), v))(x),
            "reverse over forward": jax.grad(
                lambda a, v: dot(push(a, v), weights), (0, 1)
            )(x, v),
        }
        return first, along_v

    (_, tangent, gradient), second = derivatives(smooth, along)
    step = 1e-5
    moved = [
        derivatives(jax.tree.map(lambda a, v: a + by * v, smooth, along), along)[0]  # noqa: B023
        for by in (step, -step)
    ]
    slope = jax.tree.map(lambda up, down: (up - down) / (2 * step), *moved)
    near = {"tol": 1e-5}  # of the differences; float64 keeps about 10 digits of them
    # Sines of angles drawn from a key are float32, those of two programs may differ.
    drawn = any(
        jnp.issubdtype(a.dtype, jax.dtypes.prng_key) for a in jax.tree.leaves(arguments)
    )
    same = {"tol": 1e-6} if drawn else {"reduction": 256}
    assert_close(tangent, slope[0], **near)
    assert_close(dot(gradient, along), dot(tangent, weights), **same)
    assert_close(second["forward over forward"], slope[1], **near)
    product = second["forward over reverse"]
    assert_close(product, slope[2], **near)
    assert_close(second["reverse over reverse"], product, **same)
    by_forward, by_direction = second["reverse over forward"]
    assert_close(by_forward, product, **same)
    assert_close(by_direction, gradient, **same)


def to_dtype(tree, dtype):
    return jax.tree.map(
        lambda a: a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree
    )


@quick_law
def test_float32_is_kept_without_promotions(case: Case):
    """The other laws compare its values; the types are known before any program."""
    arguments = to_dtype(case.draw(0), jnp.float32)
    with jax.numpy_dtype_promotion("strict"):
        strict = jax.eval_shape(case.call, *arguments)
    for leaf in jax.tree.leaves(strict):
        assert leaf.dtype == jnp.float32 or not jnp.issubdtype(leaf.dtype, jnp.floating)


@costly_law
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_dtype_is_kept_and_halves_are_computed_wide(case: Case, dtype: str):
    if dtype not in case.dtypes:
        pytest.skip(f"{case.name} does not take {dtype}")

    # Else XLA may leave out a rounding to `dtype` that stands between two operations.
    @functools.partial(jax.jit, compiler_options={"xla_allow_excess_precision": False})
    def both(rounded):
        with jax.numpy_dtype_promotion("strict"):
            actual = case.call(*rounded)
        return actual, case.call(*to_dtype(rounded, jnp.float32))

    actual, expected = both(to_dtype(case.draw(0), dtype))
    for got, want in zip(*map(jax.tree.leaves, (actual, expected)), strict=True):
        floating = jnp.issubdtype(want.dtype, jnp.floating)
        assert_close(got, want, dtype=dtype if floating else want.dtype, reduction=4)


@costly_law
@pytest.mark.usefixtures("x64")
def test_float64_stays_float64(case: Case):
    @jax.jit
    def both(arguments):
        return case.call(*to_dtype(arguments, jnp.float64)), case.call(*arguments)

    wide, narrow = both(case.draw(0))
    for got, want in zip(*map(jax.tree.leaves, (wide, narrow)), strict=True):
        if jnp.issubdtype(want.dtype, jnp.floating):
            assert got.dtype == jnp.float64
            assert want.dtype == jnp.float32
            assert_close(got.astype(jnp.float32), want, reduction=64)


@costly_law
@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_a_sharded_batch_gives_the_same(case: Case, axis_type: AxisType):
    if not case.batched:
        pytest.skip(f"{case.name} has no batch")
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(axis_type,))
    with jax.set_mesh(mesh):
        placed = [
            jax.device_put(
                argument,
                NamedSharding(mesh, PartitionSpec(*["batch"][: i in case.batched])),
            )
            for i, argument in enumerate(case.draw(0))
        ]
        actual = jax.jit(lambda *a: result_and_gradient(case, a))(*placed)
    assert_close(actual, plain(case), reduction=256)

"""The C++ kernels against sums in NumPy: every branch, every instruction set."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnets import native
from tests.functional.conv_cases import conv_problems, make_problem
from tests.helpers import assert_close
from tests.native.kernel_cases import CASES
from tests.native.native_cases import check, instruction_sets, parts, tap_sums

pytestmark = pytest.mark.skipif(
    native.missing() is not None, reason=f"native {native.missing()}"
)


@pytest.mark.parametrize("case", CASES)
def test_cases_equal_the_sums(case, rng):
    *sizes, options = CASES[case]
    check(make_problem(rng, *sizes, **options))


@pytest.mark.slow
@settings(max_examples=30)
@given(st.data())
def test_drawn_problems_equal_the_sums_written_out(data):
    problem = data.draw(conv_problems(data.draw(st.integers(1, 3))))
    wanted = problem.single().written_out()
    for taps, product in zip(tap_sums(problem.single()), wanted, strict=True):
        np.testing.assert_allclose(taps, product, rtol=0, atol=1e-11)
    check(problem, wanted)


@pytest.mark.parametrize("groups", [2, 3, 16])
def test_what_is_not_a_number_stays_in_its_group(groups, rng):
    """Lanes that hold another group, or none, see nothing of it."""
    fan = 1 if groups == 16 else 3
    options = {"groups": groups, "padding": 1}
    problem = make_problem(rng, 2, (5, 6), (3, 3), fan, fan, **options).single()
    for name in instruction_sets():
        for bad in range(groups):
            mine = slice(bad * fan, (bad + 1) * fan)
            others = np.delete(np.arange(groups * fan), mine)
            arrays = [np.array(a) for a in problem[:3]]
            for array in arrays:
                array[..., mine] = np.nan
            y, dx, dk = (np.asarray(a) for a in parts((*arrays, problem.spec), name))
            assert all(np.isnan(a[..., mine]).all() for a in (y, dx, dk))
            assert all(np.isfinite(a[..., others]).all() for a in (y, dx, dk))


@pytest.mark.parametrize("groups", [1, 3])
def test_what_is_not_a_number_stays_in_its_window(groups, rng):
    """Pixels that share a vector, or a row of sums, see nothing of each other."""
    options = {"groups": groups, "strides": (1, 2), "padding": 1}
    problem = make_problem(rng, 2, (9, 21), (3, 3), 1, 24, **options).single()
    g = np.array(problem.g)
    g[0, 4, 5] = np.nan
    for name in instruction_sets():
        _, dx, _ = parts((problem.x, problem.kernel, g, problem.spec), name)
        bad = np.isnan(dx)
        assert bad[0, 3:6, 9:12].all()
        assert bad.sum() == 9 * groups


@pytest.mark.parametrize(("fan", "groups"), [(5, 1), (3, 4), (1, 16)])
def test_cells_that_no_tap_meets_may_hold_anything(fan, groups, rng):
    options = {"strides": (1, 3), "groups": groups}
    problem = make_problem(rng, 2, (6, 12), (2, 2), fan, fan, **options).single()
    wanted = tap_sums(problem)
    x = np.array(problem.x)
    x[:, :, 2::3] = np.nan
    for name in instruction_sets():
        y, dx, dk = parts((x, *problem[1:]), name)
        assert_close(y, wanted[0], dtype=jnp.float32, reduction=20)
        assert_close(dk, wanted[2], dtype=jnp.float32, reduction=40)
        assert not dx[:, :, 2::3].any()
    check(problem, wanted)

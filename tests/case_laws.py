"""What the laws over the table of cases have in common."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import pytest

from tests.case_kinds import Case
from tests.cases import CASES

# Rows that the fast suite puts through the costly laws too; all others only through
# the quick ones.
IN_FAST_SUITE = ("functional.dense", "functional.max_pool", "nn.Dense")


def over_cases(*, costly: bool, cases: Sequence[Case] = CASES):
    """A law over all rows of the table, or some.

    The scope makes pytest run all laws of one case one after the other, so that they
    share what has been compiled.
    """
    rows = [
        pytest.param(
            case,
            id=f"{case.name}-{case.label.replace(' ', '_')}",
            marks=[pytest.mark.slow] * (costly and case.name not in IN_FAST_SUITE),
        )
        for case in cases
    ]
    return pytest.mark.parametrize("case", rows, scope="module")


quick_law, costly_law = over_cases(costly=False), over_cases(costly=True)


def smooth_part(case: Case, arguments: tuple):
    """The case as a function of its smooth arguments, to its floating results."""

    def call(*smooth):
        full = list(arguments)
        for position, value in zip(case.smooth, smooth, strict=True):
            full[position] = value
        leaves = jax.tree.leaves(case.call(*full))
        return [a for a in leaves if jnp.issubdtype(a.dtype, jnp.floating)]

    return call, [arguments[position] for position in case.smooth]


def result_and_gradient(case: Case, arguments: tuple, remat: bool = False):
    """The result of a case, and the gradient of a sum of sines of it."""
    call, smooth = smooth_part(case, arguments)
    call = jax.checkpoint(call) if remat else call
    gradient = jax.grad(lambda a: sum(jnp.sum(jnp.sin(y)) for y in call(*a)))
    return case.call(*arguments), gradient(smooth)


@functools.lru_cache(maxsize=1)
def plain_result_and_gradient(position: int):
    """Those of a row of `CASES`, compiled once for the laws that compare with them."""
    case = CASES[position]
    return jax.jit(lambda *a: result_and_gradient(case, a))(*case.draw(0))


def plain(case: Case):
    return plain_result_and_gradient(CASES.index(case))

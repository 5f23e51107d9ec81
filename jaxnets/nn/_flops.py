"""Counting the multiply–adds of a traced function, scope by scope."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

# A scope that stands in the name stack of an equation: f"{SCOPE}{number}".
SCOPE = "jaxnets_summary_"
_NUMBER = re.compile(rf"{SCOPE}(\d+)")


def count_flops(jaxpr: Any) -> Counter[int | None]:
    """Floating-point operations of convolutions and matrix products in a jaxpr.

    A multiply–add counts 2, taps that meet padding included: the number of the direct
    algorithm, whichever one runs. The body of a loop whose length is not known before
    it runs counts once; of the branches of a condition the most expensive counts.

    Args:
        jaxpr: what `jax.make_jaxpr` returns.

    Returns:
        The sum under None, and under `n` the part done inside the named scope
        f"{SCOPE}{n}".

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x, kernel = jnp.ones((2, 3)), jnp.ones((3, 4))
        >>> count_flops(jax.make_jaxpr(jnp.matmul)(x, kernel))[None]
        48
    """
    counts: Counter[int | None] = Counter()
    inner = getattr(jaxpr, "jaxpr", jaxpr)
    for equation in inner.eqns:
        name = equation.primitive.name
        scopes = {int(n) for n in _NUMBER.findall(str(equation.source_info.name_stack))}
        if name == "cond":
            parts = [count_flops(branch) for branch in equation.params["branches"]]
            below = max(parts, key=lambda part: part[None])
        else:
            below = Counter()
            for part in _inner_jaxprs(equation.params):
                below.update(count_flops(part))
        times = equation.params["length"] if name == "scan" else 1
        here = _flops(name, equation)
        for scope in scopes | {None}:
            counts[scope] += here + times * below[None]
        for scope in below.keys() - scopes - {None}:
            counts[scope] += times * below[scope]
    return counts


def _inner_jaxprs(params: dict[str, Any]) -> Iterator[Any]:
    for value in params.values():
        for entry in value if isinstance(value, list | tuple) else (value,):
            if hasattr(getattr(entry, "jaxpr", entry), "eqns"):
                yield entry


def _flops(name: str, equation: Any) -> int:
    """Operations of one equation, 0 for all but convolutions and products."""
    shapes = [v.aval.shape for v in (*equation.invars, *equation.outvars)]
    params = equation.params
    match name:
        case "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            terms = math.prod(shapes[0][axis] for axis in contracted)
            return 2 * math.prod(shapes[2]) * terms
        case "conv_general_dilated":
            kernel = params["dimension_numbers"].rhs_spec
            terms = math.prod(shapes[1][axis] for axis in kernel[1:])
            return 2 * math.prod(shapes[2]) * terms
        # The three convolutions of a layer do the same products, one for each of its
        # outputs and each weight that leads to it.
        case "jaxnets_conv":
            return 2 * math.prod(shapes[2]) * math.prod(shapes[1][:-1])
        case "jaxnets_conv_input_grad":
            return 2 * math.prod(shapes[0]) * math.prod(shapes[1][:-1])
        case "jaxnets_conv_kernel_grad":
            return 2 * math.prod(shapes[1]) * math.prod(shapes[2][:-1])
        case _:
            return 0

"""Following through a traced function what its arrays depend on."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jax.extend.core import Literal

from jaxnets.nn._reach import Reach, stacked, union
from jaxnets.nn._reach_rules import ELEMENTWISE, RULES, concatenate, dot_general

Reaches = Sequence[Reach | None]
Mark = Callable[[str, Reach, tuple[int, ...]], None]


def follow(jaxpr: Any, inputs: Reaches, mark: Mark) -> list[Reach | None]:
    """What the results of a jaxpr depend on.

    An operation that is not known is taken to mix all cells of its operands.

    Args:
        jaxpr: a jaxpr, closed or not.
        inputs: what its arguments depend on, None for nothing.
        mark: called with the name, the reach and the shape of every array that
            `jax.ad_checkpoint.checkpoint_name` has named.

    Returns:
        One entry a result.
    """
    inner = getattr(jaxpr, "jaxpr", jaxpr)
    known: dict[Any, Reach | None] = dict(zip(inner.invars, inputs, strict=True))

    def read(variable: Any) -> Reach | None:
        return None if isinstance(variable, Literal) else known.get(variable)

    for equation in inner.eqns:
        operands = [read(v) for v in equation.invars]
        if not any(operands):
            continue
        if equation.primitive.name == "name" and operands[0]:
            mark(equation.params["name"], operands[0], equation.invars[0].aval.shape)
        results = _results(equation, operands, mark)
        known |= dict(zip(equation.outvars, results, strict=True))
    return [read(v) for v in inner.outvars]


def _results(equation: Any, operands: Reaches, mark: Mark) -> Reaches:
    name = equation.primitive.name
    shapes = [v.aval.shape for v in equation.invars]
    if name == "scan":
        return _scan(equation, operands, mark)
    if name == "cond":
        return _cond(equation, operands, mark)
    if name in ELEMENTWISE:
        return [union(operands, max(shapes, key=len))] * len(equation.outvars)
    if name == "concatenate":
        return [concatenate(equation, operands, shapes)]
    if name == "stack":
        out = equation.outvars[0].aval.shape
        return [stacked(operands, equation.params["axis"], out)]
    if name == "dot_general":
        return [dot_general(equation, operands, shapes)]
    if name in RULES and operands[0] and not any(operands[1:]):
        result = RULES[name](operands[0], equation, shapes[0])
        return result if isinstance(result, list) else [result]
    # A function that is called: jit, remat, a custom derivative.
    inner = [j for j in _jaxprs(equation.params) if name != "while"]
    if len(inner) == 1 and len(_open(inner[0]).invars) == len(operands):
        return follow(inner[0], operands, mark)
    pairs = zip(operands, shapes, strict=True)
    mixed = [reach.all_reduced(shape) for reach, shape in pairs if reach]
    return [union(mixed, ())] * len(equation.outvars)


def _open(jaxpr: Any) -> Any:
    return getattr(jaxpr, "jaxpr", jaxpr)


def _jaxprs(params: dict[str, Any]) -> Iterator[Any]:
    for value in params.values():
        for entry in value if isinstance(value, list | tuple) else (value,):
            if hasattr(_open(entry), "eqns"):
                yield entry


def _cond(equation: Any, operands: Reaches, mark: Mark) -> Reaches:
    shapes = [v.aval.shape for v in equation.outvars]
    branches = [follow(b, operands[1:], mark) for b in equation.params["branches"]]
    # Which of them runs is up to the first operand.
    each = zip(*branches, shapes, strict=True)
    return [union((*reaches, operands[0]), shape) for *reaches, shape in each]


def _scan(equation: Any, operands: Reaches, mark: Mark) -> Reaches:
    params = equation.params
    first = params["num_consts"] + params["num_carry"]
    constants, carry = operands[: params["num_consts"]], operands[:first]
    carry = list(carry[params["num_consts"] :])
    # The body sees one row at a time; here it may be any of them.
    rows = [
        reach and _moved(reach.reduced(0, v.aval.shape[0]), -1)
        for reach, v in zip(operands[first:], equation.invars[first:], strict=True)
    ]
    shapes = [v.aval.shape for v in equation.outvars[len(carry) :]]
    stacked: list[Reach | None] = [None] * len(shapes)
    for _ in range(params["length"]):
        results = follow(params["jaxpr"], [*constants, *carry, *rows], mark)
        given = [reach and _moved(reach, 1) for reach in results[len(carry) :]]
        both = zip(stacked, given, shapes, strict=True)
        now = [union((old, new), shape) for old, new, shape in both]
        if (results[: len(carry)], now) == (carry, stacked):
            break
        carry, stacked = results[: len(carry)], now
    return [*carry, *stacked]


def _moved(reach: Reach, places: int) -> Reach:
    """For an array with one axis more, or less, at the front."""
    return reach.renumbered({axis: axis + places for axis, _ in reach.steps})

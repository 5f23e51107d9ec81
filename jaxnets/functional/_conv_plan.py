"""ConvPlan: which algorithm runs each part of a convolution, and whether it can."""

from collections.abc import Iterable
from typing import NamedTuple

from jaxnets.functional.conv_algorithms import ALGORITHMS, PARTS, ConvFacts


class ConvPlan(NamedTuple):
    """The algorithm of each part of a convolution; each a name or `"auto"`.

    Attributes:
        forward: of the convolution itself.
        input_grad: of its transpose in x.
        kernel_grad: of its transpose in the kernel.
        facts: the convolution that the plan was made for; None fits every one.
    """

    forward: str = "auto"
    input_grad: str = "auto"
    kernel_grad: str = "auto"
    facts: ConvFacts | None = None


def make_plan(names: Iterable[str], facts: ConvFacts | None = None) -> ConvPlan:
    """A plan of one name a part."""
    forward, input_grad, kernel_grad = names
    return ConvPlan(forward, input_grad, kernel_grad, facts)


def refusal(plan: ConvPlan, facts: ConvFacts) -> str | None:
    """Why a plan cannot run a convolution, as the end of a sentence, or None."""
    if plan.facts is not None and not _same(plan.facts, facts):
        return (
            f"is a plan for {describe(plan.facts)}, but this is {describe(facts)} "
            "(make one with conv_plan, or drop its facts with "
            "plan._replace(facts=None))"
        )
    for part in PARTS:
        name = getattr(plan, part)
        if name == "auto":
            continue
        if name not in ALGORITHMS:
            known = ", ".join(map(repr, ("auto", *ALGORITHMS)))
            return f"must be one of {known} or a ConvPlan of them; got {name!r}"
        reason = ALGORITHMS[name].unsupported(facts)
        if reason is not None:
            return f"{name!r} {reason} (algorithm='auto' takes one that can)"
    return None


def describe(facts: ConvFacts) -> str:
    """A convolution in a line: shapes, options, dtype."""
    spec = facts.spec
    x = (facts.batch, *facts.spatial, facts.channels)
    kernel = (*facts.window, facts.fan_in, facts.out)
    return (
        f"x {x}, kernel {kernel}, strides {spec.strides}, padding {spec.padding}, "
        f"dilation {spec.dilation}, groups {spec.groups}, {facts.dtype}"
    )


def without_rounding(facts: ConvFacts) -> ConvFacts:
    """The facts without what says how sums may be rounded."""
    spec = facts.spec._replace(precision=None, relaxed=False)
    return facts._replace(spec=spec)


def _same(a: ConvFacts, b: ConvFacts) -> bool:
    """Equal up to precision and accuracy, which do not change what is computed."""
    return without_rounding(a) == without_rounding(b)

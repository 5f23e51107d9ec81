"""Reading the choice of algorithms: the plan, and the candidates behind it."""

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnets.functional._conv_canonical import canonical_conv, check_conv_ranks
from jaxnets.functional._conv_plan import ConvPlan, describe, make_plan
from jaxnets.functional._conv_plans import canonical_platform, tuned_plan
from jaxnets.functional._conv_rule import (
    Candidate,
    Target,
    candidates,
    choose,
    is_measured,
)
from jaxnets.functional._shapes import IntOrInts, Padding
from jaxnets.functional.conv_algorithms import PARTS, ConvFacts
from jaxnets.functional.conv_algorithms._trim import trim


class ConvExplanation(NamedTuple):
    """The candidates for each part of a convolution; printed, it is a table.

    Attributes:
        facts: the convolution.
        platform: where it is to run.
        candidates: for every part of a plan the algorithms, the one of the fewest
            estimated seconds first, those that cannot run it last.
        plan: what `"auto"` takes.
    """

    facts: ConvFacts
    platform: str
    candidates: dict[str, tuple[Candidate, ...]]
    plan: ConvPlan

    def __str__(self) -> str:
        """The table."""
        origin = "measured" if is_measured(self.platform) else "estimated"
        lines = [
            describe(self.facts),
            f"rates of {self.platform or 'an unknown platform'}: {origin}",
        ]
        left = trim(self.facts)
        if left is not None and left.removes:
            lines.insert(1, f"without what meets only padding: {describe(left.facts)}")
        for part, found in self.candidates.items():
            taken = getattr(self.plan, part)
            lines += ["", f"{part:<14}{'Gflop':>10}{'MB':>10}{'calls':>9}{'ms':>11}"]
            for one in found:
                mark = "*" if one.algorithm == taken else " "
                if one.work is None:
                    lines.append(f"{mark} {one.algorithm:<12}{one.reason}")
                    continue
                lines.append(
                    f"{mark} {one.algorithm:<12}{one.work.flops / 1e9:>10.3f}"
                    f"{one.work.bytes / 1e6:>10.2f}{one.work.calls:>9.0f}"
                    f"{one.seconds * 1e3:>11.3f}"
                )
            lines.append(f"  {taken}: {self._why(part)}")
        return "\n".join(lines)

    __repr__ = __str__

    def _why(self, part: str) -> str:
        tuned = tuned_plan(self.facts, self.platform)
        if tuned is not None and getattr(tuned, part) != "auto":
            return "measured by tune_conv; the plan is in force"
        possible = [one for one in self.candidates[part] if one.work is not None]
        if len(possible) == 1:
            return "nothing else can run it"
        ratio = possible[1].seconds / max(possible[0].seconds, 1e-12)
        return (
            f"fewest estimated seconds, {possible[1].algorithm} takes {ratio:.1f} times"
        )


def conv_plan(
    x_shape: Sequence[int],
    kernel_shape: Sequence[int],
    *,
    strides: IntOrInts = 1,
    padding: Padding = "SAME",
    dilation: IntOrInts = 1,
    groups: int = 1,
    dtype: Any = "float32",
    precision: Any = None,
    platform: str | None = None,
) -> ConvPlan:
    """The algorithms that `conv(algorithm="auto")` takes for these shapes and options.

        seconds = flops · a + bytes · b + calls · c,    the least of all algorithms

    with the work of every algorithm from its file in `conv_algorithms` and the rates
    a, b, c of the platform; a pure function of its arguments and the plans in force.

    Args:
        x_shape: `(*batch, *spatial, in)`.
        kernel_shape: `(*window, in // groups, out)`.
        strides: as in `conv`.
        padding: as in `conv`.
        dilation: as in `conv`.
        groups: as in `conv`.
        dtype: dtype of x and the kernel.
        precision: as in `conv`; `"highest"` rules out what rounds more than sums do.
        platform: `"cpu"`, `"gpu"` or `"tpu"`; None takes JAX's default backend.

    Returns:
        A `ConvPlan`, which `conv` takes as `algorithm=` for this convolution only.

    Raises:
        TypeError: if an option has the wrong type.
        ValueError: as `conv` does.

    Example:
        >>> kernel_shape = (31, 31, 16, 16)
        >>> plan = conv_plan(
        ...     (8, 64, 64, 16), kernel_shape, platform="cpu", precision="default"
        ... )
        >>> plan.forward in ("native", "fft", "overlap_add")
        True

    Source:
        The rates: `python -m benchmarks.calibrate_conv`.
    """
    facts = conv_facts(
        "conv_plan",
        x_shape,
        kernel_shape,
        strides,
        padding,
        dilation,
        groups,
        dtype,
        precision,
    )
    where = platform or jax.default_backend()
    return make_plan((choose(part, facts, Target(where)) for part in PARTS), facts)


def explain_conv(
    x_shape: Sequence[int],
    kernel_shape: Sequence[int],
    *,
    strides: IntOrInts = 1,
    padding: Padding = "SAME",
    dilation: IntOrInts = 1,
    groups: int = 1,
    dtype: Any = "float32",
    precision: Any = None,
    platform: str | None = None,
) -> ConvExplanation:
    """Why `conv(algorithm="auto")` takes what it takes: a table of the candidates.

    Args:
        x_shape: `(*batch, *spatial, in)`.
        kernel_shape: `(*window, in // groups, out)`.
        strides: as in `conv`.
        padding: as in `conv`.
        dilation: as in `conv`.
        groups: as in `conv`.
        dtype: dtype of x and the kernel.
        precision: as in `conv`.
        platform: as in `conv_plan`.

    Returns:
        A `ConvExplanation`: print it, or read its `candidates`, with flops, bytes,
        calls, estimated seconds, and the reason of those that cannot run.

    Raises:
        TypeError: if an option has the wrong type.
        ValueError: as `conv` does.

    Example:
        >>> why = explain_conv((8, 64, 64, 16), (5, 5, 16, 16), platform="cpu")
        >>> {one.algorithm: one.reason for one in why.candidates["forward"]}["winograd"]
        'needs a window of 3 cells along every axis; got (5, 5)'

    Source:
        As `conv_plan`.
    """
    facts = conv_facts(
        "explain_conv",
        x_shape,
        kernel_shape,
        strides,
        padding,
        dilation,
        groups,
        dtype,
        precision,
    )
    where = canonical_platform(platform or jax.default_backend())
    found = {part: tuple(candidates(part, facts, where)) for part in PARTS}
    plan = make_plan((choose(part, facts, Target(where)) for part in PARTS), facts)
    return ConvExplanation(facts, where, found, plan)


def conv_facts(
    function: str,
    x_shape: Sequence[int],
    kernel_shape: Sequence[int],
    strides: IntOrInts,
    padding: Padding,
    dilation: IntOrInts,
    groups: int,
    dtype: Any,
    precision: Any,
) -> ConvFacts:
    """Everything static of a convolution, checked."""
    check_conv_ranks(function, x_shape, kernel_shape)
    spec, _ = canonical_conv(
        function, x_shape, kernel_shape, strides, padding, dilation, groups, precision
    )
    rank = len(kernel_shape) - 2
    return ConvFacts(
        prod(x_shape[: -rank - 1]),
        tuple(x_shape[-rank - 1 : -1]),
        tuple(kernel_shape[:-2]),
        x_shape[-1],
        kernel_shape[-1],
        spec,
        jnp.dtype(dtype).name,
    )

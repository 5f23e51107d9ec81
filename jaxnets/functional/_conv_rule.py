"""Which algorithm `"auto"` takes for each part of a convolution: a pure rule.

Every algorithm says how much work a convolution is for it: flops, bytes and calls of
the platform's kernels. `_conv_cost.py` makes seconds of it, from measurements that
`python -m benchmarks.calibrate_conv` takes and keeps in `_conv_rates.json`.

`"auto"` takes the algorithm of the fewest estimated seconds among those that can
honour the convolution. Nothing is measured while a program runs, so the choice does
not depend on a warm-up; plans that `tune_conv` measured go first while they are in
force.
"""

from typing import NamedTuple

from jaxnets.functional._conv_cost import costs
from jaxnets.functional._conv_plan import is_exact
from jaxnets.functional._conv_plans import tuned_plan
from jaxnets.functional.conv_algorithms import ALGORITHMS, ConvFacts, Work

ROUNDING_MORE = frozenset({"winograd", "fft", "overlap_add"})


class Candidate(NamedTuple):
    """One algorithm for one part: its estimated cost, or why it is out."""

    algorithm: str
    work: Work | None
    seconds: float
    reason: str


def candidates(part: str, facts: ConvFacts, platform: str) -> list[Candidate]:
    """All algorithms, the one that `"auto"` takes first, those that are out last."""
    known = costs(platform)
    basis = known.basis(facts)
    found = []
    for name, algorithm in ALGORITHMS.items():
        reason = algorithm.unsupported(facts)
        if reason is None and name in ROUNDING_MORE and is_exact(facts.spec.precision):
            reason = "rounds more than precision='highest' allows"
        if reason is not None:
            found.append(Candidate(name, None, float("inf"), reason))
            continue
        work = algorithm.work(part, facts)
        seconds = known.seconds(name, part, work, basis)
        found.append(Candidate(name, work, seconds, ""))
    return sorted(found, key=lambda candidate: candidate.seconds)


def choose(part: str, facts: ConvFacts, platform: str, devices: int = 1) -> str:
    """The algorithm that `"auto"` means for one part of a convolution.

    On several `devices` whose shares XLA decides about, every device does the whole
    of whatever XLA cannot cut, so all but its own convolution count that many times.
    """
    tuned = tuned_plan(facts, platform)
    if tuned is not None:
        name = getattr(tuned, part)
        rounds = name in ROUNDING_MORE and is_exact(facts.spec.precision)
        if name != "auto" and not rounds:
            return name

    def seconds(candidate: Candidate) -> float:
        times = 1 if candidate.algorithm == "direct" else devices
        return candidate.seconds * times

    return min(candidates(part, facts, platform), key=seconds).algorithm


def is_measured(platform: str) -> bool:
    """Whether the costs of a platform were measured, or are estimates."""
    return costs(platform).measured

"""Which algorithm `"auto"` takes for each part of a convolution: a pure rule.

Every algorithm says how much work a convolution is for it: flops, bytes and calls of
the platform's kernels. A platform has rates for each kind of work, fitted to
measurements by `python -m benchmarks.calibrate_conv` and kept in `_conv_rates.json`.

    seconds = flops · a + bytes · b + calls · c

`"auto"` takes the algorithm of the fewest estimated seconds among those that can
honour the convolution. Nothing is measured while a program runs, so the choice does
not depend on a warm-up; plans that `tune_conv` measured go first while they are in
force.
"""

import json
from functools import cache
from importlib import resources
from typing import NamedTuple

from jaxnets.functional._conv_plan import is_exact
from jaxnets.functional._conv_plans import canonical_platform, tuned_plan
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
    rates = _rates(platform)
    found = []
    for name, algorithm in ALGORITHMS.items():
        reason = algorithm.unsupported(facts)
        if reason is None and name in ROUNDING_MORE and is_exact(facts.spec.precision):
            reason = "rounds more than precision='highest' allows"
        if reason is not None:
            found.append(Candidate(name, None, float("inf"), reason))
            continue
        work = algorithm.work(part, facts)
        per_flop, per_byte, per_call = rates[name][work.kind][part]
        seconds = work.flops * per_flop + work.bytes * per_byte + work.calls * per_call
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
    """Whether the rates of a platform were measured, or are estimates."""
    return rates_of_platforms()[_table_name(platform)]["measured"]


@cache
def rates_of_platforms() -> dict:
    """What `_conv_rates.json` holds."""
    text = resources.files("jaxnets.functional").joinpath("_conv_rates.json")
    return json.loads(text.read_text())["platforms"]


def _table_name(platform: str) -> str:
    name = canonical_platform(platform)
    return name if name in rates_of_platforms() else "default"


def _rates(platform: str) -> dict:
    return rates_of_platforms()[_table_name(platform)]["rates"]

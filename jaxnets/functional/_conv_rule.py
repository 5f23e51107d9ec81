"""Which algorithm `"auto"` takes for each part of a convolution: a pure rule.

Every algorithm says how much work a convolution is for it: flops, bytes and calls of
the platform's kernels. `_conv_cost.py` makes seconds of it, from measurements that
`python -m benchmarks.calibrate_conv` takes and keeps in `_conv_rates.json`.

`"auto"` takes the algorithm of the fewest estimated seconds among those that can
honour the convolution and its accuracy class: unless the spec says `relaxed`,
algorithms whose errors are relative to the largest values are out. Nothing is measured
while a program runs, so the choice does not depend on a warm-up; plans that `tune_conv`
measured go first while they are in force.
"""

from typing import NamedTuple

from jaxnets.functional._conv_cost import costs
from jaxnets.functional._conv_plans import canonical_platform, tuned_plan
from jaxnets.functional.conv_algorithms import ALGORITHMS, ConvFacts, Work, is_exact
from jaxnets.functional.conv_algorithms._scratch import arrays
from jaxnets.functional.conv_algorithms._trim import supported

MOST_SCRATCH, LEAST_SCRATCH = 8, 256 << 20
"""Scratch that `"auto"` allows an algorithm: so many times the bytes of x, the kernel
and the output, and what it need not be below."""

ROUNDING_MORE = frozenset({"winograd", "fft", "overlap_add"})


class Target(NamedTuple):
    """Where a convolution is to run.

    Attributes:
        platform: JAX's name of it.
        devices: how many run one program whose cuts XLA decides about.
        exported: whether the program is for `jax.export`, which takes no calls of
            functions that are not XLA's own.
    """

    platform: str
    devices: int = 1
    exported: bool = False


class Candidate(NamedTuple):
    """One algorithm for one part: its estimated cost, or why it is out.

    Attributes:
        algorithm: its name.
        work: what it has to do; None if it is out.
        seconds: the estimated time.
        reason: why it is out, or "".
        accuracy: its class, `"elementwise"` or `"relaxed"`, for this convolution.
    """

    algorithm: str
    work: Work | None
    seconds: float
    reason: str
    accuracy: str


def candidates(part: str, facts: ConvFacts, platform: str) -> list[Candidate]:
    """All algorithms, the one that `"auto"` takes first, those that are out last."""
    known = costs(platform)
    found = []
    for name, algorithm in ALGORITHMS.items():
        reason = algorithm.unsupported(facts)
        if name == "native" and canonical_platform(platform) != "cpu":
            reason = "runs on CPU alone"
        if reason is None and name in ROUNDING_MORE and is_exact(facts.spec.precision):
            reason = "rounds more than precision='highest' allows"
        if reason is None and name in ROUNDING_MORE and not facts.spec.relaxed:
            reason = (
                "errors are relative to the largest values; accuracy='relaxed' "
                "permits it"
            )
        if reason is None:
            reason = too_much_memory(name, part, facts)
        if reason is not None:
            accuracy = _accuracy(name, facts, None)
            found.append(Candidate(name, None, float("inf"), reason, accuracy))
            continue
        run = supported(algorithm, facts)
        work = algorithm.work(part, run)
        seconds = known.seconds(name, part, work, known.basis(run))
        found.append(Candidate(name, work, seconds, "", _accuracy(name, facts, work)))
    return sorted(found, key=lambda candidate: candidate.seconds)


def _accuracy(name: str, facts: ConvFacts, work: Work | None) -> str:
    """The class of an algorithm; `native` transforms unchecked if it is permitted."""
    transforms = work is not None and name == "native" and work.kind == "transforms"
    if name in ROUNDING_MORE or (transforms and facts.spec.relaxed):
        return "relaxed"
    return "elementwise"


def too_much_memory(name: str, part: str, facts: ConvFacts) -> str | None:
    """Why an algorithm takes more memory than `"auto"` allows it, or None."""
    run = supported(ALGORITHMS[name], facts)
    needed, held = ALGORITHMS[name].scratch(part, run), arrays(facts)
    if needed <= max(LEAST_SCRATCH, MOST_SCRATCH * held):
        return None
    return (
        f"needs {needed / 1e6:.3g} MB of scratch, more than {MOST_SCRATCH} times the "
        f"{held / 1e6:.3g} MB of its arrays"
    )


def choose(part: str, facts: ConvFacts, target: Target) -> str:
    """The algorithm that `"auto"` means for one part of a convolution.

    On several devices whose shares XLA decides about, every device does the whole
    of whatever XLA cannot cut, so all but its own convolution count that many times.
    A call of compiled kernels cannot be cut at all, nor exported. A tuned plan that
    cannot be followed for such a reason is passed over.
    """
    calls = target.devices == 1 and not target.exported
    found = {
        one.algorithm: one
        for one in candidates(part, facts, target.platform)
        if one.work is not None and (calls or one.algorithm != "native")
    }
    tuned = tuned_plan(facts, target.platform)
    if tuned is not None and getattr(tuned, part) in found:
        return getattr(tuned, part)

    def seconds(candidate: Candidate) -> float:
        times = 1 if candidate.algorithm == "direct" else target.devices
        return candidate.seconds * times

    return min(found.values(), key=seconds).algorithm


def refuse_elsewhere(name: str, target: Target) -> None:
    """Refuse an algorithm that was asked for where its kernels are not."""
    if name == "native" and canonical_platform(target.platform) != "cpu":
        raise ValueError(
            f"conv: algorithm 'native' runs on CPU alone; got platform "
            f"{target.platform!r} (algorithm='auto' takes one that can)"
        )


def is_measured(platform: str) -> bool:
    """Whether the costs of a platform were measured, or are estimates."""
    return costs(platform).measured

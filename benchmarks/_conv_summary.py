"""What the rows of `benchmarks.conv_suite` come to: means, worst, compilation."""

from collections.abc import Callable, Iterable, Sequence
from math import exp, log
from statistics import fmean
from typing import Any

from benchmarks._conv_cases import KINDS, Layer
from benchmarks._conv_peers import OURS, RELAXED
from benchmarks._conv_report import ConvReport
from benchmarks._timing import Row

PARTS = ("training", "forward")
BEST_TORCH = "torch's best"
"""PyTorch's convolution or, for the long kernels, its FFT where that is faster."""

FLOOR = 0.95
"""Speed against `lax` that no layer may fall below."""


def summarise(report: ConvReport, layers: Sequence[Layer]) -> None:
    """Add means, worst layers and compile times to the summary, and print them.

    Every figure is the peer's time over ours, so above 1 we are faster. Those of single
    layers are of the minima of the rounds; the means are geometric. Where ours ran in
    both classes of accuracy, means are given for both, and single layers for the first.
    """
    kinds = {str(layer): layer.kind for layer in layers}
    speeds = {(row.case, row.part): by_peer(row, _minimum) for row in report.rows}
    paired = {(row.case, row.part): by_peer(row, _paired) for row in report.rows}
    peers = list(dict.fromkeys(name for found in speeds.values() for name in found))

    report.say("", "Times faster than each peer, geometric means (minimum / minimum):")
    report.say("", "| part | layers | " + " | ".join(peers) + " |")
    report.say("|---|---|" + "---|" * len(peers))
    means: list[dict[str, Any]] = []
    for part in PARTS:
        for kind in (None, *KINDS):
            cases = [
                case
                for case, its_part in speeds
                if its_part == part and kind in (None, kinds[case])
            ]
            found = {}
            for peer in peers:
                found[peer] = {
                    "layers": sum(peer in speeds[case, part] for case in cases),
                    "minimum": _mean(speeds, cases, part, peer),
                    "paired": _mean(paired, cases, part, peer),
                }
                if RELAXED in peers and peer != RELAXED:
                    its = [case for case in cases if peer in speeds[case, part]]
                    cost = _mean(speeds, its, part, RELAXED)
                    found[peer]["relaxed"] = cost and found[peer]["minimum"] / cost
            if not cases:
                continue
            means.append({"part": part, "kind": kind or "all", "peers": found})
            texts = [_text(found[peer]) for peer in peers]
            report.say(f"| {part} | {kind or 'all'} | " + " | ".join(texts) + " |")
    report.say("", "In brackets: on how many layers.")
    if RELAXED in peers:
        report.say(f"Elementwise / relaxed; {RELAXED}: its time over that of {OURS}.")
    report.summary["means"] = means
    report.summary["worst"] = _worst(report, speeds, peers)
    report.summary["below_lax"] = below = {
        f"{case}, {part}": found["lax"]
        for (case, part), found in speeds.items()
        if found.get("lax", 1) < FLOOR
    }
    report.say("", f"Layers below {FLOOR} times the speed of lax: {len(below)}.")
    report.say(*(f"- {case}: {speed:.2f}" for case, speed in below.items()))
    _compilation(report)


def by_peer(row: Row, ratio: Callable[[Row, int], float]) -> dict[str, float]:
    """A row's ratio to ours of every peer, and of PyTorch's better way."""
    found = {
        one.name: ratio(row, place)
        for place, one in enumerate(row.timings)
        if place > 0
    }
    of_torch = [found[name] for name in ("torch", "torch.fft") if name in found]
    return found | ({BEST_TORCH: min(of_torch)} if of_torch else {})


def geometric_mean(values: Iterable[float]) -> float:
    return exp(fmean(log(value) for value in values))


def _minimum(row: Row, place: int) -> float:
    return row.timings[place].minimum / row.timings[0].minimum


def _paired(row: Row, place: int) -> float:
    return row.timings[place].ratio


def _mean(
    speeds: dict[tuple[str, str], dict[str, float]],
    cases: list[str],
    part: str,
    peer: str,
) -> float | None:
    found = [speeds[case, part][peer] for case in cases if peer in speeds[case, part]]
    return geometric_mean(found) if found else None


def _text(found: dict[str, Any]) -> str:
    if found["minimum"] is None:
        return "-"
    both = f" / {found['relaxed']:.2f}" if "relaxed" in found else ""
    return f"{found['minimum']:.2f}{both} ({found['layers']})"


def _worst(
    report: ConvReport,
    speeds: dict[tuple[str, str], dict[str, float]],
    peers: list[str],
) -> list[dict[str, Any]]:
    """The layer that is worst for us, for each peer and part."""
    report.say("", "The worst layer against each peer:")
    report.say("", "| peer | part | layer | times faster |", "|---|---|---|---|")
    found = []
    for peer in peers:
        for part in PARTS:
            its = {
                case: values[peer]
                for (case, its_part), values in speeds.items()
                if its_part == part and peer in values
            }
            if not its:
                continue
            case = min(its, key=lambda case: its[case])
            found.append(
                {"peer": peer, "part": part, "layer": case, "speed": its[case]}
            )
            report.say(f"| {peer} | {part} | {case} | {its[case]:.2f} |")
    return found


def _compilation(report: ConvReport) -> None:
    """Seconds of compilation of all layers, of those who compile."""
    report.say("", "Tracing and compiling, seconds for all layers together:")
    seconds: dict[str, dict[str, float]] = {}
    for part in PARTS:
        rows = [row for row in report.rows if row.part == part]
        for name in (rows[0].timings[0].name, "lax") if rows else ():
            total = sum(
                getattr(one, "compile", 0.0)
                for row in rows
                for one in row.timings
                if one.name == name
            )
            seconds.setdefault(part, {})[name] = total / 1e3
            report.say(f"- {part}, {name}: {total / 1e3:.1f}")
    report.summary["compile_seconds"] = seconds

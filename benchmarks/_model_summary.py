"""Summary of the rows of `benchmarks.models`: means, worst case, compile times."""

import math
from collections.abc import Callable
from itertools import product

from benchmarks._conv_peers import OURS_IN
from benchmarks._conv_report import ConvReport


def summarise(report: ConvReport, classes: tuple[str, ...]) -> None:
    """Geometric means of how many times our minimum the peers' minima are."""
    names = [OURS_IN[accuracy] for accuracy in classes]
    report.say("", "| batch | part | who | against | geometric mean | least, where |")
    report.say("|---|---|---|---|---|---|")
    rivals: dict[str, Callable[[dict[str, float]], float | None]] = {
        "Flax nnx": lambda times: times.get("Flax nnx"),
        "Keras on JAX": lambda times: times.get("Keras on JAX"),
        "best PyTorch": lambda times: min(
            (t for name, t in times.items() if "PyTorch" in name), default=None
        ),
    }
    everything = report.summary["times"].items()
    for batch in sorted({case.split(", ")[1].split("x")[0] for case, _ in everything}):
        for part in ("forward", "training"):
            for ours, (rival, of) in product(names, rivals.items()):
                ratios = {
                    case.split(",")[0]: peer / times[ours]
                    for case, times in everything
                    if f", {batch}x" in case and case.endswith(part)
                    if (peer := of(times)) is not None
                }
                if not ratios:
                    continue
                mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
                worst = min(ratios, key=lambda name: ratios[name])
                report.say(
                    f"| {batch} | {part} | {ours} | {rival} | {mean:.2f} "
                    f"| {ratios[worst]:.2f}, {worst} |"
                )
    compilers = (*names, "Flax nnx", "Keras on JAX")
    report.say("", f"| compilation, seconds | {' | '.join(compilers)} |")
    report.say("|---|" + "---|" * len(compilers))
    for case, found in report.summary["compile_ms"].items():
        cells = (f"{found[n] / 1e3:.1f}" if n in found else "" for n in compilers)
        report.say(f"| {case} | {' | '.join(cells)} |")

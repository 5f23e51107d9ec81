"""How the cost grows, what memory it takes and how exact it is: direct against FFT."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._conv_algorithms import MOST_LINES, facts_of, one_algorithm
from benchmarks._conv_cases import Layer
from benchmarks._conv_report import ConvReport, milliseconds, relative_norm
from jaxnets.functional._conv_tune import compiled, draw
from jaxnets.functional.conv_algorithms import ALGORITHMS, PARTS

GROWING = ("direct", "fft")
FITTED = 4
"""Largest sizes that the exponent is fitted to; overheads govern the small ones."""

MOST_MS = 1500
LONG = 10_000_000


def growth(report: ConvReport, quick: bool) -> dict[str, list[tuple[float, float]]]:
    """Full convolutions of N cells with N: milliseconds, and exponents in log-log."""
    report.say("", "Full convolution of N cells with N, t ~ N^e over the largest N:")
    report.say("", "| cells | algorithm | largest N | ms there | e |")
    report.say("|---|---|---|---|---|")
    curves: dict[str, list[tuple[float, float]]] = {}
    exponents: list[dict[str, Any]] = []
    sizes = {1: 2 ** np.arange(8, 17 if quick else 21)}
    if not quick:
        sizes[2] = np.array([16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024])
    for rank, axis in sizes.items():
        for name in GROWING:
            curve = _grow(rank, name, axis)
            curves[f"{name}, {rank}-D"] = curve
            cells, ms = np.log(np.array(curve[-FITTED:])).T
            e = float(np.polyfit(cells, ms, 1)[0])
            largest, slowest = curve[-1]
            exponents.append({"rank": rank, "algorithm": name, "exponent": e})
            report.say(
                f"| {rank}-D | {name} | {largest:.0f} | {slowest:.1f} | {e:.2f} |"
            )
    report.summary["growth"] = {"curves": curves, "exponents": exponents}
    return curves


def _grow(rank: int, algorithm: str, axis: np.ndarray) -> list[tuple[float, float]]:
    """Cells and milliseconds, up to the first size that takes too long."""
    curve: list[tuple[float, float]] = []
    for size in map(int, axis):
        sizes = ((size,) * rank, 1, 1, (size,) * rank)
        layer = Layer("full", "growth", 1, *sizes, padding=size - 1)
        one = one_algorithm("forward", facts_of(layer), algorithm)
        if one is None:
            break
        run = one.run
        times = [milliseconds(run)]
        if times[0] < MOST_MS:
            times += [milliseconds(run) for _ in range(3 if times[0] > 50 else 7)]
        curve.append((float(size**rank), min(times)))
        # The next size takes two to five times as long.
        if min(times) > MOST_MS / 4:
            break
    return curve


def memory(report: ConvReport) -> None:
    """Temporary memory of a signal of 10^7 cells; compiled, not run."""
    report.say("", f"Temporary MB, 1-D, {LONG} cells, 1024 taps:", "")
    report.say("| algorithm | " + " | ".join(PARTS) + " |", "|---|" + "---|" * 3)
    layer = Layer("", "memory", 1, (LONG,), 1, 1, (1024,), padding=(511, 512))
    facts = facts_of(layer)
    found: dict[str, dict[str, float]] = {}
    for name in ("direct", "fft", "overlap_add"):
        found[name] = {}
        for part in PARTS:
            # Shapes alone: the kernel gradient of `direct` would need an hour to run.
            arrays = jax.eval_shape(lambda part=part: draw(part, facts))
            program = jax.jit(compiled(part, facts, name)).lower(*arrays).compile()
            used = program.memory_analysis()
            found[name][part] = used.temp_size_in_bytes / 1e6 if used else float("nan")
        texts = (f"{found[name][part]:.0f}" for part in PARTS)
        report.say(f"| {name} | " + " | ".join(texts) + " |")
    report.summary["long_signal_megabytes"] = found


def accuracy(report: ConvReport, quick: bool) -> dict[str, list[tuple[float, float]]]:
    """Relative norm of the error of float32 against sums in float64, 16 channels."""
    series: dict[int, tuple[int, tuple[int, ...]]]
    series = {1: (1024, (512,)), 2: (40, (3,))}
    if not quick:
        series = {1: (2048, (4, 16, 64, 256, 1024)), 2: (48, (3, 5, 9, 15, 31))}
        series[3] = (16, (3, 5, 7))
    report.say("", "Relative error of float32 against sums in float64:", "")
    head = (*ALGORITHMS,)
    report.say(
        "| case | part | " + " | ".join(head) + " |", "|---|---|" + "---|" * len(head)
    )
    curves: dict[str, list[tuple[float, float]]] = {}
    found: list[dict[str, Any]] = []
    for rank, (size, windows) in series.items():
        for window in windows:
            pads = ((window - 1) // 2, window // 2)
            sizes = ((size,) * rank, 16 // rank**2, 16 // rank**2, (window,) * rank)
            layer = Layer(f"k={window}", "accuracy", 2, *sizes, padding=pads)
            for part in PARTS:
                errors = _errors(layer, part, 400 if quick else MOST_LINES)
                case = f"{rank}-D, {size} an axis, k={window}"
                found.append({"case": case, "part": part, "errors": errors})
                texts = (f"{errors[n]:.1e}" if n in errors else "-" for n in head)
                report.say(f"| {case} | {part} | " + " | ".join(texts) + " |")
                if part == "forward" and rank < 3:
                    for name, error in errors.items():
                        curve = curves.setdefault(f"{name}, {rank}-D", [])
                        curve.append((float(window), error))
    report.summary["accuracy"] = found
    return curves


def _errors(layer: Layer, part: str, most_lines: int) -> dict[str, float]:
    """The error of every algorithm that can run the layer and compiles in time."""
    facts = facts_of(layer)
    arrays = draw(part, facts)
    with jax.enable_x64(True):
        wide = facts._replace(dtype="float64")
        doubles = [jnp.asarray(np.asarray(array, np.float64)) for array in arrays]
        want = np.asarray(compiled(part, wide, "direct")(*doubles))
    found = {
        name: one_algorithm(part, facts, name, most_lines=most_lines)
        for name, algorithm in ALGORITHMS.items()
        if algorithm.unsupported(facts) is None
    }
    return {
        name: relative_norm(np.asarray(one.run()), want)
        for name, one in found.items()
        if one is not None
    }

"""When is FFT faster than adding products? Kernel sizes from 3 to 1024 taps.

    python -m benchmarks.conv_direct_vs_fft [--quick] [--only TEXT] [--accuracy CLASS]

Kernel size, image size, channels, batch and groups in one, two and three dimensions,
forward and each gradient: the fastest of `native`, `gemm`, `shift` and `direct` against
the fastest of `fft`, `overlap_add` and `native` by tiles (which in the elementwise
class looks at the data of each tile first), all of our own, in turn. Then how the cost
of a full convolution of N cells with N grows, the temporary memory of the compiled
programs, and the error of float32 against float64.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks import _conv_windows
from benchmarks._conv_growth import accuracy, growth, memory
from benchmarks._conv_peers import add_accuracy, classes_of
from benchmarks._conv_plots import draw_lines, new_figure
from benchmarks._conv_report import ConvReport
from benchmarks._conv_windows import say_crossovers, sweep
from jaxnets.functional.conv_algorithms import PARTS

Curves = dict[str, list[tuple[float, float]]]


def by_series(points: list[dict[str, Any]], rank: int, part: str) -> Curves:
    """Time of the sums over that of the transforms, against the window."""
    curves: Curves = {}
    for point in points:
        if (point["rank"], point["part"]) == (rank, part):
            curve = curves.setdefault(point["series"].split(" ", 1)[1], [])
            curve.append((point["window"], point["direct_by_fft"]))
    return curves


def by_channels(points: list[dict[str, Any]], rank: int) -> Curves:
    """The window from which on FFT wins, against the channels."""
    size, batch = _conv_windows.BY_CHANNELS[rank]
    curves: Curves = {}
    same = {"rank": rank, "size": size, "batch": batch, "groups": 1}
    mine = [p for p in points if all(p[key] == value for key, value in same.items())]
    for part in PARTS:
        for channels in sorted({point["channels"] for point in mine}):
            its = [p for p in mine if (p["channels"], p["part"]) == (channels, part)]
            window = _conv_windows.crossover(its)
            if window is not None:
                curves.setdefault(part, []).append((channels, window))
    return curves


def by_algorithm(points: list[dict[str, Any]]) -> Curves:
    """Temporary megabytes of the forward pass against the window, in one series."""
    first = next((p["series"] for p in points if p["rank"] == 2), None)
    curves: Curves = {}
    for point in points:
        if point["series"] == first and point["part"] == "forward":
            for name, used in point["temporary_bytes"].items():
                if used:
                    curve = curves.setdefault(name, [])
                    curve.append((point["window"], used / 1e6))
    return curves


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="three series, few rounds")
    parser.add_argument("--only", metavar="TEXT", help="series with it, such as '2-D'")
    add_accuracy(parser, "both")
    options = parser.parse_args()
    report = ConvReport("conv_direct_vs_fft", options.quick)
    report.begin()
    classes = classes_of(options.accuracy)
    points = sweep(report, options.quick, classes, options.only or "")
    if not points:
        sys.exit(f"conv_direct_vs_fft: no series has {options.only!r} in its name")
    say_crossovers(report, points)
    grown = growth(report, options.quick)
    memory(report)
    errors = accuracy(report, options.quick)

    def draw(_: ConvReport, path: Path) -> None:
        figure, grid = new_figure(15, 22, 5, 3)
        taps, ratio = "taps an axis", "time of sums / time of FFT"
        for column, rank in enumerate((1, 2, 3)):
            for row, part in enumerate(PARTS):
                axes = grid[row, column]
                curves = by_series(points, rank, part)
                draw_lines(axes, curves, (taps, ratio), f"{rank}-D, {part}")
                axes.axhline(1, color="black", linewidth=0.8)
            size, batch = _conv_windows.BY_CHANNELS[rank]
            draw_lines(
                grid[3, column],
                by_channels(points, rank),
                ("channels", "taps from which on FFT wins"),
                f"{rank}-D, size {size}, batch {batch}",
            )
        cells = "cells of signal and kernel"
        draw_lines(grid[4, 0], grown, (cells, "ms"), "full convolution of N with N")
        used = by_algorithm(points)
        draw_lines(grid[4, 1], used, (taps, "temporary MB"), "memory, 2-D, forward")
        error = "relative error"
        draw_lines(grid[4, 2], errors, (taps, error), "float32 against float64")
        figure.savefig(path, dpi=100)

    report.store(draw)


if __name__ == "__main__":
    main()

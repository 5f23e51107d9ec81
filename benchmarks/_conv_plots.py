"""Plots of the convolution benchmarks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks._timing import Report

MARKERS = "oDs^v<>PX*"


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> Any:
    """A figure that needs no display, and its axes as an array of two dimensions."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def draw_ratios(report: Report, path: Path) -> None:
    """A dot for every contestant, a line for every case, a panel for every part."""
    parts = list(dict.fromkeys(row.part for row in report.rows))
    cases = list(dict.fromkeys(row.case for row in report.rows))
    names = list(dict.fromkeys(t.name for row in report.rows for t in row.timings))
    height = 2 + 0.22 * len(cases)
    figure, grid = new_figure(6 + 3.5 * len(parts), height, 1, max(len(parts), 1))
    for axes, part in zip(grid[0], parts, strict=True):
        for number, name in enumerate(names):
            dots = [
                (t.minimum / row.timings[0].minimum, cases.index(row.case))
                for row in report.rows
                for t in row.timings
                if row.part == part and t.name == name
            ]
            if dots:
                marker = MARKERS[number % len(MARKERS)]
                axes.scatter(
                    *zip(*dots, strict=True),
                    28,
                    color=f"C{number}",
                    marker=marker,
                    label=name,
                )
        axes.axvline(1, color="black", linewidth=0.8)
        axes.set_xscale("log")
        axes.set_ylim(len(cases) - 0.5, -0.5)
        axes.set_yticks(range(len(cases)), cases if part == parts[0] else [])
        axes.grid(axis="y", alpha=0.3)
        axes.set_title(part)
        axes.set_xlabel("time / time of the first; above 1 is slower")
        axes.legend(loc="best", fontsize="small")
    figure.suptitle(report.name)
    figure.savefig(path, dpi=110)


def draw_times(report: Report, path: Path) -> None:
    """Bars of milliseconds, a panel for every row."""
    rows = report.rows
    figure, grid = new_figure(8, 1.2 + 1.8 * len(rows), max(len(rows), 1))
    for axes, row in zip(grid[:, 0], rows, strict=False):
        bars = axes.barh(
            [t.name for t in row.timings], [t.minimum for t in row.timings]
        )
        axes.bar_label(bars, fmt=" %.0f")
        axes.invert_yaxis()
        axes.set_title(f"{row.case}, {row.part}", fontsize="medium")
        axes.set_xlabel("ms, minimum of the rounds")
    figure.savefig(path, dpi=110)


def draw_lines(
    axes: Any,
    curves: Mapping[str, Sequence[tuple[float, float]]],
    labels: tuple[str, str],
    title: str,
) -> None:
    """Curves on two logarithmic axes."""
    for number, (name, points) in enumerate(curves.items()):
        marker = MARKERS[number % len(MARKERS)]
        axes.plot(*zip(*points, strict=True), marker=marker, markersize=4, label=name)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.set_title(title, fontsize="small")
    axes.grid(alpha=0.3)
    if curves:
        axes.legend(fontsize="x-small")

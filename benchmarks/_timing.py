"""Fair timing: all in one process, in turn, compared round by round.

A machine's speed drifts, so a peer is compared with ours in the same round, and the
median of these ratios is given. The first call (compilation) is timed apart.
"""

import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("jax", "jaxlib", "flax", "torch", "keras", "equinox", "numpy", "scipy")
RESULTS = Path(__file__).parent / "results"


@dataclass
class Timing:
    """What one contestant took, in milliseconds."""

    name: str
    first_call: float
    minimum: float
    median: float
    ratio: float  # median over the rounds of this / the first contestant


@dataclass
class Row:
    """One comparison: a case, what of it was run, and every contestant's times."""

    case: str
    part: str
    rounds: int
    timings: list[Timing]


@dataclass
class Report:
    """Rows of one benchmark, to be printed, stored and drawn."""

    name: str
    quick: bool = False
    rows: list[Row] = field(default_factory=list)

    def compare(
        self,
        case: str,
        part: str,
        contestants: Mapping[str, Callable[[], Any]],
        rounds: int,
        pause: float = 0.0,
    ) -> Row:
        """Run the contestants in turn; the first is ours, the others are its peers."""
        row = Row(case, part, rounds, take_turns(contestants, rounds, pause))
        self.rows.append(row)
        print("\n".join(markdown_lines(row)), flush=True)
        return row

    def begin(self) -> None:
        """Print the head of the table."""
        print("| case | part | who | min ms | median ms | times ours | first call ms |")
        print("|---|---|---|---|---|---|---|")

    def save(self) -> Path:
        """Write the JSON file and the plot; return the JSON file's path."""
        RESULTS.mkdir(parents=True, exist_ok=True)
        path = RESULTS / f"{self.name}.json"
        content = {"machine": machine(), **asdict(self)}
        path.write_text(json.dumps(content, indent=1) + "\n")
        draw(self, path.with_suffix(".png"))
        print(f"\nwritten: {path} and {path.with_suffix('.png').name}")
        return path


def take_turns(
    contestants: Mapping[str, Callable[[], Any]], rounds: int, pause: float = 0.0
) -> list[Timing]:
    """Time every contestant once a round, in an order that rotates by round.

    A `pause` in seconds before each call lets threads come to rest that another
    library left spinning.
    """
    names = list(contestants)
    first = {name: _milliseconds(contestants[name]) for name in names}
    for name in names:
        _milliseconds(contestants[name])
    times: dict[str, list[float]] = {name: [] for name in names}
    for i in range(rounds):
        start = i % len(names)
        for name in names[start:] + names[:start]:
            time.sleep(pause)
            times[name].append(_milliseconds(contestants[name]))
    ours = times[names[0]]
    return [
        Timing(
            name,
            first[name],
            min(times[name]),
            statistics.median(times[name]),
            statistics.median(t / o for t, o in zip(times[name], ours, strict=True)),
        )
        for name in names
    ]


def _milliseconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(call())
    return (time.perf_counter() - start) * 1e3


def markdown_lines(row: Row) -> list[str]:
    """The row as lines of a markdown table, one a contestant."""
    return [
        f"| {row.case} | {row.part} | {t.name} | {t.minimum:.2f} | {t.median:.2f} "
        f"| {t.ratio:.2f} | {t.first_call:.0f} |"
        for t in row.timings
    ]


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    load = os.getloadavg() if hasattr(os, "getloadavg") else None
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "devices": [str(device.device_kind) for device in jax.devices()],
        "python": platform.python_version(),
        "system": platform.system(),
        "load_average": load,
        "versions": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    models = [line.split(":", 1)[1] for line in lines if line.startswith("model name")]
    return models[0].strip() if models else platform.processor()


def draw(report: Report, path: Path) -> None:
    """Bars of the median ratio of every contestant to ours, on a logarithmic axis."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(t.name for row in report.rows for t in row.timings))
    figure = Figure(figsize=(8, 1 + 0.45 * len(report.rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    height = 0.8 / max(len(names), 1)
    for offset, name in enumerate(names):
        found = [
            (place + offset * height, t.ratio)
            for place, row in enumerate(report.rows)
            for t in row.timings
            if t.name == name
        ]
        places, ratios = zip(*found, strict=True)
        axes.barh(places, ratios, height, label=name)
    axes.set_yticks(
        [place + 0.4 for place in range(len(report.rows))],
        [f"{row.case}, {row.part}" for row in report.rows],
    )
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("time / time of jaxnets (median of the rounds); above 1 is slower")
    axes.set_title(report.name)
    axes.legend()
    figure.savefig(path, dpi=120)

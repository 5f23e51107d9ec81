"""Direct against FFT over kernel sizes: what is swept, and where the two cross."""

from collections.abc import Collection
from math import exp, log
from typing import Any, NamedTuple

import jax

from benchmarks._conv_algorithms import MOST_LINES, facts_of, one_algorithm
from benchmarks._conv_cases import Layer
from benchmarks._conv_report import SLOW, ConvReport
from jaxnets.functional._conv_rule import Target, choose
from jaxnets.functional.conv_algorithms import ALGORITHMS, PARTS

TILES = "native by tiles"
"""`native` where it transforms; by its own name it is kept to sums here."""

SUMS = ("native", "gemm", "shift", "direct")
"""Algorithms that add products; the fastest of them is the direct side."""

CHECKED = "native by checked tiles"
"""The same in the elementwise class, where it looks at the data of every tile first."""

TRANSFORMS = ("fft", "overlap_add", TILES, CHECKED)
BY_TILES = {"relaxed": TILES, "elementwise": CHECKED}

WINDOWS = {
    1: (4, 8, 16, 32, 64, 128, 256, 1024),
    2: (3, 5, 7, 9, 13, 19, 31),
    3: (3, 5, 7, 9),
}
QUICK_WINDOWS = {1: (8, 512), 2: (3, 5, 25), 3: (3, 7)}

MOST_GIGAFLOPS = 40
"""Larger convolutions are left out: the sums would take most of the time."""


class Series(NamedTuple):
    """Convolutions of stride 1 and size kept that differ in the window only."""

    rank: int
    size: int
    channels: int
    batch: int
    groups: int = 1

    def __str__(self) -> str:
        """Sizes in a line."""
        image = "x".join([str(self.size)] * self.rank)
        groups = f" g{self.groups}" * (self.groups > 1)
        return f"{self.rank}-D {self.batch}x{image}x{self.channels}{groups}"

    def layer(self, window: int) -> Layer:
        """The convolution with a window of so many taps an axis."""
        return Layer(
            f"{self}, k={window}",
            "sweep",
            self.batch,
            (self.size,) * self.rank,
            self.channels,
            self.channels,
            (window,) * self.rank,
            1,
            ((window - 1) // 2, window // 2),
            self.groups,
        )


BY_CHANNELS = {1: (4096, 8), 2: (64, 2), 3: (16, 2)}
"""Size and batch of the series of each rank that differ in their channels."""

SERIES = (
    *(
        Series(rank, size, channels, batch)
        for rank, (size, batch) in BY_CHANNELS.items()
        for channels in (1, 4, 16, 64)
    ),
    *(Series(2, size, 16, 2) for size in (32, 128)),
    *(Series(2, 64, 16, batch) for batch in (1, 16)),
    *(Series(2, 64, 32, 4, groups) for groups in (4, 32)),
    *(Series(1, size, 4, 1) for size in (512, 65536)),
    Series(1, 4096, 32, 4, 32),
    Series(3, 32, 4, 1),
    Series(3, 16, 16, 4, 16),
)
QUICK_SERIES = (Series(1, 4096, 4, 8), Series(2, 64, 4, 2), Series(3, 16, 4, 2))


def sweep(
    report: ConvReport, quick: bool, classes: Collection[str], only: str = ""
) -> list[dict[str, Any]]:
    """Time every series with `only` in its name; an entry a series, part and window."""
    windows = QUICK_WINDOWS if quick else WINDOWS
    points: list[dict[str, Any]] = []
    chosen = QUICK_SERIES if quick else SERIES
    for series in (one for one in chosen if only in str(one)):
        for part in PARTS:
            hopeless: set[str] = set()
            for window in windows[series.rank]:
                layer = series.layer(window)
                if layer.gigaflops > MOST_GIGAFLOPS:
                    note = f"{layer.name} and more: over {MOST_GIGAFLOPS} Gflop"
                    report.notes.extend([note] * (part == PARTS[0]))
                    break
                points.append(
                    _measure(report, series, part, window, hopeless, quick, classes)
                )
            # Thousands of programs would fill the memory.
            jax.clear_caches()
    report.summary["points"] = points
    return points


def _measure(
    report: ConvReport,
    series: Series,
    part: str,
    window: int,
    hopeless: set[str],
    quick: bool,
    classes: Collection[str],
) -> dict[str, Any]:
    """One window: the algorithms in turn; adds to those that are hopeless from here."""
    rounds, seconds, lines = ((2, 5), 0.3, 400) if quick else ((3, 9), 1.0, MOST_LINES)
    layer = series.layer(window)
    strict, facts = facts_of(layer, "elementwise"), facts_of(layer)
    main = "relaxed" if "relaxed" in classes else "elementwise"
    auto = choose(
        part,
        facts if main == "relaxed" else strict,
        Target(jax.default_backend()),
    )
    by_tiles = ALGORITHMS["native"].work(part, facts).kind == "transforms"
    if auto == "native" and by_tiles:
        auto = BY_TILES[main]
    # The rule's choice first: it is what the others are called slow against.
    able = [
        n
        for n in SUMS + TRANSFORMS
        if ALGORITHMS[n.split()[0]].unsupported(facts) is None
        and (n not in BY_TILES.values() or by_tiles)
        and n not in [BY_TILES[one] for one in BY_TILES if one not in classes]
    ]
    names = [n for n in able if n not in hopeless or n == auto]
    names.sort(key=lambda name: name != auto)
    contestants = {}
    for name in names:
        precise = facts._replace(spec=facts.spec._replace(precision="highest"))
        its = {"native": precise, CHECKED: strict}.get(name, facts)
        one = one_algorithm(part, its, name.split()[0], most_lines=lines)
        if one is None:
            report.notes.append(f"{layer.name}, {part}: {name} is too long to compile")
            hopeless.add(name)
        else:
            contestants[name] = one
    row = report.meet(layer.name, part, contestants, rounds, seconds)
    times = {one.name: one.minimum for one in row.timings}
    best = min(times[n] for n in SUMS if n in times)
    # What is far behind its side does not catch up as the window grows: all sums do
    # work in proportion to the taps.
    hopeless |= {n for n in SUMS if times.get(n, 0) > SLOW * best}
    return {
        "series": str(series),
        **series._asdict(),
        "part": part,
        "window": window,
        "ms": times,
        "temporary_bytes": {n: c.temporary_bytes for n, c in contestants.items()},
        "direct_by_fft": best / min(times[n] for n in TRANSFORMS if n in times),
        "auto": auto,
    }


def crossover(points: list[dict[str, Any]]) -> float | None:
    """Window from which on FFT wins, between two measured ones; None: it never does.

    The line between the neighbours in logarithms of window and ratio is cut with the
    ratio 1. A series that FFT wins from its first window on has that window.
    """
    points = sorted(points, key=lambda point: point["window"])
    slower = [i for i, point in enumerate(points) if point["direct_by_fft"] <= 1]
    if not slower:
        return float(points[0]["window"])
    last = slower[-1]
    if last == len(points) - 1:
        return None
    (a, r), (b, s) = (
        (log(point["window"]), log(point["direct_by_fft"]))
        for point in points[last : last + 2]
    )
    return exp(a + (b - a) * -r / (s - r))


def say_crossovers(report: ConvReport, points: list[dict[str, Any]]) -> None:
    """Print and keep the window at which FFT begins to win, for series and parts."""
    report.say("", "Taps an axis from which on FFT is faster than sums:", "")
    report.say("| series | " + " | ".join(PARTS) + " |", "|---|" + "---|" * len(PARTS))
    found: list[dict[str, Any]] = []
    for series in dict.fromkeys(point["series"] for point in points):
        its = [point for point in points if point["series"] == series]
        entry: dict[str, Any] = {"series": series, "channels": its[0]["channels"]}
        texts = []
        for part in PARTS:
            mine = [point for point in its if point["part"] == part]
            entry[part] = crossover(mine)
            ends = [point["window"] for point in mine]
            if entry[part] is None:
                texts.append(f"over {max(ends)}")
            elif entry[part] == min(ends):
                texts.append(f"{min(ends)} or fewer")
            else:
                texts.append(f"{entry[part]:.0f}")
        found.append(entry)
        report.say(f"| {series} | " + " | ".join(texts) + " |")
    report.summary["crossovers"] = found

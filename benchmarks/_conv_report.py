"""Turns, checks and the report of the convolution benchmarks.

As `_timing`, with three additions: results are compared before they are timed, rounds
fit a number of seconds, and a contestant that is hopelessly slow gets few of them.
"""

import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks._conv_peers import Contestant, threads
from benchmarks._timing import RESULTS, Report, Row, Timing, machine, markdown_lines
from jaxnets import native

TOLERANCE = 1e-4
"""Largest relative norm of a difference; FFT and Winograd round more than sums do."""

SLOW, SLOW_ROUNDS = 20, 2
"""Times ours at which a contestant is slow, and the rounds that it then gets."""

AWFUL = 5000
"""Milliseconds of a slow contestant's first run that is taken for its only round."""

WARM = 1000
"""Milliseconds of a first run from which on there is no other to warm up."""

PAUSE = 0.002
"""Seconds before a run, for the spinning threads of the run before to go to sleep."""


@dataclass
class TurnTiming(Timing):
    """What one contestant took; `first_call` holds compilation, given apart too."""

    compile: float = 0.0
    min_ratio: float = 1.0  # minimum of this / minimum of the first contestant
    rounds: int = 0


@dataclass
class ConvReport(Report):
    """Rows, and what follows from them: `summary`, and the lines that say so."""

    summary: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def begin(self) -> None:
        """Say which kernels run: without the compiled ones all figures are others."""
        reason = native.missing()
        kernels = native.instructions() if reason is None else f"native {reason}"
        self.say(f"compiled kernels: {kernels}", "")
        self.say("| case | part | who | min ms | median ms | times ours | first ms |")
        self.say("|---|---|---|---|---|---|---|")

    def say(self, *lines: str) -> None:
        """Print, and keep for the markdown file."""
        self.lines += lines
        print("\n".join(lines), flush=True)

    def meet(
        self,
        case: str,
        part: str,
        contestants: Mapping[str, Contestant],
        rounds: tuple[int, int],
        seconds: float,
    ) -> Row:
        """Compare the results, then the times; the first contestant is ours."""
        timings = turns(f"{case}, {part}", contestants, rounds, seconds)
        row = Row(case, part, max(t.rounds for t in timings), list(timings))
        self.rows.append(row)
        self.say(*markdown_lines(row))
        for t in timings:
            if t.rounds < row.rounds:
                self.notes.append(
                    f"{case}, {part}: {t.name} had {t.rounds} of {row.rounds} rounds, "
                    f"being over {SLOW} times slower than {timings[0].name}"
                )
        return row

    @property
    def notes(self) -> list[str]:
        return self.summary.setdefault("notes", [])

    def store(self, draw: Callable[["ConvReport", Path], None]) -> Path:
        """Write JSON, markdown and plot; return the JSON file's path."""
        RESULTS.mkdir(parents=True, exist_ok=True)
        path = RESULTS / f"{self.name}.json"
        if self.notes:
            self.say("", "Notes:", *(f"- {note}" for note in self.notes))
        content = {"machine": machine() | {"threads": threads()}, **asdict(self)}
        del content["lines"]
        path.write_text(json.dumps(content, indent=1) + "\n")
        path.with_suffix(".md").write_text("\n".join(self.lines) + "\n")
        draw(self, path.with_suffix(".png"))
        print(f"\nwritten: {path}, {path.stem}.md and {path.stem}.png")
        return path


def turns(
    what: str,
    contestants: Mapping[str, Contestant],
    rounds: tuple[int, int],
    seconds: float,
) -> list[TurnTiming]:
    """Time the contestants in turn, in an order that rotates by round.

    Args:
        what: the case, for messages.
        contestants: ours first.
        rounds: the fewest and the most.
        seconds: that all rounds together should take.
    """
    names = list(contestants)
    ours = names[0]
    first: dict[str, float] = {}
    want: tuple[np.ndarray, ...] | None = None
    for name, one in contestants.items():
        began = time.perf_counter()
        result = jax.block_until_ready(one.run())
        first[name] = (time.perf_counter() - began) * 1e3
        got = one.to_numpy(result)
        want = got if want is None else want
        check(f"{what}, {name}", got, want)
        del result, got
    warm = {
        name: milliseconds(one.run) if first[name] < WARM else first[name]
        for name, one in contestants.items()
    }
    slow = {name for name in names if warm[name] > SLOW * warm[ours]}
    awful = {name for name in slow if first[name] > AWFUL}
    a_round = sum(warm[name] for name in names if name not in slow) / 1e3
    fewest, most = rounds
    number = min(most, max(fewest, int(seconds / a_round)))
    times = {name: [first[name]] if name in awful else [] for name in names}
    for i in range(number):
        start = i % len(names)
        for name in names[start:] + names[:start]:
            if name not in slow or (name not in awful and i < SLOW_ROUNDS):
                times[name].append(milliseconds(contestants[name].run))
    return [
        TurnTiming(
            name,
            contestants[name].compile_ms + first[name],
            min(times[name]),
            statistics.median(times[name]),
            # The slow ran in the first rounds only: these are compared.
            statistics.median(
                t / o for t, o in zip(times[name], times[ours], strict=False)
            ),
            contestants[name].compile_ms,
            min(times[name]) / min(times[ours]),
            len(times[name]),
        )
        for name in names
    ]


def milliseconds(call: Callable[[], Any]) -> float:
    """Time of one call, after a pause."""
    time.sleep(PAUSE)
    start = time.perf_counter()
    jax.block_until_ready(call())
    return (time.perf_counter() - start) * 1e3


def check(what: str, got: tuple[np.ndarray, ...], want: tuple[np.ndarray, ...]) -> None:
    """Stop where two contestants do not compute the same thing."""
    for number, (a, b) in enumerate(zip(got, want, strict=True)):
        if a.shape != b.shape:
            raise ValueError(f"{what}: result {number} is {a.shape}, not {b.shape}")
        error = relative_norm(a, b)
        if not error <= TOLERANCE:
            raise ValueError(f"{what}: result {number} is off by {error:.1e}")


def relative_norm(a: np.ndarray, b: np.ndarray) -> float:
    """‖a − b‖ / ‖b‖ in float64."""
    wide = np.asarray(b, np.float64)
    return float(np.linalg.norm(a - wide) / max(float(np.linalg.norm(wide)), 1e-30))

"""A line on the terminal that says how far a fit is."""

import time
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from jaxnets.train._callbacks import Callback, Logs
from jaxnets.train._history import History


class Progress(Callback):
    """A progress bar an epoch, and a line of figures after it.

    `fit` adds it by itself when the output is a terminal (`verbose`). Where the output
    is no terminal, only the lines are written.

    Args:
        epochs: how many epochs there will be; None if that is not known.
        steps: how many steps an epoch has; None if that is not known.
        console: where to write; None is the standard output.

    Example:
        >>> callback = Progress(epochs=3, steps=100)
    """

    def __init__(
        self,
        *,
        epochs: int | None = None,
        steps: int | None = None,
        console: Console | None = None,
    ):
        self.epochs = epochs
        self.steps = steps
        self.console = console or Console()
        self.bar: Bar | None = None
        self.task: Any = None
        self.done = 0
        self.started = 0.0

    def on_fit_begin(self, trainer: Any, history: History) -> None:
        """Say where a resumed fit goes on."""
        if history.continues:
            self.console.print(f"resumed from {history.resumed.path}")

    def on_epoch_begin(self, trainer: Any, epoch: int) -> None:
        """Open a bar."""
        self.done, self.started = 0, time.perf_counter()
        if not self.console.is_terminal:
            return
        total = "" if self.epochs is None else f"/{self.epochs}"
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=self.console,
            transient=True,
        )
        self.bar.start()
        label = f"epoch {epoch}{total}"
        self.task = self.bar.add_task(label, total=self.steps, figures="")

    def on_step_end(self, trainer: Any, step: int, logs: Logs) -> None:
        """Move the bar; it redraws itself ten times a second."""
        self.done += 1
        if self.bar is not None:
            rate = self.done / max(time.perf_counter() - self.started, 1e-9)
            figures = f"{rate:.1f} steps/s  {show(logs)}"
            self.bar.update(self.task, advance=1, figures=figures)

    def on_epoch_end(self, trainer: Any, epoch: int, logs: Logs) -> None:
        """Close the bar and write the figures."""
        self.close()
        total = "" if self.epochs is None else f"/{self.epochs}"
        self.console.print(f"epoch {epoch}{total}  {show(logs)}", highlight=False)

    def close(self) -> None:
        """Close the bar."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def show(logs: Logs) -> str:
    """The figures that are numbers, in one line."""
    numbers = {name: value for name, value in logs.items() if np.ndim(value) == 0}
    return "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())

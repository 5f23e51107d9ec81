"""The figures of every epoch as a table in a text file."""

import csv
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxnets.train._callbacks import Callback, Logs
from jaxnets.train._history import History
from jaxnets.train._write_errors import clear_errors


class CSVLogger(Callback):
    """Write one line an epoch: the epoch and every figure that is a number.

    A new fit writes a new file. A resumed fit keeps the lines of the epochs before the
    one it goes on with, so that no epoch stands there twice.

    Args:
        path: the file; its folder is made.

    Raises:
        OSError: before training, if the file cannot be written.

    Example:
        >>> logger = CSVLogger("runs/first/history.csv")
    """

    runs_last = True

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self.columns: list[str] = []

    def on_fit_begin(self, trainer: Any, history: History) -> None:
        """Write what the file has to hold before the first epoch of this fit."""
        if jax.process_index() == 0:
            with clear_errors("CSVLogger", self.path):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._write(history)

    def on_epoch_end(self, trainer: Any, epoch: int, logs: Logs) -> None:
        """Add a line."""
        if jax.process_index() != 0:
            return
        with clear_errors("CSVLogger", self.path):
            if not self.columns:
                self.columns = numbers(logs)
                with self.path.open("w", newline="") as file:
                    csv.writer(file).writerow(["epoch", *self.columns])
            with self.path.open("a", newline="") as file:
                csv.writer(file).writerow([epoch, *(logs.get(n) for n in self.columns)])

    def _write(self, history: History) -> None:
        self.columns = numbers(history.row(-1)) if len(history) else []
        # Renamed into place: a kill here must not cost the lines of earlier epochs.
        temporary = self.path.with_name(f"{self.path.name}.unfinished-{os.getpid()}")
        with temporary.open("w", newline="") as file:
            writer = csv.writer(file)
            if self.columns:
                writer.writerow(["epoch", *self.columns])
            for index, epoch in enumerate(history.epochs):
                row = history.row(index)
                writer.writerow([epoch, *(row[name] for name in self.columns)])
        os.replace(temporary, self.path)


def numbers(logs: Logs) -> list[str]:
    """The names of the figures that are single numbers, no matrices."""
    return [name for name, value in logs.items() if np.ndim(value) == 0]

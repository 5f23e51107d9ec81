"""The figures of every epoch for TensorBoard."""

import os
from typing import Any

import jax

from jaxnets.train._callbacks import Callback, Logs
from jaxnets.train._csv_logger import numbers
from jaxnets.train._history import History


class TensorBoard(Callback):
    """Write every figure that is a number as a scalar, by epoch.

    A resumed fit writes into the same folder and purges the epochs it does again.

    Args:
        directory: the folder for the event files; it is made.

    Raises:
        OSError: before training, if the folder cannot be written to.

    Example:
        >>> logger = TensorBoard("runs/first/tensorboard")
    """

    def __init__(self, directory: str | os.PathLike[str]):
        self.directory = os.fspath(directory)
        self.writer: Any = None

    def on_fit_begin(self, trainer: Any, history: History) -> None:
        """Open the event file."""
        if jax.process_index() == 0:
            # Imported here: it imports PyTorch where that is installed, 4 s.
            from tensorboardX import SummaryWriter

            # A purge marker is a promise that later steps come again; without a resume
            # there is nothing to purge.
            purge = len(history) + 1 if history.continues else None
            self.writer = SummaryWriter(self.directory, purge_step=purge)

    def on_epoch_end(self, trainer: Any, epoch: int, logs: Logs) -> None:
        """Write the figures, through to the disk."""
        if self.writer is not None:
            for name in numbers(logs):
                self.writer.add_scalar(name, float(logs[name]), epoch)
            self.writer.flush()

    def close(self) -> None:
        """Close the event file."""
        if self.writer is not None:
            self.writer.close()
            self.writer = None

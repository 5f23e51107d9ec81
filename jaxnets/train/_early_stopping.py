"""Stop when a figure no longer improves."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxnets.functional._checks import check_integer
from jaxnets.train._callbacks import Callback, Logs, better, improves, monitored
from jaxnets.train._flatten import flatten, unflatten
from jaxnets.train._history import History


class EarlyStopping(Callback):
    """Stop a fit whose monitored figure has not improved for some epochs.

    Keras's rule: an epoch improves if its figure is better than the best by more than
    `min_delta`; `patience` epochs in a row without that end the fit (`patience=0`: the
    first one), never the very first epoch. Unlike in Keras, NaN is worse than every
    number, also in the first epoch.

    Args:
        monitor: the name of the figure.
        patience: how many epochs without improvement are borne.
        min_delta: how much better counts as better, at least 0.
        mode: "min", "max", or "auto" to tell from the name.
        restore_best: give the model the weights of the best epoch at the end, whether
            the fit was stopped or ran through.

    Raises:
        TypeError: if `patience` is not an integer.
        ValueError: if an argument is out of range, or there is no such figure.

    Attributes:
        best: the best figure so far, NaN before the first that is a number.
        best_epoch: its epoch, from 1; 0 as long as `best` is NaN.
        stopped_epoch: the epoch after which the fit was stopped; 0 if it was not.

    Example:
        >>> EarlyStopping("val_loss", patience=2).best_epoch
        0
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        *,
        patience: int = 0,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best: bool = False,
    ):
        self.monitor = monitor
        self.patience = check_integer("EarlyStopping", "patience", patience, minimum=0)
        if not min_delta >= 0:
            raise ValueError(
                f"EarlyStopping: min_delta must be at least 0; got {min_delta}"
            )
        self.min_delta = float(min_delta)
        self.sign = better(monitor, mode, "EarlyStopping")
        self.restore_best = restore_best
        self._reset()

    def _reset(self) -> None:
        self.best = math.nan
        self.best_epoch = 0
        self.stopped_epoch = 0
        # The first epoch raises it to 0: the wait begins after that epoch.
        self.wait = -1
        self.weights: dict[str, Any] = {}

    def on_fit_begin(self, trainer: Any, history: History) -> None:
        """Start anew, unless the fit goes on."""
        if not history.continues:
            self._reset()

    def on_epoch_end(self, trainer: Any, epoch: int, logs: Logs) -> None:
        """Compare the epoch with the best one."""
        value = monitored(self.monitor, logs, "EarlyStopping")
        self.wait += 1
        if improves(value, self.best, self.sign, min_delta=self.min_delta):
            self.best, self.best_epoch, self.wait = value, epoch, 0
            if self.restore_best:
                # Copies: the next step gives the arrays themselves back to the device.
                state = trainer.state
                weights = {"params": state.params, "model_state": state.model_state}
                self.weights = flatten(jax.tree.map(jnp.copy, weights), "best")
        elif self.wait >= self.patience and epoch > 1:
            self.stopped_epoch = epoch
            trainer.stop()

    def on_fit_end(self, trainer: Any, history: History) -> None:
        """Put the best weights back."""
        if self.weights:
            state = trainer.state
            weights = {"params": state.params, "model_state": state.model_state}
            best = unflatten(weights, self.weights, "best")
            trainer.set_state(state._replace(**jax.tree.map(jnp.copy, best)))

    def state_dict(self) -> dict[str, Any]:
        """The best figure, how long ago it was, and the weights if they are kept."""
        figures = {
            "best": self.best,
            "best_epoch": self.best_epoch,
            "wait": self.wait,
            "stopped_epoch": self.stopped_epoch,
        }
        return {**figures, **self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        state = dict(state)
        self.best, self.best_epoch = state.pop("best"), state.pop("best_epoch")
        self.wait, self.stopped_epoch = state.pop("wait"), state.pop("stopped_epoch")
        self.weights = state

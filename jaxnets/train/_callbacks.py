"""What happens around the steps: the form of a callback, and the list of them."""

import math
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

from jaxnets.train._history import History

Logs = dict[str, Any]


class Callback:
    """Something that is told how a fit goes; override what you need.

    `trainer` is the `Trainer`; `trainer.stop()` ends the fit after the epoch. `logs`
    are the figures by name and may be added to in `on_epoch_end`; callbacks run in the
    order of the list, those with `runs_last` after the others.

    Attributes:
        sync_every: wait for the device every so many steps and call `on_sync`; None
            for never.
        runs_last: run after the callbacks that have it not.

    Example:
        >>> class Patience(Callback):
        ...     def on_epoch_end(self, trainer, epoch, logs):
        ...         if logs["loss"] < 0.1:
        ...             trainer.stop()
    """

    sync_every: int | None = None
    runs_last: bool = False

    def on_fit_begin(self, trainer: Any, history: History) -> None:
        """Called before the first step, after what a resumed fit restores."""

    def on_epoch_begin(self, trainer: Any, epoch: int) -> None:
        """Called before the first step of an epoch (from 1)."""

    def on_step_end(self, trainer: Any, step: int, logs: Logs) -> None:
        """Called one step late, when the figures of a step have arrived.

        The device is busy with the next step by then, so `trainer.state` is that of a
        later one. `step` counts from 1 through the fit; `logs` has the means over the
        epoch so far. Overriding this costs the host a few microseconds a step.
        """

    def on_sync(self, trainer: Any, step: int, logs: Logs) -> None:
        """Called every `sync_every` steps, with `trainer.state` that of `step`."""

    def on_epoch_end(self, trainer: Any, epoch: int, logs: Logs) -> None:
        """Called after an epoch and its validation."""

    def on_fit_end(self, trainer: Any, history: History) -> None:
        """Called when a fit ends without an error."""

    def close(self) -> None:
        """Called at the very end, after errors too: close files here."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed fit needs: JSON values, and arrays under top-level names."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""


class FunctionCallback(Callback):
    """A plain function as a callback: called with (trainer, logs) after every epoch."""

    def __init__(self, function: Callable[[Any, Logs], Any]):
        self.function = function

    def on_epoch_end(self, trainer: Any, epoch: int, logs: Logs) -> None:
        """Call the function."""
        self.function(trainer, logs)


class LearningRate(Callback):
    """Log the learning rate of a schedule under "learning_rate".

    An optimizer made with `optax.inject_hyperparams` needs no such callback: the
    trainer finds its learning rate itself.

    Args:
        schedule: the function of the step that the optimizer was given.

    Example:
        >>> import optax
        >>> callback = LearningRate(optax.cosine_decay_schedule(1e-3, 1000))
    """

    def __init__(self, schedule: Callable[[Any], Any]):
        self.schedule = schedule

    def on_epoch_end(self, trainer: Any, epoch: int, logs: Logs) -> None:
        """Add the rate that the last step used."""
        last = max(int(trainer.state.step) - 1, 0)
        logs["learning_rate"] = float(self.schedule(last))


class CallbackList:
    """All callbacks of a fit, called in turn."""

    def __init__(self, callbacks: Iterable[Any]):
        wrapped = [_as_callback(callback) for callback in callbacks]
        self.callbacks = sorted(wrapped, key=lambda callback: callback.runs_last)
        self.syncs = [c.sync_every for c in wrapped if c.sync_every]
        self.steppers = [
            c for c in self.callbacks if type(c).on_step_end is not Callback.on_step_end
        ]

    def names(self) -> dict[str, Callback]:
        """The callbacks by class and position among those of their class."""
        names: dict[str, Callback] = {}
        for callback in self.callbacks:
            kind = type(callback).__name__
            number = sum(name.split("#")[0] == kind for name in names)
            names[f"{kind}#{number}"] = callback
        return names

    def next_sync(self, step: int) -> int | None:
        """How many steps after `step` the next call of `on_sync` is due."""
        return min((every - step % every for every in self.syncs), default=None)

    def call(self, event: str, *args: Any) -> None:
        """Call one method of every callback."""
        for callback in self.callbacks:
            getattr(callback, event)(*args)

    def close(self) -> None:
        """Close every callback, also if one of them fails."""
        with ExitStack() as stack:
            for callback in reversed(self.callbacks):
                stack.callback(callback.close)

    def sync(self, trainer: Any, step: int, logs: Logs) -> None:
        """Call `on_sync` of those that are due at `step`."""
        for callback in self.callbacks:
            if callback.sync_every and step % callback.sync_every == 0:
                callback.on_sync(trainer, step, logs)


def better(monitor: str, mode: str, function: str) -> int:
    """Whether a figure is to fall (-1) or to rise (1).

    "auto" lets losses fall and what has "acc" or "top" in its name rise.
    """
    if mode == "min":
        return -1
    if mode == "max":
        return 1
    if mode != "auto":
        raise ValueError(
            f"{function}: mode must be one of 'auto', 'min', 'max'; got {mode!r}"
        )
    name = monitor.removeprefix("val_")
    if name == "loss" or name.endswith("_loss"):
        return -1
    if "acc" in name or name.startswith("top"):
        return 1
    raise ValueError(
        f"{function}: whether {monitor!r} should fall or rise cannot be told from its "
        "name (give mode='min' or mode='max')"
    )


def improves(
    value: float, best: float | None, sign: int, *, min_delta: float = 0.0
) -> bool:
    """Whether a figure is better than the best so far by more than `min_delta`.

    NaN is worse than every number, in both modes; infinities are ordered as numbers.

    Args:
        value: the new figure.
        best: the best figure so far; None or NaN if there is none.
        sign: -1 if the figure is to fall, 1 if it is to rise.
        min_delta: how much better it has to be.
    """
    if math.isnan(value):
        return False
    if best is None or math.isnan(best):
        return True
    return sign * value - min_delta > sign * best


def monitored(monitor: str, logs: Logs, function: str) -> float:
    """The figure that a callback watches."""
    if monitor not in logs:
        listed = ", ".join(logs)
        raise ValueError(
            f"{function}: there is no figure {monitor!r} to monitor; there are {listed}"
            + (
                " (val_ figures need validation_data or validation_split)"
                if monitor.startswith("val_")
                else ""
            )
        )
    return float(logs[monitor])


def _as_callback(callback: Any) -> Callback:
    if isinstance(callback, Callback):
        return callback
    if isinstance(callback, type) or not callable(callback):
        raise TypeError(
            "fit: a callback must be a Callback or a function of (trainer, logs); got "
            f"{callback!r}"
        )
    return FunctionCallback(callback)

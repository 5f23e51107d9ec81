"""The loop over epochs and steps."""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from jaxnets.train._callbacks import CallbackList
from jaxnets.train._engine import Engine
from jaxnets.train._flatten import unflatten
from jaxnets.train._history import History
from jaxnets.train._programs import Tally
from jaxnets.train._sources import Batch


class Pending(NamedTuple):
    """A dispatch whose figures have not been fetched yet."""

    report: Any
    first: int
    length: int


class FitRun:
    """One call of `fit`: where it stands, and how it goes on.

    Args:
        trainer: the `Trainer`, for the callbacks.
        engine: what runs the steps.
        source: the training batches.
        validation: the validation batches, or None.
        callbacks: the callbacks.
        epochs: how many epochs in all; None for no limit.
        steps: how many steps in all; None for no limit.
    """

    def __init__(
        self,
        trainer: Any,
        engine: Engine,
        source: Any,
        validation: Any,
        callbacks: CallbackList,
        *,
        epochs: int | None,
        steps: int | None,
    ):
        self.trainer = trainer
        self.engine = engine
        self.source = source
        self.validation = validation
        self.callbacks = callbacks
        self.epochs = epochs
        self.steps = steps
        self.history = History()
        self.epoch = 0
        self.step = 0
        self.step_in_epoch = 0
        self.skipped = 0
        self.seconds = 0.0
        self.learning_rate = float("nan")
        self.stopped = False
        self.tally: Tally | None = None
        self.totals: list[float] | None = None
        self.counts: dict[str, Any] = {}

    def execute(self) -> History:
        """Run to the end."""
        callbacks, trainer = self.callbacks, self.trainer
        try:
            callbacks.call("on_fit_begin", trainer, self.history)
            while not self._finished():
                self._epoch()
            callbacks.call("on_fit_end", trainer, self.history)
        finally:
            callbacks.close()
        return self.history

    def _finished(self) -> bool:
        if self.stopped or (self.steps is not None and self.step >= self.steps):
            return True
        return self.epochs is not None and self.epoch >= self.epochs

    def _epoch(self) -> None:
        number = self.epoch + 1
        self.callbacks.call("on_epoch_begin", self.trainer, number)
        self._train()
        logs = self._logs()
        if self.validation is not None:
            start = time.perf_counter()
            figures = self.engine.evaluate(self.validation)
            logs |= {f"val_{name}": value for name, value in figures.items()}
            self.seconds += time.perf_counter() - start
        if not np.isnan(self.learning_rate):
            logs["learning_rate"] = self.learning_rate
        if self.engine.nonfinite == "skip":
            logs["skipped"] = self.skipped
        logs["seconds"] = self.seconds
        self.epoch, self.step_in_epoch = number, 0
        self.skipped, self.seconds, self.tally = 0, 0.0, None
        early = [c for c in self.callbacks.callbacks if not c.runs_last]
        for callback in early:
            callback.on_epoch_end(self.trainer, number, logs)
        # Only now is the row complete: callbacks may have added figures.
        self.history.append(number, logs)
        for callback in self.callbacks.callbacks[len(early) :]:
            callback.on_epoch_end(self.trainer, number, logs)

    def _train(self) -> None:
        trainer, started = self.trainer, time.perf_counter()
        seconds = self.seconds
        pending: Pending | None = None
        batches = self.source.batches(self.epoch, self.step_in_epoch)
        for chunk in self._chunks(batches):
            tally = self.tally or self._open_tally(chunk[0])
            report = self.engine.train(chunk, tally)
            fetched, pending = pending, Pending(report, self.step, len(chunk))
            self.step += len(chunk)
            self.step_in_epoch += len(chunk)
            if fetched is not None:
                self._fetch(fetched, tally)
            if self.callbacks.syncs and self.callbacks.next_sync(self.step - 1) == 1:
                self._fetch(pending, tally)
                pending = None
                self.seconds = seconds + time.perf_counter() - started
                self.callbacks.sync(trainer, self.step, tally.means())
        if pending is not None and self.tally is not None:
            self._fetch(pending, self.tally)
        self.seconds = seconds + time.perf_counter() - started
        if self.step_in_epoch == 0:
            raise ValueError(
                f"fit: there must be batches in every epoch; got none in epoch "
                f"{self.epoch + 1} (an iterator runs through once: give an iterable "
                "that starts again, or steps=)"
            )

    def _chunks(self, batches: Iterator[Batch]) -> Iterator[list[Batch]]:
        """Group batches into dispatches that end where somebody wants to look."""
        size, step = self.engine.steps_per_call, self.step
        chunk: list[Batch] = []
        due = self.callbacks.next_sync(step)
        if self.steps is not None and step >= self.steps:
            return
        for batch in batches:
            chunk.append(batch)
            step += 1
            at_sync = due is not None and self.callbacks.next_sync(step - 1) == 1
            if len(chunk) == size or at_sync or step == self.steps:
                yield chunk
                chunk = []
            if step == self.steps:
                return
        if chunk:
            yield chunk

    def _open_tally(self, batch: Batch) -> Tally:
        tally = self.engine.open_tally("fit", batch, self.source, self.validation)
        if self.totals is not None:
            tally.totals[:] = self.totals
            counts = unflatten(tally.counts, self.counts, "counts")
            tally.counts = self.engine.placement.put_same(counts)
            self.totals = None
        self.tally = tally
        return tally

    def _fetch(self, pending: Pending, tally: Tally) -> None:
        """Take in a dispatch's figures: waits for it, with the next one under way."""
        rows = np.asarray(pending.report).astype(np.float64)[: pending.length]
        for index, row in enumerate(rows):
            step = pending.first + index + 1
            sums, (bad_loss, bad_gradient, *rate) = np.split(row, [tally.totals.size])
            self.learning_rate = float(rate[0]) if rate else float("nan")
            if bad_loss or bad_gradient:
                self._not_finite(step, bool(bad_loss))
            tally.add(sums[None])
            if self.callbacks.steppers:
                means = tally.means()
                for callback in self.callbacks.steppers:
                    callback.on_step_end(self.trainer, step, means)

    def _not_finite(self, step: int, loss: bool) -> None:
        self.skipped += 1
        if self.engine.nonfinite != "stop":
            return
        self.engine.revive()
        raise FloatingPointError(
            f"fit: the {'loss' if loss else 'gradient'} must be finite; got NaN or "
            f"infinity in step {step} (epoch {self.epoch + 1}). The trainer keeps the "
            "state before it (look for the cause in the batch and the learning rate, "
            "or give nonfinite='skip')"
        )

    def _logs(self) -> dict[str, Any]:
        # Resumed after the last step of an epoch, only its figures are missing.
        tally = self.tally or self._open_tally(next(self.source.batches(self.epoch, 0)))
        return self.engine.figures(tally)

"""The trainer: compiles the pure step once, feeds it, and tells callbacks."""

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from flax import nnx
from jax.sharding import Mesh

from jaxnets.functional._checks import check_choice, check_integer
from jaxnets.train import _arguments
from jaxnets.train._callbacks import CallbackList
from jaxnets.train._checkpoint import checked
from jaxnets.train._checkpoint_files import write_checkpoint
from jaxnets.train._engine import Engine
from jaxnets.train._fit import FitRun
from jaxnets.train._history import History
from jaxnets.train._optimizer import Optimizer
from jaxnets.train._placement import ShardingRule
from jaxnets.train._progress import Progress
from jaxnets.train._resume import locked, restore, snapshot
from jaxnets.train._step import POLICIES, TrainState


class Trainer:
    """Trains, evaluates, saves and runs a Flax NNX module.

    The module is copied and taken apart once; every step is one compiled function of
    plain arrays. The same seed, data and arguments give the same numbers, also across
    an interruption (`fit(resume=)`).

    Args:
        model: the module; it is called as `model(x)`. It is left as it is: `model` of
            the trainer has the trained values.
        optimizer: of optax; clipping, accumulation (`optax.MultiSteps`), schedules and
            averaging are parts of it.
        loss: `(outputs, targets) -> (batch, ...)`, a value for every example, as the
            losses of optax have it.
        metrics: by name, functions of that form (`accuracy`) or `Metric`s.
        augment: `(key, x) -> x`, applied to training batches on the device.
        nonfinite: what to do when loss or gradient is not finite: "stop" with
            FloatingPointError, "skip" the update, or "ignore" it.
        steps_per_call: how many steps one dispatch takes; more help with short steps.
        mesh: devices to share out the batch to, along the mesh's first axis.
        param_sharding: `(path, parameter) -> PartitionSpec`; None copies all to all.
        local_batches: each of several processes gives its own devices' rows alone.
        seed: for augmentation and, in `fit`, for the order of the data.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: if an argument is out of range.

    Example:
        >>> import numpy as np, optax
        >>> rngs = nnx.Rngs(0)
        >>> model, loss = nnx.Linear(3, 1, rngs=rngs), optax.squared_error
        >>> trainer = Trainer(model, optimizer=optax.adam(0.1), loss=loss)
        >>> x = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
        >>> y = x.sum(axis=1, keepdims=True)
        >>> history = trainer.fit(x, y, epochs=20, verbose=False)
        >>> history["loss"][-1] < 0.05 * history["loss"][0]
        True
    """

    def __init__(
        self,
        model: nnx.Module,
        *,
        optimizer: Optimizer,
        loss: Callable[..., Any],
        metrics: dict[str, Any] | None = None,
        augment: Callable[..., Any] | None = None,
        nonfinite: str = "stop",
        steps_per_call: int = 1,
        mesh: Mesh | None = None,
        param_sharding: ShardingRule | None = None,
        local_batches: bool = False,
        seed: int = 0,
    ):
        check_choice("Trainer", "nonfinite", nonfinite, POLICIES)
        steps_per_call = check_integer(
            "Trainer", "steps_per_call", steps_per_call, minimum=1
        )
        self.seed = check_integer("Trainer", "seed", seed, minimum=0)
        metrics = dict(metrics or {})
        for name in {"loss", "nonfinite"} & metrics.keys():
            raise ValueError(
                f"Trainer: metrics must not have the name {name!r}, which is taken"
            )
        self._engine = Engine(
            model,
            optimizer=optimizer,
            loss=loss,
            metrics=metrics,
            augment=augment,
            nonfinite=nonfinite,
            steps_per_call=steps_per_call,
            mesh=mesh,
            param_sharding=param_sharding,
            local_batches=local_batches,
            seed=self.seed,
        )
        self._run: FitRun | None = None

    @property
    def state(self) -> TrainState:
        """The current `TrainState`; the next step takes its arrays away."""
        return self._engine.state

    @property
    def model(self) -> nnx.Module:
        """A module with copies of the current values, in evaluation mode."""
        return self._engine.network.module(self.state.params, self.state.model_state)

    @property
    def traces(self) -> dict[str, int]:
        """How often each of the compiled functions was traced (so, compiled)."""
        return dict(self._engine.programs.traces)

    def fit(
        self,
        x: Any,
        y: Any = None,
        *,
        batch_size: int = 32,
        epochs: int | None = 1,
        steps: int | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        class_weight: dict[int, float] | None = None,
        sample_weight: Any = None,
        shuffle: bool = True,
        seed: int | None = None,
        callbacks: Iterable[Any] = (),
        verbose: bool | str = "auto",
        resume: str | os.PathLike[str] | None = None,
        allow_changes: Iterable[str] = (),
    ) -> History:
        """Train.

        The last batch of an epoch is filled up and masked: one shape, exact means.

        Args:
            x: inputs, an array (or pytree of arrays) with the examples first; or,
                without `y`, an iterable of batches `(x, y)`, `(x, y, sample_weight)` or
                `((x, y), mask)`, gone through once an epoch.
            y: targets, likewise.
            batch_size: how many examples a step sees; an iterable has its own.
            epochs: how many epochs; None together with `steps` for no limit.
            steps: how many steps at most, also in the middle of an epoch.
            validation_split: the share of the examples to validate on, in [0, 1): the
                last ones, before any shuffling.
            validation_data: `(x, y)`, `(x, y, sample_weight)`, or batches as for `x`.
            class_weight: the weight in the loss by class (integer targets), else 1.
            sample_weight: `(examples,)` weights in the loss, which is divided by the
                number of examples, as in Keras; metrics are not weighted.
            shuffle: visit the examples in an order drawn from `seed` and epoch.
            seed: None takes the trainer's.
            callbacks: `Callback`s, or functions of (trainer, logs) for every epoch.
            verbose: show progress; "auto" does if the output is a terminal.
            resume: the folder of a `Checkpoint` callback: go on from its newest whole
                one, to the same bits. All but `epochs`, `steps` and `callbacks` must be
                as it was. "auto" takes the folder of the first `Checkpoint` among
                `callbacks`, and starts anew if it has no whole one.
            allow_changes: what may differ from the interrupted call, under the names
                that the refusal gives (`["optimizer.scale.step_size"]`, `["model"]`).

        Returns:
            The `History`: a figure an epoch, from the first epoch on also if resumed.

        Raises:
            BlockingIOError: if another run uses the folder.
            FileNotFoundError: if there is no folder to resume from.
            FloatingPointError: if loss or gradient is not finite and `nonfinite` is
                "stop"; the trainer keeps the state before that step.
            TypeError: if an argument is of the wrong kind.
            ValueError: if the data or an argument is not as it must be.
        """
        epochs, steps = _arguments.fit_length(epochs, steps)
        source, validation = _arguments.fit_sources(
            x,
            y,
            batch_size=batch_size,
            validation_split=validation_split,
            validation_data=validation_data,
            class_weight=class_weight,
            sample_weight=sample_weight,
            shuffle=shuffle,
            seed=self.seed if seed is None else seed,
            finite=self._engine.nonfinite == "stop",
        )
        self._engine.placement.check_batch("fit", source)
        self._engine.placement.check_batch("fit", validation)
        everything = list(callbacks)
        if verbose is True or (verbose == "auto" and sys.stdout.isatty()):
            everything.append(Progress(epochs=epochs, steps=source.steps))
        given = (source, validation, CallbackList(everything))
        run = FitRun(self, self._engine, *given, epochs=epochs, steps=steps)
        with locked(resume, run.callbacks, self) as folder:
            if folder is not None:
                required = resume != "auto"
                restore(run, folder, required=required, allow=allow_changes)
            try:
                self._run = run
                return run.execute()
            finally:
                self._run = None

    def evaluate(
        self, x: Any, y: Any = None, *, batch_size: int = 32, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Loss and metrics in evaluation mode.

        Args:
            x: inputs as arrays, or an iterable of batches, as for `fit`.
            y: targets.
            batch_size: how many examples at a time.
            sample_weight: `(examples,)` weights in the loss.

        Returns:
            `{"loss": ..., name: ...}`, means over exactly the examples; what a `Metric`
            computes for one.

        Raises:
            ValueError: if the data are not as they must be.
        """
        finite = self._engine.nonfinite == "stop"
        source = _arguments.evaluation_source(
            "evaluate", x, y, sample_weight, batch_size=batch_size, finite=finite
        )
        self._engine.placement.check_batch("evaluate", source)
        return self._engine.evaluate(source)

    def predict(self, x: Any, *, batch_size: int = 32) -> Any:
        """The module's outputs in evaluation mode.

        Args:
            x: inputs, an array or pytree of arrays with the examples first.
            batch_size: how many examples at a time.

        Returns:
            `(examples, ...)` NumPy array, or a pytree of them.

        Raises:
            ValueError: if there are no examples or their numbers differ.
        """
        source = _arguments.prediction_source(x, batch_size=batch_size)
        self._engine.placement.check_batch("predict", source)
        return self._engine.predict(source)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save parameters, model state, optimizer state, step and key.

        Args:
            path: the folder to make. A checkpoint that is there is replaced, at no
                moment leaving the disk without a complete one.

        Raises:
            FileExistsError: if something else is there.
            OSError: if it cannot be written.
        """
        write_checkpoint(
            Path(path), self._engine.named_state(), {"step": int(self.state.step)}
        )

    def load(self, path: str | os.PathLike[str]) -> "Trainer":
        """Take over what `save` or a `Checkpoint` callback wrote.

        Args:
            path: the folder of one checkpoint.

        Returns:
            This trainer.

        Raises:
            FileNotFoundError: if there is no such folder.
            ValueError: if the checkpoint is damaged, or is of another model or
                optimizer; the message names every parameter that differs.
        """
        self._engine.restore(*checked(Path(path)))
        return self

    def stop(self) -> None:
        """End the running fit after its epoch; for callbacks."""
        if self._run:
            self._run.stopped = True

    def set_state(self, state: TrainState) -> None:
        """Go on from another state of the same structure."""
        self._engine.set_state(state)

    def save_fit(self, path: str | os.PathLike[str]) -> None:
        """Save what `save` does and all that a resumed fit needs; for callbacks."""
        if self._run is None:
            raise ValueError("save_fit: there must be a fit under way (use save)")
        arrays, host = snapshot(self._run)
        host["step"] = int(self.state.step)
        write_checkpoint(Path(path), self._engine.named_state() | arrays, host)

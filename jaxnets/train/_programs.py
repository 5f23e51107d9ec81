"""The compiled functions of a trainer: to train, to evaluate, to predict."""

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.train._metrics import Mean
from jaxnets.train._network import Network, make_loss_fn
from jaxnets.train._optimizer import Optimizer
from jaxnets.train._step import (
    TrainState,
    make_eval_step,
    make_train_step,
    scan_steps,
)


class Tally:
    """The sums of an epoch: means in float64 on the host, counts on the device.

    A step reports its means as one short vector (total, count, total, count, ...), so
    that the host fetches one array a step; float64 sums of float32 totals are exact to
    the last digit for more steps than anybody takes.
    """

    def __init__(self, names: list[str], counts: dict[str, Any]):
        self.names = names
        self.counts = counts
        self.totals = np.zeros(2 * len(names), np.float64)

    def add(self, rows: np.ndarray) -> None:
        """Add the vectors of one or more steps, in their order."""
        for row in rows:
            self.totals += row

    def means(self) -> dict[str, float]:
        """The means so far."""
        pairs = self.totals.reshape(-1, 2)
        return {
            name: Mean(*pair).compute()
            for name, pair in zip(self.names, pairs, strict=True)
        }


class Programs(NamedTuple):
    """Jitted functions of the state and one dispatch's batches.

    Attributes:
        train: `(state, counts, batches, count) -> (state, counts, report)`; `report` is
            `(steps, 2 means + 2)`: the means' totals and counts, and whether the loss
            and whether the gradient were not finite; one more column has the learning
            rate if it is in the optimizer's state.
        evaluate: `(state, counts, batch) -> (counts, report)`.
        predict: `(state, x) -> outputs`.
        traces: how often each of the three was traced, which is how often it was
            compiled.
    """

    train: Callable[..., Any]
    evaluate: Callable[..., Any]
    predict: Callable[..., Any]
    traces: Counter[str]


def make_programs(
    network: Network,
    tx: Optimizer,
    *,
    loss: Callable[..., Any],
    metrics: dict[str, Any],
    augment: Callable[..., Any] | None,
    nonfinite: str,
    steps_per_call: int,
    shardings: tuple[Any, Any] | None,
) -> Programs:
    """Make the three functions; each compiles once a shape of batch.

    Args:
        network: the module taken apart.
        tx: the optimizer.
        loss: `(outputs, targets) -> (batch, ...)`.
        metrics: functions of that form, or `Metric`s, by name.
        augment: `(key, x) -> x`, in training only.
        nonfinite: see `make_train_step`.
        steps_per_call: how many steps a dispatch takes.
        shardings: those of the state and of what is the same on all devices; None for
            one device.
    """
    traces: Counter[str] = Counter()
    order = ["loss", *metrics]

    def loss_fn(training: bool) -> Callable[..., Any]:
        return make_loss_fn(
            network, loss=loss, metrics=metrics, augment=augment, training=training
        )

    step = make_train_step(loss_fn(True), tx, nonfinite=nonfinite)
    eval_step = make_eval_step(loss_fn(False))

    def reporting(state: TrainState, batch: Any) -> tuple[TrainState, Any]:
        state, sums = step(state, batch)
        failed = sums.pop("nonfinite")
        means, counts = _separate(sums, order)
        rate = learning_rate(state.opt_state)
        row = [*means, failed.loss, failed.gradient, *([] if rate is None else [rate])]
        return state, (_vector(row), counts)

    steps = scan_steps(reporting)

    def train(state: TrainState, counts: Any, batches: Any, count: Any) -> Any:
        traces["train"] += 1
        if steps_per_call == 1:
            state, (report, new) = reporting(state, batches)
            report = report[None]
        else:
            state, (report, new) = steps(state, batches, count)
            new = jax.tree.map(lambda leaf: leaf.sum(axis=0, dtype=leaf.dtype), new)
        return state, jax.tree.map(jnp.add, counts, new), report

    def evaluate(state: TrainState, counts: Any, batch: Any) -> Any:
        traces["evaluate"] += 1
        means, new = _separate(eval_step(state, batch), order)
        return jax.tree.map(jnp.add, counts, new), _vector(means)

    def predict(state: TrainState, x: Any) -> Any:
        traces["predict"] += 1
        outputs, *_ = network.apply(state.params, state.model_state, x, training=False)
        return outputs

    if shardings is None:
        return Programs(
            jax.jit(train, donate_argnums=(0, 1)),
            jax.jit(evaluate, donate_argnums=(1,)),
            jax.jit(predict),
            traces,
        )
    state, same = shardings
    return Programs(
        jax.jit(train, donate_argnums=(0, 1), out_shardings=(state, same, same)),
        jax.jit(evaluate, donate_argnums=(1,), out_shardings=same),
        jax.jit(predict, out_shardings=same),
        traces,
    )


def learning_rate(opt_state: Any) -> Any:
    """The learning rate that `optax.inject_hyperparams` keeps, or None."""

    def injected(node: Any) -> bool:
        return hasattr(node, "hyperparams")

    for node in jax.tree.leaves(opt_state, is_leaf=injected):
        if injected(node) and "learning_rate" in node.hyperparams:
            return node.hyperparams["learning_rate"]
    return None


def _separate(
    sums: dict[str, Any], order: list[str]
) -> tuple[list[Any], dict[str, Any]]:
    # A pytree's dict comes back sorted by name, so the order is told separately.
    means: list[Any] = []
    counts = {}
    for name in order:
        value = sums[name]
        if isinstance(value, Mean):
            means += [value.total, value.count]
        else:
            counts[name] = value
    return means, counts


def _vector(row: list[Any]) -> jax.Array:
    # float64 only where a model computes in it.
    wide = any(jnp.result_type(value) == jnp.float64 for value in row)
    dtype = jnp.float64 if wide else jnp.float32
    return jnp.stack([jnp.asarray(value).astype(dtype) for value in row])

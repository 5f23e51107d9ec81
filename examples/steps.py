"""Training with the pure core of the library alone: no trainer and no module."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxnets import train


def run_steps(
    key: jax.Array,
    loss_fn: Callable[[Any, jax.Array], jax.Array],
    params: Any,
    tx: Any,
    *,
    steps: int,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> tuple[Any, np.ndarray]:
    """Take steps on `loss_fn(params, key)`, which draws its batch from its key.

    Every step's key is folded from `key` and the number of the step, so the whole run
    is a function of its arguments. A hundred steps go into one dispatch.

    Returns:
        The parameters, and the loss of every step `(steps,)`.
    """

    def loss_and_figures(params: Any, model_state: Any, batch: Any, key: jax.Array):
        loss = loss_fn(params, key)
        return loss, (model_state, {"loss": loss})

    step = train.make_train_step(loss_and_figures, tx, nonfinite="stop")

    def many(state: Any, count: int) -> Any:
        return jax.lax.scan(lambda state, _: step(state, None), state, length=count)

    many = jax.jit(many, static_argnums=1)
    state = train.create_train_state(key, params, tx)
    losses: list[np.ndarray] = []
    for done in range(0, steps, 100):
        state, figures = many(state, min(100, steps - done))
        losses.append(np.asarray(figures["loss"]))
        if int(state.nonfinite):
            raise FloatingPointError(
                f"loss or gradient was not finite before step {done + 100} (lower the "
                "learning rate)"
            )
        report(min(done + 100, steps), float(losses[-1].mean()))
    return state.params, np.concatenate(losses)

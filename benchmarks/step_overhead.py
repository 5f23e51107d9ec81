"""What a training step costs the host: `python -m benchmarks.step_overhead [--quick]`.

A hundred layers of 8 x 8 compute next to nothing, so the time of a step is what
dispatching it costs. `Trainer.fit` (its whole loop: batches gathered, figures fetched,
non-finite steps looked for, no callbacks) stands against a plain loop over a `jax.jit`
step of the same pytree, against the same with the check for non-finite numbers switched
off, and against `nnx.jit`, which walks the module's graph in Python at every step.
The figures are for a run of several steps; only ratios carry over to other machines.
"""

import argparse
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx

from benchmarks._timing import Report
from jaxnets import train

LAYERS, WIDTH, BATCH = 100, 8, 8


class Deep(nnx.Module):
    """Many layers, each too small to matter."""

    def __init__(self, rngs: nnx.Rngs):
        layers = [nnx.Linear(WIDTH, WIDTH, rngs=rngs) for _ in range(LAYERS)]
        self.layers = nnx.List(layers)

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in self.layers:
            x = x + 0.01 * layer(x)
        return x


def trainer_run(x: Any, y: Any, steps: int, **options: Any) -> Callable[[], Any]:
    trainer = train.Trainer(
        Deep(nnx.Rngs(0)),
        optimizer=optax.adam(1e-3),
        loss=optax.squared_error,
        **options,
    )

    def run() -> Any:
        trainer.fit(x, y, batch_size=BATCH, epochs=None, steps=steps, verbose=False)
        return trainer.state.params

    return run


def plain_run(x: Any, y: Any, steps: int) -> Callable[[], Any]:
    graph, state = nnx.split(Deep(nnx.Rngs(0)))
    tx = optax.adam(1e-3)
    params = nnx.to_pure_dict(state)
    values = [params, tx.init(params)]

    def loss_fn(params: Any, x: Any, y: Any) -> jax.Array:
        return optax.squared_error(nnx.merge(graph, params)(x), y).mean()

    def step(params: Any, opt_state: Any, x: Any, y: Any) -> Any:
        loss, gradient = jax.value_and_grad(loss_fn)(params, x, y)
        updates, opt_state = tx.update(gradient, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    compiled = jax.jit(step, donate_argnums=(0, 1))

    def run() -> Any:
        for number in range(steps):
            rows = slice(number * BATCH, (number + 1) * BATCH)
            *values[:], loss = compiled(*values, x[rows], y[rows])
        return values[0], loss

    return run


def nnx_run(x: Any, y: Any, steps: int) -> Callable[[], Any]:
    model = Deep(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)

    @nnx.jit
    def step(model: Deep, optimizer: nnx.Optimizer, x: Any, y: Any) -> jax.Array:
        def loss_fn(model: Deep) -> jax.Array:
            return optax.squared_error(model(x), y).mean()

        loss, gradient = nnx.value_and_grad(loss_fn)(model)
        optimizer.update(model, gradient)
        return loss

    def run() -> Any:
        for number in range(steps):
            rows = slice(number * BATCH, (number + 1) * BATCH)
            loss = step(model, optimizer, x[rows], y[rows])
        return loss, nnx.to_pure_dict(nnx.state(model, nnx.Param))

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer steps and rounds")
    quick = parser.parse_args().quick
    steps, rounds = (100, 5) if quick else (300, 15)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(steps * BATCH, WIDTH)).astype(np.float32)
    y = rng.normal(size=(steps * BATCH, WIDTH)).astype(np.float32)
    report = Report("step_overhead", quick=quick)
    report.begin()
    report.compare(
        f"{LAYERS} x Linear({WIDTH}, {WIDTH}), batch {BATCH}",
        f"{steps} steps",
        {
            "Trainer.fit": trainer_run(x, y, steps),
            "jax.jit loop": plain_run(x, y, steps),
            "Trainer.fit, nonfinite='ignore'": trainer_run(
                x, y, steps, nonfinite="ignore"
            ),
            "Trainer.fit, steps_per_call=10": trainer_run(
                x, y, steps, steps_per_call=10
            ),
            "nnx.jit loop": nnx_run(x, y, steps),
        },
        rounds,
    )
    report.save()


if __name__ == "__main__":
    main()

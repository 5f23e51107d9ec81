"""One of two processes that train together: python processes_job.py INDEX PORT RESULT.

Each gives the trainer its own half of every batch; the first writes the parameters.
"""

import sys

import jax
import numpy as np
import optax
from flax import nnx

from jaxnets import data, train


def halves(x, y, size):
    """The rows of this process, batch by batch."""
    return [
        data.process_slice((x[i : i + size], y[i : i + size]))
        for i in range(0, len(x), size)
    ]


def main(index: int, port: int, result: str) -> None:
    jax.config.update("jax_num_cpu_devices", 1)
    jax.distributed.initialize(f"localhost:{port}", 2, index)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((24, 5)).astype(np.float32)
    y = x.sum(axis=1, keepdims=True)
    trainer = train.Trainer(
        nnx.Linear(5, 1, rngs=nnx.Rngs(0)),
        optimizer=optax.sgd(0.1),
        loss=optax.squared_error,
        mesh=jax.make_mesh((2,), ("data",)),
        local_batches=True,
    )
    history = trainer.fit(halves(x, y, 8), epochs=2, verbose=False)
    score = trainer.evaluate(halves(x, y, 8))
    kernel = np.asarray(trainer.state.params["kernel"].addressable_data(0))
    if index == 0:
        np.savez(result, kernel=kernel, loss=history["loss"], score=score["loss"])


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])

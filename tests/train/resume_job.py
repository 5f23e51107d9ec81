"""The job that test_resume kills: 200 steps of a network with dropout and batch norm.

`python -m tests.train.resume_job DIRECTORY [--resume] [--kill WHERE]` writes the final
state and history to DIRECTORY/result.npz; `--kill` has the process kill itself.
"""

import argparse
import os
import signal
from pathlib import Path

import jax
import numpy as np
import optax
from flax import nnx

from jaxnets import train
from jaxnets.train import _checkpoint_files
from jaxnets.train._flatten import flatten
from tests.train.networks import Small, blobs, figures


def die(*_: object) -> None:
    """End this process as a power cut would: nothing is flushed, nothing is closed."""
    os.kill(os.getpid(), signal.SIGKILL)


class KillAtStep(train.Callback):
    """Die in the middle of a step."""

    def __init__(self, step: int):
        self.step = step

    def on_step_end(self, trainer: train.Trainer, step: int, logs: dict) -> None:
        if step == self.step:
            die()


def kill_in_checkpoint(number: int, where: str) -> None:
    """Die while the checkpoint of that number is written, at a place within."""
    replaced = {
        "arrays": (_checkpoint_files.ocp.StandardCheckpointer, "save"),
        "manifest": (_checkpoint_files, "_checksum"),
        "rename": (_checkpoint_files.os, "replace"),
    }
    owner, name = replaced[where]
    original = getattr(owner, name)
    written = [0]
    begin = _checkpoint_files.write_checkpoint

    def counted(*args: object) -> None:
        written[0] += 1
        begin(*args)

    def deadly(*args: object, **kwargs: object) -> object:
        if written[0] == number:
            if where == "arrays":
                # Half of the files are there.
                original(*args, **kwargs)
            die()
        return original(*args, **kwargs)

    setattr(owner, name, deadly)
    train._trainer.write_checkpoint = counted


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--kill-step", type=int)
    parser.add_argument("--kill-checkpoint")
    arguments = parser.parse_args()
    x, y = blobs(150)
    # 15 steps an epoch: the checkpoints every 100 steps lie within epochs.
    trainer = train.Trainer(
        Small(nnx.Rngs(0)),
        optimizer=optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2)),
        loss=optax.softmax_cross_entropy_with_integer_labels,
        metrics={"acc": train.accuracy, "confusion": train.ConfusionMatrix(3)},
        augment=lambda key, x: x + 0.1 * jax.random.normal(key, x.shape),
        seed=4,
    )
    checkpoints = arguments.directory / "checkpoints"
    callbacks: list = [
        train.Checkpoint(checkpoints, every_steps=50),
        train.CSVLogger(arguments.directory / "history.csv"),
        train.EarlyStopping("val_loss", patience=99, restore_best=True),
    ]
    if arguments.kill_step:
        callbacks.append(KillAtStep(arguments.kill_step))
    if arguments.kill_checkpoint:
        number, where = arguments.kill_checkpoint.split("-")
        kill_in_checkpoint(int(number), where)
    history = trainer.fit(
        x,
        y,
        batch_size=8,
        epochs=None,
        steps=200,
        validation_split=0.2,
        callbacks=callbacks,
        resume=checkpoints if arguments.resume else None,
    )
    state = trainer.state._replace(key=jax.random.key_data(trainer.state.key))
    arrays = flatten(state, "state") | flatten(figures(history), "history")
    arrays = {
        name: jax.random.key_data(leaf)
        if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        else leaf
        for name, leaf in arrays.items()
    }
    arrays = {name: np.asarray(leaf) for name, leaf in arrays.items()}
    np.savez(arguments.directory / "result.npz", **arrays)
    if arguments.resume:
        taken = history.resumed.path
        print(f"taken={taken.name if taken else None}")


if __name__ == "__main__":
    main()

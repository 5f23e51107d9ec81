"""A fit that holds its run folder: python -m tests.train.lock_job DIRECTORY.

It prints "holding" in its second epoch and then waits for its standard input to end.
"""

import sys

from jaxnets import train
from tests.train.networks import blobs, linear_trainer


def wait(trainer: train.Trainer, logs: dict) -> None:
    if int(trainer.state.step) == 2:
        print("holding", flush=True)
        sys.stdin.read()


def main(directory: str) -> None:
    x, y = blobs(20)
    linear_trainer().fit(
        x, y, epochs=3, callbacks=[train.Checkpoint(directory), wait], verbose=False
    )


if __name__ == "__main__":
    main(sys.argv[1])

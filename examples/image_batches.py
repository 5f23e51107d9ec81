"""Batches of images made by Grain, in an order that can be taken up anywhere."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, SupportsIndex

import grain
import image_files
import jax
import numpy as np
from absl import flags

from jaxnets import data, train


class ImageBatches(Sequence):
    """The batches `((images, labels), mask)` of one epoch, read ahead by Grain.

    Images are `(rows, size, size, 3)` uint8, labels `(rows,)` int32. Which images a
    batch holds and how they are cropped is a function of (seed, epoch, number) alone,
    whatever the number of threads, workers and processes: a fit that is resumed goes on
    with the same bits and reads nothing twice. Each process makes the rows of its own
    devices. Training leaves out the images that do not fill a batch, another few every
    epoch; testing fills the last batch up, with a mask of zeros.
    """

    def __init__(self, source: Any, config: Any, *, training: bool):
        size, count = config.batch_size, jax.process_count()
        if size % count:
            raise ValueError(
                f"batch_size must be a multiple of the {count} processes; got {size}"
            )
        full, rest = divmod(len(source), size)
        if training and not full:
            raise ValueError(
                f"batch_size must be at most the {len(source)} training images; "
                f"got {size}"
            )
        self.source = source
        self.config = config
        self.training = training
        self.steps = full if training else full + (rest > 0)
        self.epoch = 0
        self._place: tuple[int, int] | None = None
        self._ahead: Iterator[Any] = iter(())

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: SupportsIndex) -> Any:
        number = index.__index__()
        if not 0 <= number < self.steps:
            raise IndexError(f"there are {self.steps} batches; got index {number}")
        if self._place != (self.epoch, number):
            self._ahead = iter(self._pipeline(number))
        self._place = self.epoch, number + 1
        images, labels = next(self._ahead)
        real = number * self.config.batch_size + np.arange(self.config.batch_size)
        mask = data.process_slice((real < len(self.source)).astype(np.float32))
        return (images, labels), mask

    def rows(self, start: int) -> np.ndarray:
        """Which images this process reads from batch `start` on, in order."""
        size = self.config.batch_size
        order = np.arange(len(self.source))
        if self.training:
            order = data.epoch_order(self.config.seed, self.epoch, len(self.source))
        order = np.resize(order, (self.steps, size))[start:]
        return data.process_slice(order.T).T.reshape(-1)

    def _pipeline(self, start: int) -> grain.IterDataset:
        config, rows = self.config, self.rows(start)
        load = partial(_load, self.source, config.image_size)
        if self.training:
            load = partial(_crop, self.source, config.image_size, config.seed)
            load = partial(load, self.epoch)
        batches = grain.MapDataset.source(rows).map(load)
        batches = batches.batch(config.batch_size // jax.process_count())
        options = grain.ReadOptions(
            num_threads=config.threads, prefetch_buffer_size=config.threads
        )
        ahead = batches.to_iter_dataset(options)
        if config.workers:
            # Grain's workers read absl's flags, which raise until they are parsed.
            if not flags.FLAGS.is_parsed():
                flags.FLAGS.mark_as_parsed()
            ahead = ahead.mp_prefetch(
                grain.MultiprocessingOptions(num_workers=config.workers)
            )
        return ahead


class SetEpoch(train.Callback):
    """Tells the batches which epoch begins."""

    def __init__(self, batches: ImageBatches):
        self.batches = batches

    def on_epoch_begin(self, trainer: Any, epoch: int) -> None:
        self.batches.epoch = epoch - 1


def _load(source: Any, size: int, row: Any) -> tuple[np.ndarray, np.int32]:
    return image_files.test_image(source[int(row)], size)


def _crop(
    source: Any, size: int, seed: int, epoch: int, row: Any
) -> tuple[np.ndarray, np.int32]:
    rng = np.random.default_rng((seed, epoch, int(row)))
    return image_files.training_image(source[int(row)], size, rng)

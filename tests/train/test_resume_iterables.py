"""A fit over an iterable of batches that goes on from its checkpoints."""

import shutil
from collections.abc import Sequence

import numpy as np
import pytest

from jaxnets import train
from jaxnets.train._sources import IterableSource
from tests.train.networks import assert_same_bits, blobs, figures, small_trainer


class Stream:
    """An iterable that cannot be indexed."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [list, Stream])
def test_resume_of_an_iterable_leaves_out_the_batches_it_had(tmp_path, kind):
    x, y = blobs(40)
    batches = kind(
        [(x[first : first + 8], y[first : first + 8]) for first in range(0, 40, 8)]
    )

    def run(**options):
        trainer = small_trainer()
        history = trainer.fit(batches, epochs=2, **options)
        return trainer.state, history

    expected = run(callbacks=[train.Checkpoint(tmp_path, every_steps=3)])
    for name in ("epoch_0001", "step_00000006", "step_00000009", "epoch_0002"):
        shutil.rmtree(tmp_path / name)
    state, history = run(resume=tmp_path)
    assert history.resumed.path.name == "step_00000003"
    assert_same_bits(state, expected[0])
    assert_same_bits(figures(history), figures(expected[1]))


def test_what_can_be_indexed_is_not_read_in_vain():
    """The middle of a pass costs one batch, the first, to know how wide they are."""
    read = []

    class Indexed(Sequence):
        def __len__(self):
            return 1000

        def __getitem__(self, number):
            read.append(number)
            rows = 3 if number == 999 else 8
            return np.full((rows, 2), number), np.full(rows, number)

    left = list(IterableSource(Indexed()).batches(epoch=0, start=997))
    assert read == [0, 997, 998, 999]
    assert [batch.x[0, 0] for batch in left] == [997, 998, 999]
    assert left[-1].x.shape == (8, 2)
    assert left[-1].mask.sum() == 3

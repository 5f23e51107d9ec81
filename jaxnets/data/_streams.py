"""One long row cut into parallel streams: what a recurrent network reads in order."""

from collections.abc import Sequence
from typing import Any, SupportsIndex

import numpy as np

from jaxnets.functional._checks import check_integer


class StreamBatches(Sequence):
    """Batches of a long row of ids for truncated back-propagation, in order.

    The row of n ids is cut into `batch_size` streams of L = (n − 1) // batch_size
    steps, and row b of batch t holds

    x = ids[b L + t · length : ... + length],  y = the same, one further on.

    So chunk t + 1 goes on in every row where chunk t ended, and a state carried from
    one to the next never sees a gap; a new pass begins at batch 0 with a fresh state.
    Batch t is a function of t alone and reads only what it holds: resuming costs
    nothing, and `ids` may be a memory map of more than fits into memory. What does not
    fill a last chunk, at most batch_size · length ids, is not visited.

    It is a sequence, so `Trainer.fit` takes it and goes on in the middle.

    Args:
        ids: `(n,)` integers.
        batch_size: how many streams there are.
        length: how many steps a chunk has.
        one_hot: how many classes to one-hot `x` into, or None for ids.

    Raises:
        TypeError: if `ids` are no integers, or a size is none.
        ValueError: if `ids` has not one axis, a size is below 1, or the row is too
            short for one batch.

    Example:
        >>> batches = StreamBatches(np.arange(14), batch_size=2, length=3)
        >>> len(batches)
        2
        >>> for x, y in batches:
        ...     print(x.tolist(), y.tolist())
        [[0, 1, 2], [6, 7, 8]] [[1, 2, 3], [7, 8, 9]]
        [[3, 4, 5], [9, 10, 11]] [[4, 5, 6], [10, 11, 12]]
    """

    def __init__(
        self, ids: Any, *, batch_size: int, length: int, one_hot: int | None = None
    ):
        name = "StreamBatches"
        if not hasattr(ids, "dtype"):
            ids = np.asarray(ids)
        if not np.issubdtype(ids.dtype, np.integer):
            raise TypeError(
                f"{name}: ids must be integers; got {ids.dtype} (Vocabulary.encode "
                "makes them of a text)"
            )
        if ids.ndim != 1:
            raise ValueError(f"{name}: ids must have one axis; got shape {ids.shape}")
        self.batch_size = check_integer(name, "batch_size", batch_size, minimum=1)
        self.length = check_integer(name, "length", length, minimum=1)
        if one_hot is not None:
            one_hot = check_integer(name, "one_hot", one_hot, minimum=1)
        self.ids = ids
        self.one_hot = one_hot
        self._stream = (ids.shape[0] - 1) // self.batch_size
        if self._stream < self.length:
            raise ValueError(
                f"{name}: one batch needs batch_size · length + 1 = "
                f"{self.batch_size * self.length + 1} ids; got {ids.shape[0]} (make "
                "batch_size or length smaller, or take a longer text)"
            )

    def __len__(self) -> int:
        return self._stream // self.length

    def __getitem__(self, index: SupportsIndex) -> tuple[np.ndarray, np.ndarray]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Batch `index`: x `(batch_size, length)` int32 or one-hot float32, and y."""
        if not hasattr(index, "__index__"):
            raise TypeError(f"StreamBatches: index must be an integer; got {index!r}")
        number = index.__index__()
        if number < 0:
            number += len(self)
        if not 0 <= number < len(self):
            raise IndexError(
                f"StreamBatches: there are {len(self)} batches; got index {index}"
            )
        starts = np.arange(self.batch_size) * self._stream + number * self.length
        rows = np.stack([self.ids[s : s + self.length + 1] for s in starts])
        rows = rows.astype(np.int32)
        x, y = rows[:, :-1], rows[:, 1:]
        if self.one_hot is not None:
            if rows.max() >= self.one_hot or rows.min() < 0:
                raise ValueError(
                    f"StreamBatches: ids must lie in 0 ... {self.one_hot - 1} to be "
                    f"one-hot; got {rows.min()} to {rows.max()}"
                )
            x = np.eye(self.one_hot, dtype=np.float32)[x]
        return x, y

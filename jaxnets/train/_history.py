"""What a fit reports: one row an epoch."""

from collections.abc import Iterator
from typing import Any

import numpy as np


class History:
    """The figures of a fit, one entry an epoch each.

    `history["val_loss"]` is a list, `history.epochs` the numbers of the epochs from 1;
    `"seconds"` is there always. An entry of an epoch that did not report it is NaN.

    Attributes:
        epochs: the numbers of the epochs, from 1.
        values: the name of each figure and its list.
        resumed: where a resumed fit went on and what it left aside, else None.

    Example:
        >>> history = History()
        >>> history.append(1, {"loss": 0.5})
        >>> history["loss"], history.epochs, "val_loss" in history
        ([0.5], [1], False)
    """

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.values: dict[str, list[Any]] = {}
        self.resumed: Any = None

    @property
    def continues(self) -> bool:
        """Whether the fit goes on from a checkpoint."""
        return self.resumed is not None and self.resumed.path is not None

    def append(self, epoch: int, logs: dict[str, Any]) -> None:
        """Add the figures of an epoch; those of epochs from it on are dropped."""
        self.truncate(epoch)
        for name in logs:
            self.values.setdefault(name, [float("nan")] * len(self.epochs))
        for name, values in self.values.items():
            values.append(logs.get(name, float("nan")))
        self.epochs.append(epoch)

    def truncate(self, epoch: int) -> None:
        """Drop the rows of `epoch` and of all later ones."""
        kept = sum(number < epoch for number in self.epochs)
        del self.epochs[kept:]
        for values in self.values.values():
            del values[kept:]

    def row(self, index: int) -> dict[str, Any]:
        """The figures of one epoch by its position in the lists."""
        return {name: values[index] for name, values in self.values.items()}

    def to_json(self) -> dict[str, Any]:
        """A form that JSON can hold; floats keep every bit."""
        values = {
            name: [
                {"array": v.tolist(), "dtype": str(v.dtype)}
                if isinstance(v, np.ndarray)
                else v
                for v in column
            ]
            for name, column in self.values.items()
        }
        return {"epochs": list(self.epochs), "values": values}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "History":
        """The inverse of `to_json`."""
        history = cls()
        history.epochs = list(data["epochs"])
        history.values = {
            name: [
                np.array(v["array"], v["dtype"]) if isinstance(v, dict) else v
                for v in column
            ]
            for name, column in data["values"].items()
        }
        return history

    def keys(self) -> list[str]:
        """The names of the figures."""
        return list(self.values)

    def __getitem__(self, name: str) -> list[Any]:
        if name not in self.values:
            listed = ", ".join(self.values) or "nothing yet"
            raise KeyError(f"History: no figure {name!r}; there are {listed}")
        return self.values[name]

    def __contains__(self, name: object) -> bool:
        return name in self.values

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)

    def __len__(self) -> int:
        return len(self.epochs)

    def __repr__(self) -> str:
        return f"History({len(self)} epochs: {', '.join(self.values)})"

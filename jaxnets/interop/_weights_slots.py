"""The parameters and statistics of a network, each with its layer."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from flax import nnx

from jaxnets.models._repeated import Repeated
from jaxnets.nn import Conv, Dense

KINDS = (
    ("conv", (Conv, nnx.Conv)),
    ("dense", (Dense, nnx.Linear)),
    ("norm", (nnx.BatchNorm, nnx.LayerNorm, nnx.GroupNorm, nnx.RMSNorm)),
)


class Slot(NamedTuple):
    """One array of a network that a file can fill.

    `layer` is the path of the module, such as `stages.0.1.convs.2`, and `role` what the
    array is to it, such as `kernel`. Of a stack of equal blocks, which keeps its arrays
    along a new first axis, each block has slots of its own, at `place`.
    """

    layer: str
    role: str
    kind: str
    variable: Any
    place: int | None = None

    @property
    def name(self) -> str:
        """Our name of the array."""
        return f"{self.layer}.{self.role}" if self.layer else self.role

    @property
    def array(self) -> tuple[int, int | None]:
        """Equal for the slots of one array."""
        return id(self.variable), self.place

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape in our layout."""
        shape = tuple(self.variable.shape)
        return shape if self.place is None else shape[1:]

    def value(self) -> np.ndarray:
        """What it holds, on the host."""
        value = np.asarray(self.variable[...])
        return value if self.place is None else value[self.place]


def slots_of(model: Any) -> list[Slot]:
    """Every `Param` and `BatchStat` of a network, in the order of its attributes.

    An array that several attributes share has a slot under each of its names.
    """
    return list(_walk(model, (), None, ()))


def arrays_of(model: Any) -> list[list[Slot]]:
    """The slots of a network, those of one array together."""
    arrays: dict[tuple[int, int | None], list[Slot]] = {}
    for slot in slots_of(model):
        arrays.setdefault(slot.array, []).append(slot)
    return list(arrays.values())


def _walk(
    node: Any,
    path: tuple[str, ...],
    place: int | None,
    parents: tuple[tuple[int, int | None], ...],
) -> Iterator[Slot]:
    key = (id(node), place)
    if key in parents:  # a module that refers to one that holds it
        return
    parents = (*parents, key)
    if isinstance(node, Repeated):
        *before, number = path
        for place in range(node.count):
            block = (*before, str(int(number) + place))
            yield from _walk(node.block, block, place, parents)
        return
    for name, child in vars(node).items():
        if name.startswith("_pytree"):
            continue
        if isinstance(child, nnx.Param | nnx.BatchStat):
            yield Slot(".".join(path), name, _kind(node, child, place), child, place)
        elif isinstance(child, nnx.Module):
            yield from _walk(child, (*path, name), place, parents)


def _kind(module: Any, variable: Any, place: int | None) -> str:
    kind = next((kind for kind, types in KINDS if isinstance(module, types)), "other")
    rank = len(variable.shape) - (place is not None)
    general = kind == "dense" and rank > 2  # a Dense over several axes
    flipped = kind == "conv" and getattr(module, "flip_kernel", False)
    return "other" if general or flipped else kind

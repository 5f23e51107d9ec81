"""How the three parts of a convolution are shared out over an explicit mesh.

XLA cuts its own convolution by itself. It does not see through an algorithm that goes
through the batch in blocks: it would gather the whole batch on every device. Where the
types of the operands say how they are cut, each device is handed its share instead,
which is a convolution again:

    x (n, ..., c)    kernel (..., c, o)    y (n, ..., o)

Each part sums over the letter that its result lacks, o for the input gradient, say; if
that is cut, the devices' results are added. With groups, x is (n, ..., g), y
(n, ..., g) and the kernel (..., c, g), where g is cut over whole groups and c stays
whole, as the other axes do.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax import lax
from jax.sharding import AbstractMesh, PartitionSpec
from jax.typing import ArrayLike

from jaxnets.functional._mesh import mesh_of, vary_alike
from jaxnets.functional.conv_algorithms import ConvSpec

ENDS = {"x": ("n", "c"), "kernel": ("c", "o"), "y": ("n", "o")}
GROUPED_ENDS = {"x": ("n", "g"), "kernel": ("", "g"), "y": ("n", "g")}


class Shares(NamedTuple):
    """How one part of a convolution is cut.

    Attributes:
        operands: the partition of each operand.
        result: that of the result.
        summed: the mesh axes over which the devices' results are added.
        cut_groups: over how many devices the groups are cut.
    """

    operands: tuple[PartitionSpec, PartitionSpec]
    result: PartitionSpec
    summed: tuple[str, ...]
    cut_groups: int


def shares(arrays: tuple[str, str, str], a: Any, b: Any, spec: ConvSpec) -> Shares:
    """The cut that the types of two operands, named like the result, come closest to.

    Where both cut the same letter in different ways, the first has its way; a cut that
    does not go over whole groups is undone.
    """
    ends = ENDS if spec.groups == 1 else GROUPED_ENDS
    letters = [
        _letters(*ends[name], v.ndim, kernel=name == "kernel")
        for name, v in zip(arrays, (a, b, a), strict=True)
    ]
    mesh = mesh_of(a, b)
    cuts: dict[str, tuple[str, ...]] = {}
    for names, operand in zip(letters, (a, b), strict=False):
        for letter, cut in zip(names, operand.sharding.spec, strict=True):
            cut = cut if isinstance(cut, tuple) else (cut,) if cut else ()
            taken = {axis for other in cuts.values() for axis in other}
            whole = letter == "g" and spec.groups % _devices(mesh, cut)
            if letter and cut and not whole and not taken.intersection(cut):
                cuts.setdefault(letter, cut)
    first, second, result = (
        PartitionSpec(*(cuts.get(letter) for letter in names)) for names in letters
    )
    summed = [cut for letter, cut in cuts.items() if letter not in letters[2]]
    return Shares(
        (first, second),
        result,
        tuple(axis for cut in summed for axis in cut),
        _devices(mesh, cuts.get("g", ())),
    )


def share_out(
    run: Callable, cut: Shares, a: ArrayLike, b: ArrayLike, spec: ConvSpec
) -> jax.Array:
    """Run one part of a convolution, `(a, b, spec) -> result`, on every device."""
    groups = spec.groups // cut.cut_groups

    def share(a, b):
        part = run(*vary_alike(a, b), spec._replace(groups=groups))
        return lax.psum(part, cut.summed) if cut.summed else part

    mesh = jax.sharding.get_abstract_mesh()
    on_devices = jax.shard_map(
        share,
        in_specs=cut.operands,
        out_specs=cut.result,
        axis_names=set(mesh.explicit_axes),
    )
    return on_devices(*map(jax.sharding.reshard, (a, b), cut.operands))


def _letters(first: str, last: str, ndim: int, *, kernel: bool) -> list[str]:
    """The letter of every axis, "" for one that is never cut."""
    inner = [""] * (ndim - 2)
    return [*inner, first, last] if kernel else [first, *inner, last]


def _devices(mesh: AbstractMesh, axes: tuple[str, ...]) -> int:
    """Over how many devices a cut over these mesh axes goes."""
    count = 1
    for axis in axes:
        count *= mesh.shape[axis]
    return count

"""Which cells of the input a unit can see, worked out layer by layer."""

import dataclasses
import io
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from jaxnets.functional._pool_geometry import from_channels_last
from jaxnets.functional._shapes import DataFormat
from jaxnets.nn._any_model import Wrapped, as_module, check_input_shape, run
from jaxnets.nn._metadata import Path, path_name
from jaxnets.nn._reach import Bound, Reach, whole_axis
from jaxnets.nn._reach_follow import follow
from jaxnets.nn._reach_layout import check_layout, mark_input
from jaxnets.nn._recording import Call, record_calls

MARK = "jaxnets_call_"
RESULT = "jaxnets_result"


class LayerField(NamedTuple):
    """The receptive field of the outputs of one call of one module.

    All but the first two have one entry a spatial axis of the input.

    Attributes:
        path: where the module stands in the model, such as `layers/0`.
        kind: name of its class.
        size: cells of the input from the first to the last that one output sees; the
            largest number where outputs differ.
        jump: cells from the field of one output to that of its neighbour; 0 where no
            axis of the outputs goes along the axis of the input, as behind a global
            pool or a dense layer.
        start: centre of the field of output 0; that of cell 0 of the input is 0.
    """

    path: str
    kind: str
    size: tuple[int, ...]
    jump: tuple[float, ...]
    start: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class ReceptiveField:
    """What `receptive_field` found; `print` shows it as a table.

    Attributes:
        layers: the calls in the order in which they begin.
        size: of the outputs of the whole, as in `LayerField`.
        jump: likewise.
        start: likewise.
        input_size: cells of the input along each spatial axis.
    """

    layers: tuple[LayerField, ...]
    size: tuple[int, ...]
    jump: tuple[float, ...]
    start: tuple[float, ...]
    input_size: tuple[int, ...]
    _reaches: tuple[Reach | None, ...] = dataclasses.field(repr=False)

    def cells(self, position: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """The cells that one output sees, those beyond the borders left out.

        They are the ends of an interval: with dilation there may be gaps in it.

        Args:
            position: of the output, one entry a spatial axis of the input; one whose
                jump is 0 does not matter.

        Returns:
            The first and the last cell along each axis; the last is below the first
            where it sees none.

        Raises:
            ValueError: if the number of entries is another.
        """
        if len(position) != len(self.input_size):
            raise ValueError(
                f"cells: position must have {len(self.input_size)} entries, one a "
                f"spatial axis of the input; got {tuple(position)}"
            )
        axes = zip(self._reaches, position, self.input_size, strict=True)
        return tuple(_clipped(_seen(reach, k), size) for reach, k, size in axes)

    def __str__(self) -> str:
        """The table and the whole as text."""
        table = Table(box=SIMPLE_HEAD)
        for name in ("layer", "type"):
            table.add_column(name, no_wrap=True)
        for name in ("size", "jump", "start"):
            table.add_column(name, justify="right", no_wrap=True)
        for path, kind, *figures in self.layers:
            table.add_row(path or "(model)", kind, *map(_written, figures))
        text = io.StringIO()
        # Wide enough that nothing is cut: the reader's terminal is not known here.
        Console(file=text, width=500, color_system=None).print(table)
        lines = [line.rstrip() for line in text.getvalue().splitlines()]
        lines.append(
            f"  receptive field of an output: {_written(self.size)} of "
            f"{_written(self.input_size)} cells, jump {_written(self.jump)}, "
            f"start {_written(self.start)}"
        )
        return "\n".join(line for line in lines if line)


def receptive_field(
    model: Any,
    input_shape: Sequence[int],
    *,
    method: Callable[[Any, jax.Array], Any] | None = None,
    data_format: DataFormat = "channels_last",
) -> ReceptiveField:
    """How much of the input each unit of a network can see.

    The model is traced in evaluation mode and every operation is followed, so it does
    not matter whether a pool is a module or a function: any rank, stride, dilation and
    padding, transposed convolutions, branches (which take the union), loops. For a
    layer of window k, stride s and dilation d

        size = size' + d (k − 1) jump',    jump = s jump'.

    Nothing is computed. Sizes count padding too: they are those of an infinitely large
    input, and `ReceptiveField.cells` has what is left of them within the borders. Where
    an operation mixes all positions (a global pool, a dense layer behind a flatten, a
    squeeze-excitation, a normalisation over positions, an adaptive pool whose windows
    differ, an operation that is not known) the field is what all of them see together:
    the whole input.

    Args:
        model: a module, whose arrays may be `jax.ShapeDtypeStruct`s
            (`nnx.eval_shape`); a list of modules and functions, applied in turn; or a
            function of an array.
        input_shape: `(*spatial, channels)` of one example, or `(channels, *spatial)`.
        method: what is looked at, a function of the model and a batch of one that
            gives an array; None calls the model.
        data_format: where the channels of the input are: `"channels_last"` or
            `"channels_first"`.

    Returns:
        A `ReceptiveField`, with a line for every call of a module.

    Raises:
        TypeError: if the model cannot be called or gives no array.
        ValueError: if the shape has no spatial axis, or a layer has another
            `data_format` than the input.

    Example:
        >>> from jaxnets.nn import Conv, MaxPool
        >>> rngs = nnx.Rngs(0)
        >>> layers = [
        ...     Conv(3, 8, (3, 3), rngs=rngs), nnx.relu, MaxPool((2, 2)),
        ...     Conv(8, 8, (3, 3), rngs=rngs),
        ... ]
        >>> field = receptive_field(layers, (32, 32, 3))
        >>> print(field)
          layer      type          size    jump       start
         ───────────────────────────────────────────────────
          (model)    Sequential   8 x 8   2 x 2   0.5 x 0.5
          layers/0   Conv         3 x 3   1 x 1       0 x 0
          layers/2   MaxPool      4 x 4   2 x 2   0.5 x 0.5
          layers/3   Conv         8 x 8   2 x 2   0.5 x 0.5
          receptive field of an output: 8 x 8 of 32 x 32 cells, jump 2 x 2, start 0.5 x 0.5
        >>> field.cells((8, 0))
        ((13, 20), (0, 4))

    Source:
        Araujo, Norris, Sim 2019, "Computing receptive fields of convolutional neural
        networks", Distill, doi:10.23915/distill.00021.
    """  # noqa: E501
    return field_of("receptive_field", model, input_shape, method, data_format)


def field_of(
    function: str,
    model: Any,
    input_shape: Sequence[int],
    method: Callable[[Any, jax.Array], Any] | None,
    data_format: DataFormat,
) -> ReceptiveField:
    """The same for `function`, which its messages name."""
    shape = check_input_shape(function, input_shape, data_format)
    graph, state = nnx.split(as_module(function, model))
    calls: list[Call] = []

    def mark(number: int, output: Any) -> Any:
        first, *_ = [*jax.tree.leaves(output), None]
        if not hasattr(first, "shape"):
            return output
        named = checkpoint_name(jnp.asarray(first), f"{MARK}{number}")
        leaves, tree = jax.tree.flatten(output)
        return jax.tree.unflatten(tree, [named, *leaves[1:]])

    def call(state: Any, x: jax.Array) -> jax.Array:
        copy = nnx.merge(graph, state)
        copy.eval()
        modules = {p: m for p, m in nnx.iter_graph(copy) if isinstance(m, nnx.Module)}
        x = from_channels_last(x, len(shape) - 1, data_format)
        with record_calls(modules, calls, mark=mark, enter=mark_input):
            y = run(function, copy, x, method)
        return checkpoint_name(y, RESULT)

    x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    jaxpr = jax.make_jaxpr(call)(state, x)
    count = len(jaxpr.jaxpr.invars) - 1
    found: list[dict[str, Reach]] = []
    for axis in range(1, len(shape)):
        here: dict[str, Reach] = {}
        keep = _keep_in(here, partial(check_layout, function, data_format, calls))
        follow(jaxpr, [None] * count + [whole_axis(axis)], keep)
        found.append(here)
    spatial = shape[:-1]
    lines = [
        _field(path, kind, [here.get(f"{MARK}{n}") for here in found], spatial)
        for n, (path, kind, _) in enumerate(calls)
        if kind is not Wrapped
    ]
    reaches = tuple(here.get(RESULT) for here in found)
    whole = _field((), object, reaches, spatial)
    return ReceptiveField(
        tuple(lines),
        whole.size,
        whole.jump,
        whole.start,
        spatial,
        reaches,
    )


def _keep_in(
    found: dict[str, Reach], check: Callable[[str, Reach, Any], None]
) -> Callable[[str, Reach, Any], None]:
    def keep(name: str, reach: Reach, shape: tuple[int, ...]) -> None:
        check(name, reach, shape)
        several = len(reach.steps) > 1
        found[name] = reach.all_reduced(shape) if several else reach.straightened()

    return keep


def _field(
    path: Path, kind: type, reaches: Sequence[Reach | None], spatial: tuple[int, ...]
) -> LayerField:
    figures = [
        _figures(reach, size) for reach, size in zip(reaches, spatial, strict=True)
    ]
    size, jump, start = zip(*figures, strict=True)
    return LayerField(path_name(path), kind.__name__, size, jump, start)


def _figures(reach: Reach | None, size: int) -> tuple[int, float, float]:
    """Size, jump and start along one axis."""
    if reach is None:
        return 0, 0.0, math.nan
    if not reach.steps:
        low, high = _clipped(_seen(reach, 0), size)
        return high - low + 1, 0.0, (low + high) / 2
    pairs = zip(reach.low, reach.high, strict=True)
    period, extents = len(reach.low), [max(high - low + 1, 0) for low, high in pairs]
    jump = reach.advance / period
    first = next(k for k, extent in enumerate(extents) if extent)
    start = (reach.low[first] + reach.high[first]) / 2 - jump * first
    return int(max(extents)), jump, start


def _seen(reach: Reach | None, k: int) -> tuple[Bound, Bound]:
    if reach is None:
        return math.inf, -math.inf
    return reach.at(k if reach.steps else 0)


def _clipped(pair: tuple[Bound, Bound], size: int) -> tuple[int, int]:
    return int(max(min(pair[0], size), 0)), int(min(max(pair[1], -1), size - 1))


def _written(figures: Sequence[Bound]) -> str:
    return " x ".join(f"{figure:g}" for figure in figures)

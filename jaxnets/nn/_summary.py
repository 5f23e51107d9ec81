"""A table of a model's layers: output shapes, parameters, operations."""

import dataclasses
import io
from typing import Any, NamedTuple

import jax
from flax import nnx
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from jaxnets.nn._flops import count_flops
from jaxnets.nn._metadata import Path, is_trainable, path_name
from jaxnets.nn._recording import Call, record_calls


class LayerSummary(NamedTuple):
    """One call of one module, a line of the table.

    Attributes:
        path: where the module stands in the model, such as `layers/0`.
        kind: name of its class.
        output: shape or shapes of its output, with dtypes; None if it is not called.
        parameters: numbers in the `nnx.Param`s of its own, modules inside it left out;
            0 where the parameters were counted in an earlier line.
        shared: whether an earlier line counted its parameters.
        frozen: how many of the parameters are not trainable.
        flops: operations of its convolutions and products, modules inside it included.
    """

    path: str
    kind: str
    output: Any
    parameters: int
    shared: bool
    frozen: int
    flops: int


@dataclasses.dataclass(frozen=True)
class Summary:
    """What `summary` found; `print` shows it as a table.

    Attributes:
        layers: the calls in the order in which they begin.
        parameters: numbers in all parameters, each counted once.
        frozen: how many of them carry `trainable=False`.
        flops: operations of convolutions and matrix products in one call.
    """

    layers: tuple[LayerSummary, ...]
    parameters: int
    frozen: int
    flops: int

    def __str__(self) -> str:
        """The table and the totals as text."""
        table = Table(box=SIMPLE_HEAD)
        for name in ("layer", "type", "output"):
            table.add_column(name, no_wrap=True)
        for name in ("parameters", "FLOPs"):
            table.add_column(name, justify="right", no_wrap=True)
        for layer in self.layers:
            parameters = f"{layer.parameters:,}" if layer.parameters else ""
            if layer.frozen:
                part = "" if layer.frozen == layer.parameters else "partly "
                parameters += f" {part}frozen"
            table.add_row(
                layer.path or "(model)",
                layer.kind,
                "not called" if layer.output is None else _describe(layer.output),
                "shared" if layer.shared else parameters,
                f"{layer.flops:,}" if layer.flops else "",
            )
        text = io.StringIO()
        # Wide enough that nothing is cut: the reader's terminal is not known here.
        Console(file=text, width=500, color_system=None).print(table)
        lines = [line.rstrip() for line in text.getvalue().splitlines()]
        free = self.parameters - self.frozen
        lines += [
            f"  parameters: {self.parameters:,} "
            f"({free:,} trainable, {self.frozen:,} frozen)",
            f"  FLOPs of a call: {self.flops:,} "
            "(2 a multiply-add, in convolutions and matrix products)",
        ]
        return "\n".join(line for line in lines if line)


def summary(model: nnx.Module, *inputs: Any, **options: Any) -> Summary:
    """List the layers of a model with output shapes, parameters and operations.

    The model is traced with the shapes of the inputs; nothing is computed, and neither
    the model nor its random streams change. A parameter that several modules share is
    counted once, a module that is called twice has two lines. What runs inside a
    transform of Flax (`nnx.remat`, `nnx.scan`) works on copies of the modules: its
    operations count, but its modules appear as not called.

    Args:
        model: any NNX module.
        *inputs: arrays or `jax.ShapeDtypeStruct`s to call it with.
        **options: keyword arguments of the call, as they are (not traced).

    Returns:
        A `Summary`.

    Raises:
        TypeError: if an input is neither an array nor a `jax.ShapeDtypeStruct`.

    Example:
        >>> import jax.numpy as jnp
        >>> model = nnx.Sequential(
        ...     nnx.Linear(3, 4, rngs=nnx.Rngs(0)), nnx.relu,
        ...     nnx.Linear(4, 2, rngs=nnx.Rngs(0)),
        ... )
        >>> print(summary(model, jnp.ones((8, 3))))
          layer      type         output          parameters   FLOPs
         ────────────────────────────────────────────────────────────
          (model)    Sequential   float32[8, 2]                  320
          layers/0   Linear       float32[8, 4]           16     192
          layers/2   Linear       float32[8, 2]           10     128
          parameters: 26 (26 trainable, 0 frozen)
          FLOPs of a call: 320 (2 a multiply-add, in convolutions and matrix products)
    """
    for value in jax.tree.leaves(inputs):
        if not hasattr(value, "shape") or not hasattr(value, "dtype"):
            raise TypeError(
                "summary: inputs must be arrays or jax.ShapeDtypeStructs; got "
                f"{value!r} (options of the call are given by keyword)"
            )
    graph, state = nnx.split(model)
    calls: list[Call] = []

    def call(state: Any, inputs: tuple[Any, ...]) -> Any:
        copy = nnx.merge(graph, state)
        with record_calls(_modules(copy), calls):
            return copy(*inputs, **options)

    flops = count_flops(jax.make_jaxpr(call)(state, inputs))
    modules = _modules(model)
    own = {path: _own_parameters(module) for path, module in modules.items()}
    called = {call.path for call in calls}
    lines = [(call, flops[number]) for number, call in enumerate(calls)]
    for path, parameters in own.items():
        if parameters and path not in called:
            lines.append((Call(path, type(modules[path]), None), 0))
    counted: set[int] = set()
    layers = []
    for (path, kind, output), operations in lines:
        fresh = [v for v in own[path] if id(v) not in counted]
        counted |= {id(v) for v in fresh}
        sizes = [(v[...].size, is_trainable(v)) for v in fresh]
        layers.append(
            LayerSummary(
                path_name(path),
                kind.__name__,
                output,
                parameters=sum(size for size, _ in sizes),
                shared=bool(own[path]) and not fresh,
                frozen=sum(size for size, trainable in sizes if not trainable),
                flops=operations,
            )
        )
    return Summary(
        tuple(layers),
        parameters=sum(layer.parameters for layer in layers),
        frozen=sum(layer.frozen for layer in layers),
        flops=flops[None],
    )


def _modules(model: nnx.Module) -> dict[Path, nnx.Module]:
    """All modules by path, a shared one at its first path."""
    nodes = nnx.iter_graph(model)
    return {path: node for path, node in nodes if isinstance(node, nnx.Module)}


def _own_parameters(module: nnx.Module) -> list[nnx.Param]:
    """Parameters in the module's attributes, those of modules inside it left out."""
    leaves = jax.tree.leaves(
        vars(module), is_leaf=lambda x: isinstance(x, nnx.Variable | nnx.Module)
    )
    own = [leaf for leaf in leaves if isinstance(leaf, nnx.Param)]
    return list({id(v): v for v in own}.values())


def _describe(output: Any) -> str:
    """Shapes and dtypes as people write them, in the structure of the output."""
    return str(jax.tree.map(_Shape, output))


class _Shape:
    def __init__(self, leaf: jax.ShapeDtypeStruct):
        self.leaf = leaf

    def __repr__(self) -> str:
        return f"{self.leaf.dtype}{list(self.leaf.shape)}"

"""The tables of all sources, and what stands in for a table."""

from collections.abc import Callable, Mapping
from typing import Any

from jaxnets import models
from jaxnets.functional._checks import check_choice
from jaxnets.interop import (
    _names_keras,
    _names_timm,
    _names_torchvision,
    _names_transformers,
)
from jaxnets.interop._names import Names

TABLES: dict[str, dict[type, Callable[[Any], Names]]] = {
    "torchvision": _names_torchvision.FAMILIES,
    "timm": _names_timm.FAMILIES,
    "transformers": _names_transformers.FAMILIES,
    "keras": _names_keras.FAMILIES,
}
SOURCES = (*TABLES, "jaxnets")
OURS = tuple(value for value in vars(models).values() if isinstance(value, type))


def names_for(
    function: str,
    model: Any,
    source: str,
    flattened: Mapping[str, tuple[int, int]] | None,
) -> Names:
    """The names of a network's layers in a source.

    A network of the user's own has the names of its own attributes, with the other
    library's names and layouts for what is in a layer.
    """
    check_choice(function, "source", source, SOURCES)
    if source == "jaxnets":
        names = Names("jaxnets", None, heads=_heads(model))
    else:
        table = TABLES[source]
        family = next((kind for kind in type(model).__mro__ if kind in table), None)
        if family is None and isinstance(model, OURS):
            listed = ", ".join(kind.__name__ for kind in table)
            raise ValueError(
                f"{function}: source {source!r} has no {type(model).__name__}; it has "
                f"{listed} (the names of source 'jaxnets' fit every model)"
            )
        if family is None:
            convention = "keras" if source == "keras" else "torch"
            names = Names(convention, None, heads=())
        else:
            names = table[family](model)
    if flattened:
        names = names._replace(flattened={**names.flattened, **flattened})
    return names


def _heads(model: Any) -> tuple[str, ...]:
    table = _names_torchvision.FAMILIES
    family = next((kind for kind in type(model).__mro__ if kind in table), None)
    if family is not None:
        return table[family](model).heads
    return ("head",) if isinstance(model, OURS) else ()

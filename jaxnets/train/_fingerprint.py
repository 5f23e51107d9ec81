"""Texts that tell settings apart: the same for equal settings in every process.

A setting is a number, a string, a dtype, a function with what it closes over, or a
container of these. Addresses, orders of sets and names of files never enter, so that a
program that runs a second time finds the texts of the first.
"""

import enum
import functools
import hashlib
import inspect
import types
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.core import Tracer

from jaxnets.nn._metadata import variables

DEPTH = 8
WHOLE = 2**24  # bytes; larger arrays are known by some of their rows
ROWS = 256
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy", "jaxnets")
# Objects with attributes that are described, or left out, as a whole.
WHOLE_KINDS = (
    *(np.ndarray, np.dtype, jax.Array),
    *(enum.Enum, nnx.Pytree, types.ModuleType),
)
CARRIED = ("regularizer", "constraint", "trainable")


def describe(value: Any, *, mutable: bool = True, depth: int = 0) -> str | None:
    """A text for a setting; None for what is none, such as a file or a lock.

    Args:
        value: the setting.
        mutable: whether lists, dicts and sets count. What a function closes over may
            be a list that it fills, which is no setting.
        depth: how deep in containers and closures the value lies.
    """
    inner = functools.partial(describe, mutable=mutable, depth=depth + 1)
    if depth > DEPTH:
        return None
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if isinstance(value, np.generic):
        return f"{value.dtype}({value.item()!r})"
    if isinstance(value, np.dtype):
        return str(value)
    if isinstance(value, type):
        return value.__qualname__
    if isinstance(value, np.ndarray | jax.Array):
        return _describe_array(value)
    if isinstance(value, tuple):
        return _join(map(inner, value))
    if isinstance(value, list | dict | set | frozenset):
        if not mutable and not isinstance(value, frozenset):
            return None
        if isinstance(value, dict):
            return _join(sorted(f"{k!r}: {inner(v)}" for k, v in value.items()))
        texts = map(inner, value)
        return _join(texts if isinstance(value, list) else sorted(map(str, texts)))
    if callable(value):
        return _describe_function(value, inner)
    return None


def describe_any(value: Any) -> str:
    """As `describe`, and any other object by its type and attributes."""
    text = describe(value)
    attributes = describe(getattr(value, "__dict__", {}))
    return f"{type(value).__qualname__}{attributes}" if text is None else text


def function_name(function: Any) -> str:
    """The name a function was defined under, without its module.

    A module's name depends on how the program was started.
    """
    for name in ("__qualname__", "__name__"):
        if isinstance(found := getattr(function, name, None), str):
            return found
    return type(function).__qualname__


def settings_of(function: Any) -> Iterator[tuple[str, Any]]:
    """What a function is bound to, by name: closure, defaults, numbers it names."""
    if isinstance(function, functools.partial):
        yield "function", function.func
        given = [*enumerate(function.args), *sorted(function.keywords.items())]
        for name, value in given:
            yield from attributes_used(str(name), value, names_in(function.func))
    elif isinstance(function, types.MethodType):
        used = names_in(function.__func__)
        yield from attributes_used("self", function.__self__, used)
        yield from settings_of(function.__func__)
    elif isinstance(function, types.FunctionType):
        code = function.__code__
        used = names_in(function)
        for name, cell in zip(
            code.co_freevars, function.__closure__ or (), strict=True
        ):
            try:
                value = cell.cell_contents
            except ValueError:
                continue  # not assigned yet
            yield from attributes_used(name, value, used)
        if function.__module__ and function.__module__.split(".")[0] in LIBRARIES:
            return
        defaults = function.__defaults__ or ()
        names = code.co_varnames[: code.co_argcount]
        yield from zip(names[len(names) - len(defaults) :], defaults, strict=True)
        yield from sorted((function.__kwdefaults__ or {}).items())
        for name in code.co_names:
            if isinstance(number := function.__globals__.get(name), int | float):
                yield name, number
        if "<lambda>" in function.__qualname__:
            yield "names", code.co_names
            yield "numbers", tuple(c for c in code.co_consts if isinstance(c, float))
    elif hasattr(function, "__wrapped__"):
        yield from settings_of(function.__wrapped__)
    else:
        # An instance of a class with `__call__`.
        attributes = getattr(function, "__dict__", {})
        for name in sorted(attributes.keys() & names_of_class(type(function))):
            yield from attributes_used(name, attributes[name], set())


def attributes_used(name: str, value: Any, used: set[str]) -> Iterator[tuple[str, Any]]:
    """A setting; of an object with attributes, those that the code names.

    The configuration of a whole program may hang on a function. Whether the program is
    resumed is then among its attributes, and is no setting of the function.
    """
    attributes = getattr(value, "__dict__", None)
    if callable(value) or isinstance(value, WHOLE_KINDS) or not attributes:
        yield name, value
        return
    yield name, type(value)
    for key in sorted(attributes.keys() & used):
        yield f"{name}.{key}", attributes[key]


def names_in(function: Any) -> set[str]:
    """The names that the code of a function mentions, functions within included."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    found: set[str] = set()
    codes = [] if code is None else [code]
    while codes:
        code = codes.pop()
        found.update(code.co_names)
        codes += [
            inner for inner in code.co_consts if isinstance(inner, types.CodeType)
        ]
    return found


def names_of_class(kind: type) -> set[str]:
    """The names that the methods of a class mention, `__init__` left out.

    What `__init__` makes of its arguments is in the attributes.
    """
    members = [item for base in kind.__mro__ for item in vars(base).items()]
    return {
        used
        for name, method in members
        if isinstance(method, types.FunctionType) and name != "__init__"
        for used in names_in(method)
    }


def model_structure(model: nnx.Module) -> dict[str, str]:
    """Types, options and parameter metadata of all layers, by path."""
    found: dict[str, str] = {}
    for path, module in nnx.iter_modules(model):
        prefix = "".join(f"{part}." for part in path)
        found[f"{prefix}type"] = type(module).__qualname__
        used = names_of_class(type(module))
        for name, value in vars(module).items():
            held = isinstance(value, nnx.Pytree | nnx.Variable | np.ndarray | jax.Array)
            if name.startswith("_") or held:
                continue
            for inner, setting in attributes_used(name, value, used):
                text = describe(setting)
                if text is not None:
                    found[prefix + inner] = text
    for path, variable in variables(model):
        for name in CARRIED:
            value = variable.get_metadata(name, None)
            if value is not None:
                found[".".join(map(str, (*path, name)))] = describe(value) or "unknown"
    return found


def some_bytes(array: Any) -> bytes:
    """The values of an array, or of rows spread over it if it is large."""
    if array.nbytes > WHOLE:
        row = max(array.nbytes // len(array), 1)
        count = min(ROWS, max(WHOLE // row, 2), len(array))
        array = array[np.unique(np.linspace(0, len(array) - 1, count).astype(int))]
    return np.asarray(array).tobytes()


def _describe_function(function: Any, inner: Any) -> str:
    if isinstance(function, nnx.Module):
        return type(function).__qualname__
    settings = []
    for name, value in settings_of(function):
        if value is function:
            continue  # recursive
        text = inner(value, mutable=False)
        if text is not None:
            settings.append(f"{name}={text}")
    bound = f"({', '.join(settings)})" if settings else ""
    return function_name(function) + bound


def _describe_array(value: Any) -> str | None:
    if isinstance(value, Tracer) or value.dtype.hasobject:
        return None
    if jax.numpy.issubdtype(value.dtype, jax.dtypes.extended):
        return None
    if isinstance(value, jax.Array) and not value.is_fully_addressable:
        return None
    digest = hashlib.sha256(some_bytes(value)).hexdigest()[:16]
    return f"{value.dtype}{list(value.shape)} {digest}"


def _join(texts: Any) -> str:
    return f"({', '.join(str(text) for text in texts)})"

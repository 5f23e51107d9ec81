"""Listening to the calls of a model's modules while it is traced."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxnets.nn._flops import SCOPE
from jaxnets.nn._metadata import Path


class Call(NamedTuple):
    """One call of a module: where it stands, its class, shapes of what it returned."""

    path: Path
    kind: type
    output: Any


@contextlib.contextmanager
def record_calls(
    modules: Mapping[Path, nnx.Module],
    calls: list[Call],
    *,
    mark: Callable[[int, Any], Any] | None = None,
    enter: Callable[[int, Any, Any], Any] | None = None,
) -> Iterator[None]:
    """Append the calls of `modules` to `calls` in the order in which they begin.

    The equations of call n get the named scope f"{SCOPE}{n}". Python looks `__call__`
    up in the class, so the classes are where one has to listen; they are put back as
    they were whatever happens.

    Args:
        modules: the modules to listen to, by path.
        calls: the list to append to.
        mark: takes n and what call n returns, and gives what its caller gets.
        enter: takes n, the module and its first argument, and gives what the module
            gets in its place.

    Yields:
        None; the model is to be called inside.

    Example:
        >>> import jax.numpy as jnp
        >>> layer, calls = nnx.Linear(2, 3, rngs=nnx.Rngs(0)), []
        >>> with record_calls({("mine",): layer}, calls):
        ...     y = layer(jnp.ones((1, 2)))
        >>> calls[0].path, calls[0].output.shape
        (('mine',), (1, 3))
    """
    paths = {id(module): path for path, module in modules.items()}
    running: list[int] = []

    def listening(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            # A call by super() belongs to the call that runs; a module that was made
            # during the call is nobody's.
            if id(self) not in paths or running[-1:] == [id(self)]:
                return original(self, *args, **kwargs)
            number = len(calls)
            calls.append(Call(paths[id(self)], type(self), None))
            running.append(id(self))
            if enter is not None and args:
                args = (enter(number, self, args[0]), *args[1:])
            try:
                with jax.named_scope(f"{SCOPE}{number}"):
                    output = original(self, *args, **kwargs)
            finally:
                running.pop()
            shapes = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(
                    jnp.shape(leaf), jnp.result_type(leaf)
                ),
                output,
            )
            calls[number] = calls[number]._replace(output=shapes)
            return output if mark is None else mark(number, output)

        return call

    kinds = {kind for module in modules.values() for kind in type(module).__mro__}
    originals = {kind: vars(kind)["__call__"] for kind in kinds if _can_call(kind)}
    try:
        for kind, original in originals.items():
            kind.__call__ = listening(original)
        yield
    finally:
        for kind, original in originals.items():
            kind.__call__ = original


def _can_call(kind: type) -> bool:
    return issubclass(kind, nnx.Module) and "__call__" in vars(kind)

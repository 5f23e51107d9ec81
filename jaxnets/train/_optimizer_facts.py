"""What an optimizer computes, as a hash, and its hyper-parameters by name.

Optax keeps hyper-parameters in the closures of its functions. Whether two optimizers
are the same is decided by what they compute: the hash of the program that `init` and
`update` trace to, constants included. What the closures hold, under the names that the
constructors gave, says what differs.
"""

import enum
import hashlib
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from jaxnets.train._fingerprint import describe, function_name, settings_of

UPDATE = "update"


def optimizer_facts(
    tx: optax.GradientTransformationExtraArgs, params: Any
) -> dict[str, str]:
    """The hyper-parameters of an optimizer by name, and under "update" the hash.

    Args:
        tx: the optimizer.
        params: the parameters, or their shapes.
    """
    found: dict[str, str] = {}
    _collect(tx, "optimizer", "", found, set())
    digest = _update_digest(tx, params)
    return found if digest is None else found | {UPDATE: digest}


def changed_hyperparameters(saved: dict[str, str], now: dict[str, str]) -> set[str]:
    """The names under which two optimizers differ; none if they compute the same."""
    if UPDATE in saved and saved.get(UPDATE) == now.get(UPDATE):
        return set()
    names = (saved.keys() | now.keys()) - {UPDATE}
    changed = {name for name in names if saved.get(name) != now.get(name)}
    if not changed and UPDATE in saved and UPDATE in now:
        return {UPDATE}
    return changed


def with_hyperparams(opt_state: Any, fresh: Any, names: set[str]) -> Any:
    """Put hyper-parameters that `optax.inject_hyperparams` keeps back to their start.

    Args:
        opt_state: the state of the optimizer.
        fresh: the state that the optimizer begins with.
        names: which hyper-parameters.
    """

    def injected(node: Any) -> bool:
        return isinstance(getattr(node, "hyperparams", None), dict)

    def take(node: Any, new: Any) -> Any:
        if not injected(node):
            return node
        values = {
            name: new.hyperparams[name] if name in names else value
            for name, value in node.hyperparams.items()
        }
        return node._replace(hyperparams=values)

    return jax.tree.map(take, opt_state, fresh, is_leaf=injected)


def _collect(
    value: Any, owner: str, label: str, found: dict[str, str], seen: set[int]
) -> None:
    if isinstance(value, dict):
        for key in sorted(value, key=str):
            _collect(value[key], owner, str(key), found, seen)
    elif isinstance(value, list | tuple) and not _is_plain(value):
        for item in value:
            _collect(item, owner, label, found, seen)
    elif isinstance(value, types.FunctionType | types.MethodType):
        if id(value) in seen:
            return
        seen.add(id(value))
        name = function_name(value).split(".<locals>")[0]
        for inner, setting in settings_of(value):
            _collect(setting, name, inner, found, seen)
    elif isinstance(value, optax.MultiSteps) or hasattr(value, "schedule_fn"):
        for inner, setting in sorted(vars(value).items()):
            _collect(setting, type(value).__qualname__, inner, found, seen)
    else:
        text = describe(value, mutable=False)
        if text is not None:
            _add(found, f"{owner}.{label.lstrip('_')}", text)


def _is_plain(value: Any) -> bool:
    """Whether a sequence holds plain settings alone."""
    plain = bool | int | float | str | None
    return all(isinstance(item, plain) for item in value)


def _add(found: dict[str, str], name: str, text: str) -> None:
    number, free = 1, name
    while found.get(free, text) != text:
        number += 1
        free = f"{name}#{number}"
    found[free] = text


def _update_digest(tx: Any, params: Any) -> str | None:
    try:
        program = _trace(tx, params)
    except Exception:
        # One that needs the values of the parameters; its hyper-parameters decide.
        return None
    lines: list[str] = []
    _write_program(program, lines)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _trace(tx: Any, params: Any) -> ClosedJaxpr:
    """The program of `init` and one `update`, on shapes alone."""
    shapes = jax.tree.map(lambda p: jax.ShapeDtypeStruct(p.shape, p.dtype), params)
    dtypes = [shape.dtype for shape in jax.tree.leaves(shapes)]
    dtype = jnp.finfo(jnp.result_type(jnp.float32, *dtypes)).dtype

    def stand_in(params: Any) -> jax.Array:
        # For the loss, which has a fact of its own.
        return sum(
            (jnp.sum(jnp.abs(leaf)).astype(dtype) for leaf in jax.tree.leaves(params)),
            start=jnp.zeros((), dtype),
        )

    def run(params: Any, gradient: Any, value: jax.Array) -> Any:
        more = {"value": value, "grad": gradient, "value_fn": stand_in}
        return tx.update(gradient, tx.init(params), params, **more)

    return jax.make_jaxpr(run)(shapes, shapes, jax.ShapeDtypeStruct((), dtype))


def _write_program(program: ClosedJaxpr | Jaxpr, lines: list[str]) -> None:
    """All that a program computes with; its text would leave out long constants."""
    consts = program.consts if isinstance(program, ClosedJaxpr) else ()
    jaxpr = program.jaxpr if isinstance(program, ClosedJaxpr) else program
    numbers: dict[Any, int] = {}

    def show(atom: Any) -> str:
        kind = (
            f"{atom.aval.dtype}{atom.aval.shape}" if hasattr(atom.aval, "dtype") else ""
        )
        if isinstance(atom, Literal):
            return f"{_constant(atom.val)}:{kind}"
        return f"v{numbers.setdefault(atom, len(numbers))}:{kind}"

    lines.append(" ".join(map(show, (*jaxpr.constvars, *jaxpr.invars))))
    lines.extend(_constant(const) for const in consts)
    for equation in jaxpr.eqns:
        lines.append(equation.primitive.name)
        lines.append(" ".join(map(show, (*equation.invars, *equation.outvars))))
        for name, value in sorted(equation.params.items()):
            _write_parameter(name, value, lines)
    lines.append(" ".join(map(show, jaxpr.outvars)))


def _write_parameter(name: str, value: Any, lines: list[str]) -> None:
    if isinstance(value, ClosedJaxpr | Jaxpr):
        lines.append(name)
        _write_program(value, lines)
    elif isinstance(value, list | tuple):
        for item in value:
            _write_parameter(name, item, lines)
    elif value is None or isinstance(
        value, bool | int | float | complex | str | np.dtype | np.generic | enum.Enum
    ):
        # Anything else, such as a function or a mesh, has an address or is of a device.
        lines.append(f"{name}={value!s}")


def _constant(value: Any) -> str:
    if jnp.issubdtype(getattr(value, "dtype", np.dtype(float)), jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    array = np.asarray(value)
    return f"{array.dtype}{array.shape}{hashlib.sha256(array.tobytes()).hexdigest()}"

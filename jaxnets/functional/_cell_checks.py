"""Checks of recurrent parameters, inputs and states, for cells and sequences alike."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnets.functional._checks import check_shape
from jaxnets.functional._dtypes import wide_dtype
from jaxnets.functional._mesh import match_sharding
from jaxnets.functional._recurrent_params import LSTMState


def check_rnn(function: str, params: Any, x: Any, state: Any) -> None:
    """Check `RNNParams` against x and the state h (None: not yet made)."""
    units = _check_gates(function, params, x, 1)
    _check_recurrent(function, params, units, units, 1)
    _check_array_state(function, state, x, units)
    check_dtypes(function, params, x, state)


def check_lstm(
    function: str, params: Any, x: Any, state: Any, *, coupled: bool
) -> None:
    """Check `LSTMParams` against x and the state."""
    gates = 3 if coupled else 4
    units = _check_gates(function, params, x, gates)
    outputs = units
    if params.projection is not None:
        if params.peephole is not None:
            raise ValueError(
                f"{function}: params have both a peephole and a projection; the two "
                "exclude each other (set peephole or projection to None)"
            )
        shape = jnp.shape(params.projection)
        if len(shape) != 2 or shape[0] != units:
            raise ValueError(
                f"{function}: projection must be (units, proj_size) with {units} units "
                f"(kernel.shape={jnp.shape(params.kernel)}); got {shape}"
            )
        outputs = shape[1]
    _check_recurrent(function, params, outputs, units, gates)
    if params.peephole is not None:
        rows = "f, o" if coupled else "i, f, o"
        shape = jnp.shape(params.peephole)
        why = f"{rows} of {units} units"
        check_shape(function, "peephole", shape, (gates - 1, units), why)
    if params.norm is not None:
        sizes = (gates * units, gates * units, units, units)
        for name, value, size in zip(
            params.norm._fields, params.norm, sizes, strict=True
        ):
            why = f"{units} units, {gates} gates"
            check_shape(function, f"norm.{name}", jnp.shape(value), (size,), why)
    if state is not None:
        if not isinstance(state, tuple) or len(state) != 2:
            raise TypeError(
                f"{function}: the state must be LSTMState(h, c); "
                f"got {type(state).__name__}"
            )
        batch = x.shape[:-1]
        _check_state(function, "h of the state", state[0], batch, outputs)
        _check_state(function, "c of the state", state[1], batch, units)
    check_dtypes(function, params, x, state)


def check_gru(
    function: str, params: Any, x: Any, state: Any, *, reset_after: bool
) -> None:
    """Check `GRUParams` against x and the state h."""
    units = _check_gates(function, params, x, 3)
    _check_recurrent(function, params, units, units, 3)
    if params.recurrent_bias is not None:
        if not reset_after:
            raise ValueError(
                f"{function}: reset_after=False has no recurrent_bias "
                "(add it to bias and set it to None)"
            )
        shape = jnp.shape(params.recurrent_bias)
        check_shape(function, "recurrent_bias", shape, (3 * units,), "3 gates")
    _check_array_state(function, state, x, units)
    check_dtypes(function, params, x, state)


def check_mgu(function: str, params: Any, x: Any, state: Any) -> None:
    """Check `MGUParams` against x and the state h."""
    units = _check_gates(function, params, x, 2)
    _check_recurrent(function, params, units, units, 2)
    _check_array_state(function, state, x, units)
    check_dtypes(function, params, x, state)


def _check_gates(function: str, params: Any, x: Any, gates: int) -> int:
    """Check kernel and bias; return how many units there are."""
    kernel, shape = jnp.shape(params.kernel), x.shape
    if len(kernel) != 2 or kernel[1] % gates or not kernel[1]:
        columns = "units" if gates == 1 else f"{gates} * units"
        raise ValueError(
            f"{function}: kernel must be (in, {columns}); got kernel.shape={kernel}"
        )
    if not shape or shape[-1] != kernel[0]:
        raise ValueError(
            f"{function}: kernel has {kernel[0]} input features but the last axis of "
            f"the input has {shape[-1] if shape else 'none'} (input shape {shape}, "
            f"kernel.shape={kernel})"
        )
    if params.bias is not None:
        why = "one a column of kernel"
        check_shape(function, "bias", jnp.shape(params.bias), kernel[1:], why)
    return kernel[1] // gates


def _check_recurrent(
    function: str, params: Any, outputs: int, units: int, gates: int
) -> None:
    why = f"{units} units, {gates} gates" if gates > 1 else f"{units} units"
    check_shape(
        function,
        "recurrent_kernel",
        jnp.shape(params.recurrent_kernel),
        (outputs, gates * units),
        why,
    )


def _check_array_state(function: str, state: Any, x: Any, units: int) -> None:
    if isinstance(state, LSTMState | tuple):
        raise TypeError(
            f"{function}: the state must be one array h; got {type(state).__name__}"
        )
    if state is not None:
        _check_state(function, "the state", state, x.shape[:-1], units)


def _check_state(function, name, value, batch, units) -> None:
    why = "the batch axes of the input, then the units"
    check_shape(function, name, jnp.shape(value), (*batch, units), why)


def check_dtypes(function: str, params: Any, x: Any, state: Any) -> None:
    """Raise TypeError unless all arrays have one floating dtype."""
    named = {"params": params, "the input": x, "the state": state}
    found = {
        name: {jnp.result_type(leaf).name for leaf in jax.tree.leaves(tree)}
        for name, tree in named.items()
    }
    every = set().union(*found.values())
    if len(every) > 1:
        listed = ", ".join(
            f"{name} {' and '.join(sorted(dtypes))}"
            for name, dtypes in found.items()
            if dtypes
        )
        raise TypeError(
            f"{function}: params, input and state must have one dtype; got {listed} "
            "(convert them first)"
        )
    dtype = every.pop()
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            f"{function}: params, input and state must be floating; got {dtype}"
        )


def carry_on_mesh(carry: Any, x: ArrayLike, *, features: int = 1) -> Any:
    """The carry with its batch axes laid out over an explicit mesh as those of x."""
    axes = range(jnp.ndim(x) - features)
    return jax.tree.map(lambda value: match_sharding(value, x, axes), carry)


def widen_step(*trees: Any) -> tuple[tuple, Callable[[Any], Any]]:
    """The trees in the dtype to compute in, and the way back for the results."""
    leaves = jax.tree.leaves(trees)
    dtype = jnp.result_type(leaves[0])
    wide = wide_dtype(dtype)
    widened = jax.tree.map(lambda a: jnp.asarray(a).astype(wide), trees)
    return widened, lambda tree: jax.tree.map(lambda a: a.astype(dtype), tree)

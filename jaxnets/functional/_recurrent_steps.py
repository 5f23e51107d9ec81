"""What all sequences have in common: the time axis, lengths, and the loop."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.typing import ArrayLike

from jaxnets.functional._checks import check_integer, check_min_rank, check_shape
from jaxnets.functional._mesh import match_sharding
from jaxnets.functional._recurrent_params import (
    ConvLSTMParams,
    LSTMParams,
    LSTMState,
)

Run = Callable[[Any, Any], tuple[Any, Any]]


def feature_axes(params: Any) -> int:
    """How many axes of a step's input follow the batch axes: 1, or a convolution's."""
    if isinstance(params, ConvLSTMParams):
        return jnp.ndim(params.kernel) - 1
    return 1


def time_first(
    function: str, xs: ArrayLike, *, time_major: bool, features: int
) -> jax.Array:
    """`(*batch, T, *features)` or `(T, *batch, *features)` as the latter."""
    xs = jnp.asarray(xs)
    layout = "(T, *batch, ...)" if time_major else "(*batch, T, ...)"
    layout += f" with {features} axes a step" if features > 1 else ""
    check_min_rank(function, "xs", xs.shape, features + 1, layout)
    return xs if time_major else jnp.moveaxis(xs, -1 - features, 0)


def time_back(ys: Any, batch_ndim: int, *, time_major: bool) -> Any:
    """Move the time axis of outputs behind the batch axes, unless time comes first."""
    if time_major:
        return ys
    return jax.tree.map(lambda y: jnp.moveaxis(y, 0, batch_ndim), ys)


def valid_steps(
    function: str, lengths: ArrayLike | None, xs: jax.Array, batch: tuple[int, ...]
) -> jax.Array | None:
    """Which steps of `(T, *batch, ...)` are before the end: `(T, *batch)`, or None.

    Lengths that are traced are not checked.
    """
    if lengths is None:
        return None
    lengths = lengths if isinstance(lengths, jax.Array) else np.asarray(lengths)
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise TypeError(f"{function}: lengths must be integers; got {lengths.dtype}")
    check_shape(function, "lengths", lengths.shape, batch, "the batch axes of xs")
    if not isinstance(lengths, Tracer) and lengths.size:
        # By NumPy: jnp's minimum of a constant is traced under jit.
        values = np.asarray(lengths)
        low, high, steps = int(values.min()), int(values.max()), len(xs)
        if low < 0 or high > steps:
            raise ValueError(
                f"{function}: lengths must be from 0 to {steps}, the steps of xs; "
                f"got {low if low < 0 else high}"
            )
    lengths = match_sharding(lengths, xs, range(1, 1 + len(batch)))
    times = lax.broadcasted_iota(lengths.dtype, (len(xs), *batch), 0)
    return times < jnp.broadcast_to(lengths, times.shape)


def keep_where(mask: jax.Array, new: Any, old: Any) -> Any:
    """Leaf by leaf `new` where the mask, of the batch axes, holds, else `old`."""

    def choose(new: jax.Array, old: jax.Array) -> jax.Array:
        if jnp.shape(new)[: mask.ndim] != mask.shape:
            raise ValueError(
                "recurrent: with lengths every array of the carry and the outputs must "
                f"begin with the batch axes {mask.shape}; got {jnp.shape(new)}"
            )
        wide = lax.broadcast_in_dim(mask, jnp.shape(new), tuple(range(mask.ndim)))
        return jnp.where(wide, new, old)

    return jax.tree.map(choose, new, old)


def masked(step: Run) -> Run:
    """The step on `(x, mask)`: where the mask is off, frozen state and zero output."""

    def run(carry: Any, x_and_mask: Any) -> tuple[Any, Any]:
        x, mask = x_and_mask
        new, y = step(carry, x)
        zeros = jax.tree.map(jnp.zeros_like, y)
        return keep_where(mask, new, carry), keep_where(mask, y, zeros)

    return run


def zero_padding(xs: jax.Array, valid: jax.Array | None) -> jax.Array:
    """The inputs `(T, *batch, ...)` with zeros past the lengths.

    Padding may hold anything. Outputs past the lengths are chosen away, but a NaN would
    reach the kernel's gradient as 0 · NaN in the product with the inputs.
    """
    if valid is None:
        return xs
    return keep_where(valid, xs, jnp.zeros_like(xs))


def cut_like_batch(state: Any, xs: jax.Array, batch_ndim: int) -> Any:
    """The state cut over an explicit mesh as the batch axes of `(T, *batch, ...)`."""
    axes = range(1, 1 + batch_ndim)
    return jax.tree.map(lambda value: match_sharding(value, xs, axes), state)


def loop(step: Run, state: Any, xs: Any, *, reverse: bool, unroll: int) -> Any:
    """`lax.scan`, whose first carry varies over mesh axes as the later ones do."""
    if len(jax.tree.leaves(xs)[0]):
        first = jax.tree.map(lambda x: x[0], xs)
        state = like_later_carries(step, state, first)
    return lax.scan(step, state, xs, reverse=reverse, unroll=unroll)


def like_later_carries(step: Run, state: Any, x: Any) -> Any:
    """The state cut over an explicit mesh, and varying in a manual one, as the next."""
    later, _ = jax.eval_shape(step, state, x)

    def place(value: Any, aim: Any) -> Any:
        value = jnp.asarray(value)
        if aim.manual_axis_type is not None:
            have = jax.typeof(value).manual_axis_type.varying
            missing = tuple(aim.manual_axis_type.varying - have)
            value = lax.pcast(value, missing, to="varying") if missing else value
        if aim.sharding is not None and aim.sharding != jax.typeof(value).sharding:
            value = jax.sharding.reshard(value, aim.sharding)
        return value

    return jax.tree.map(place, state, later)


def in_chunks(
    run: Run, state: Any, xs: Any, *, steps: int, every: int | None, reverse: bool
) -> tuple[Any, Any]:
    """Run a sequence, in chunks of `every` steps that are computed again for gradients.

    Backpropagation stores the states at the borders of the chunks and what one chunk
    stores, T / every + every steps' worth in place of T; `every` = √T is the least.
    """
    if every is None or every >= steps:
        return run(state, xs)
    count, rest = divmod(steps, every)
    # The rest stands where the run ends, so the chunks begin where it begins.
    cut = rest if reverse else steps - rest
    before, after = (
        jax.tree.map(lambda a: a[:cut], xs),
        jax.tree.map(lambda a: a[cut:], xs),
    )
    whole, left = (after, before) if reverse else (before, after)
    chunks = jax.tree.map(lambda a: a.reshape(count, every, *a.shape[1:]), whole)
    again = jax.checkpoint(run, prevent_cse=False)
    state, ys = loop(again, state, chunks, reverse=reverse, unroll=1)
    ys = jax.tree.map(lambda y: y.reshape(count * every, *y.shape[2:]), ys)
    if not rest:
        return state, ys
    state, tail = run(state, left)
    parts = (tail, ys) if reverse else (ys, tail)
    return state, jax.tree.map(lambda *p: jnp.concatenate(p), *parts)


def check_every(function: str, remat_every: int | None, unroll: int) -> None:
    """Check the two integers that every sequence takes."""
    check_integer(function, "unroll", unroll, minimum=1)
    if remat_every is not None:
        check_integer(function, "remat_every", remat_every, minimum=1)


def zero_state(params: Any, x: ArrayLike) -> Any:
    """Make the state that a sequence begins with unless one is given: zeros.

    h = 0, and for an LSTM c = 0.

    Args:
        params: parameters of one of the cells here.
        x: one step's input, `(*batch, in)`, or `(*batch, *spatial, in)` for
            `ConvLSTMParams` (convolved with stride 1 and padding `"SAME"`).

    Returns:
        `LSTMState` of `(*batch, units)` for an LSTM, else `(*batch, units)`.

    Raises:
        TypeError: if `params` are of no cell here.

    Example:
        >>> from jaxnets.functional import init_lstm
        >>> params = init_lstm(jax.random.key(0), 3, 2)
        >>> zero_state(params, jnp.ones((1, 3))).c
        Array([[0., 0.]], dtype=float32)

    Source:
        Goodfellow, Bengio, Courville: Deep Learning, section 10.2.
    """
    fields = getattr(params, "_fields", ())
    if "recurrent_kernel" not in fields:
        raise TypeError(
            "recurrent: initial_state=None needs the params of a cell of jaxnets; got "
            f"{type(params).__name__} (give an initial_state)"
        )
    x = jnp.asarray(x)
    batch = jnp.zeros_like(x[..., :1])
    outputs = jnp.shape(params.recurrent_kernel)[-2]

    def zeros(units: int) -> jax.Array:
        return jnp.broadcast_to(batch, (*batch.shape[:-1], units))

    h = zeros(outputs)
    if isinstance(params, ConvLSTMParams):
        return LSTMState(h, h)
    if isinstance(params, LSTMParams):
        projected = params.projection
        units = outputs if projected is None else jnp.shape(projected)[0]
        return LSTMState(h, zeros(units))
    return h

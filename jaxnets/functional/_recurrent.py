"""Any cell over a sequence."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnets.functional._recurrent_steps import (
    check_every,
    cut_like_batch,
    feature_axes,
    in_chunks,
    loop,
    masked,
    time_back,
    time_first,
    valid_steps,
    zero_padding,
    zero_state,
)

Cell = Callable[..., tuple[Any, Any]]


def recurrent(
    cell: Cell,
    params: Any,
    xs: ArrayLike,
    *,
    initial_state: Any = None,
    lengths: ArrayLike | None = None,
    reverse: bool = False,
    unroll: int = 1,
    time_major: bool = False,
    remat_every: int | None = None,
) -> tuple[Any, Any]:
    """Apply a cell to every step of a sequence, sharing its parameters.

    (s_t, y_t) = cell(params, s_{t−1}, x_t). Past an example's length outputs are zero
    and the state stays as it was at the end. The cell sees zeros there, whatever `xs`
    holds.

    Args:
        cell: `(params, carry, x) -> (carry, y)`, such as `lstm_cell` or your own; bind
            options with `functools.partial`.
        params: what the cell takes, any pytree.
        xs: `(*batch, T, in)`, any number of batch axes, none included; for
            `ConvLSTMParams` `(*batch, T, *spatial, in)`.
        initial_state: a pytree of arrays `(*batch, ...)`; None means zeros for the
            params of a cell of this library.
        lengths: integers from 0 to T, of shape `batch`; None means T. Traced ones are
            not checked.
        reverse: from the last step (of each length) to the first; outputs stay in the
            order of time.
        unroll: steps in one iteration of the loop.
        time_major: whether time comes first: `(T, *batch, in)`, and so the outputs.
        remat_every: for gradients keep the state every so many steps only and compute
            the rest again; √T needs the least memory.

    Returns:
        The final state, and the outputs `(*batch, T, ...)`.

    Raises:
        TypeError: if `initial_state` is missing for params of another kind, or lengths
            are no integers.
        ValueError: if a shape does not fit or a length is out of range.

    Example:
        >>> def running_sum(params, carry, x):
        ...     return carry + params * x, carry + params * x
        >>> xs, start = jnp.ones((3, 1)), jnp.zeros(1)
        >>> total, sums = recurrent(running_sum, 2.0, xs, initial_state=start)
        >>> sums.ravel()
        Array([2., 4., 6.], dtype=float32)

    Source:
        Goodfellow, Bengio, Courville: Deep Learning, equation 10.4.
    """
    features = feature_axes(params)
    check_every("recurrent", remat_every, unroll)
    xs = time_first("recurrent", xs, time_major=time_major, features=features)
    batch = xs.shape[1 : xs.ndim - features]
    valid = valid_steps("recurrent", lengths, xs, batch)
    xs = zero_padding(xs, valid)
    if initial_state is None:
        initial_state = zero_state(params, jnp.zeros(xs.shape[1:], xs.dtype))
    initial_state = cut_like_batch(initial_state, xs, len(batch))

    def step(carry: Any, x: Any) -> tuple[Any, Any]:
        return cell(params, carry, x)

    state, ys = run_cell(
        step,
        initial_state,
        xs,
        valid,
        reverse=reverse,
        unroll=unroll,
        remat_every=remat_every,
    )
    return state, time_back(ys, len(batch), time_major=time_major)


def run_cell(
    step: Callable,
    state: Any,
    xs: Any,
    valid: jax.Array | None,
    *,
    reverse: bool,
    unroll: int,
    remat_every: int | None,
) -> tuple[Any, Any]:
    """The loop over steps in time order, masked where `valid` is given."""
    steps = len(jax.tree.leaves(xs)[0])
    if valid is not None:
        step, xs = masked(step), (xs, valid)

    def run(state: Any, xs: Any) -> tuple[Any, Any]:
        return loop(step, state, xs, reverse=reverse, unroll=unroll)

    return in_chunks(run, state, xs, steps=steps, every=remat_every, reverse=reverse)

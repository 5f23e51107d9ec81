"""Training over sequences too long to differentiate through."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxnets.functional._checks import check_integer
from jaxnets.functional._recurrent_steps import (
    feature_axes,
    time_back,
    time_first,
    valid_steps,
)


def truncated_bptt(
    layer: Callable,
    params: Any,
    xs: ArrayLike,
    *,
    steps: int,
    initial_state: Any = None,
    lengths: ArrayLike | None = None,
    time_major: bool = False,
    **options: Any,
) -> tuple[Any, Any]:
    """Run a layer over a long sequence in chunks that gradients do not cross.

    Values are those of `layer(params, xs)`. The state that a chunk of `steps` steps
    begins with counts as a constant, the initial state too: ∂y_t reaches back to the
    beginning of its chunk only. For a stream, call it batch by batch with the state of
    the last call.

    Args:
        layer: `rnn`, `lstm`, `gru` or a function of that form.
        params: what the layer takes.
        xs: `(*batch, T, in)`.
        steps: length of a chunk; the last may be shorter.
        initial_state: the state to begin with, or None.
        lengths: integers from 0 to T, of shape `batch`, or None.
        time_major: whether time comes first.
        **options: further options of the layer.

    Returns:
        The final state, through which gradients reach the last chunk, and the outputs
        `(*batch, T, ...)`.

    Raises:
        TypeError: if `steps` is no integer.
        ValueError: if `steps` is below 1, or `reverse` is asked for.

    Example:
        >>> from jaxnets.functional import init_rnn, rnn
        >>> params = init_rnn(jax.random.key(0), 1, 2)
        >>> h, ys = truncated_bptt(rnn, params, jnp.ones((7, 1)), steps=3)
        >>> ys.shape
        (7, 2)

    Source:
        Williams, Peng 1990, "An efficient gradient-based algorithm for on-line training
        of recurrent network trajectories".
    """
    check_integer("truncated_bptt", "steps", steps, minimum=1)
    if options.get("reverse"):
        raise ValueError(
            "truncated_bptt: a stream has no end to begin from; got reverse=True "
            "(leave it out)"
        )
    features = feature_axes(params)
    xs = time_first("truncated_bptt", xs, time_major=time_major, features=features)
    batch = xs.shape[1 : xs.ndim - features]
    valid_steps("truncated_bptt", lengths, xs, batch)
    state, parts = initial_state, []
    for start in range(0, len(xs), steps):
        chunk = xs[start : start + steps]
        left = None
        if lengths is not None:
            left = jnp.clip(jnp.asarray(lengths) - start, 0, len(chunk))
        state = jax.tree.map(lax.stop_gradient, state)
        state, ys = layer(
            params,
            chunk,
            initial_state=state,
            lengths=left,
            time_major=True,
            **options,
        )
        parts.append(ys)
    if not parts:
        return layer(params, xs, initial_state=state, time_major=True, **options)
    ys = jax.tree.map(lambda *p: jnp.concatenate(p), *parts)
    return state, time_back(ys, len(batch), time_major=time_major)

"""Sequences read in both directions, and layers upon layers."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnets.functional._checks import check_choice
from jaxnets.functional._dropout import dropout

MERGES = ("concat", "sum", "mul", "ave", None)


def bidirectional(
    layer: Callable,
    params: tuple[Any, Any],
    xs: ArrayLike,
    *,
    merge: str | None = "concat",
    initial_state: tuple[Any, Any] | None = None,
    dropout_key: ArrayLike | None = None,
    **options: Any,
) -> tuple[tuple[Any, Any], Any]:
    """Run a layer forwards with one set of parameters and backwards with another.

    y_t = merge(forward_t, backward_t), backward_t having seen x_t, x_{t+1}, ... up to
    each length.

    Args:
        layer: `rnn`, `lstm`, `gru` or a function of that form.
        params: (forward_params, backward_params).
        xs: `(*batch, T, in)`.
        merge: `"concat"` along the last axis, `"sum"`, `"mul"`, `"ave"`, or None for
            the pair (forward, backward).
        initial_state: a pair of states, or None.
        dropout_key: split between the two directions, or None.
        **options: further options of the layer, such as `lengths`.

    Returns:
        The pair of final states, that of the backward direction being the one at the
        first step, and the outputs `(*batch, T, 2 * units)` for `"concat"`.

    Raises:
        ValueError: if the merge is unknown, or there is not one of everything for each
            direction.

    Example:
        >>> from jaxnets.functional import init_gru, gru
        >>> one, two = (init_gru(jax.random.key(i), 3, 4) for i in range(2))
        >>> (first, last), ys = bidirectional(gru, (one, two), jnp.ones((2, 7, 3)))
        >>> ys.shape
        (2, 7, 8)

    Source:
        Schuster, Paliwal 1997, "Bidirectional recurrent neural networks".
    """
    function = "bidirectional"
    check_choice(function, "merge", merge, MERGES)
    states = (None, None) if initial_state is None else initial_state
    for name, pair in (("params", params), ("initial_state", states)):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ValueError(
                f"{function}: {name} must be a pair, forward and backward; got "
                f"{type(pair).__name__}"
            )
    if "reverse" in options:
        raise ValueError(
            f"{function}: reverse is chosen by direction (exchange the two params)"
        )
    keys = _split(dropout_key, 2)
    runs = [
        layer(
            own,
            xs,
            initial_state=state,
            reverse=reverse,
            **({} if key is None else {"dropout_key": key}),
            **options,
        )
        for own, state, reverse, key in zip(
            params, states, (False, True), keys, strict=True
        )
    ]
    (forward_state, forward), (backward_state, backward) = runs
    match merge:
        case "concat":
            ys = jnp.concatenate([forward, backward], -1)
        case "sum":
            ys = forward + backward
        case "mul":
            ys = forward * backward
        case "ave":
            ys = (forward + backward) * 0.5
        case _:
            ys = forward, backward
    return (forward_state, backward_state), ys


def stacked(
    layer: Callable,
    params: Sequence[Any],
    xs: ArrayLike,
    *,
    initial_state: Sequence[Any] | None = None,
    keep_prob: float = 1.0,
    residual: bool = False,
    dropout_key: ArrayLike | None = None,
    **options: Any,
) -> tuple[tuple[Any, ...], Any]:
    """Run layers one upon the other: the outputs of one are the inputs of the next.

    y^k = layer(params_k, dropout(y^{k−1})), y^0 = x; there is no dropout before the
    first layer or behind the last. With `residual` y^k = layer(...) + y^{k−1} from the
    second layer on.

    Args:
        layer: `rnn`, `lstm`, `gru` or a function of that form, such as
            `functools.partial(bidirectional, lstm)`.
        params: what the layer takes, one a layer.
        xs: `(*batch, T, in)`.
        initial_state: one state a layer, or None.
        keep_prob: share of the entries that dropout between layers keeps.
        residual: whether a layer's inputs are added to its outputs.
        dropout_key: a random key, for `keep_prob` and dropout within the layers.
        **options: further options of the layer, such as `lengths`.

    Returns:
        The final states, one a layer, and the outputs of the last layer.

    Raises:
        ValueError: if there are no layers, not as many states as layers, a key is
            missing, or sizes differ with `residual`.

    Example:
        >>> from jaxnets.functional import init_lstm, lstm
        >>> sizes = [(3, 4), (4, 4)]
        >>> layers = [init_lstm(jax.random.key(i), *s) for i, s in enumerate(sizes)]
        >>> states, ys = stacked(lstm, layers, jnp.ones((2, 7, 3)), residual=True)
        >>> len(states), ys.shape
        (2, (2, 7, 4))

    Source:
        Graves, Mohamed, Hinton 2013, "Speech recognition with deep recurrent neural
        networks", equation 11.
    """
    function = "stacked"
    states = [None] * len(params) if initial_state is None else list(initial_state)
    if not params or len(states) != len(params):
        raise ValueError(
            f"{function}: there must be one or more layers and one initial_state a "
            f"layer; got {len(params)} params and {len(states)} states"
        )
    if keep_prob < 1 and dropout_key is None:
        raise ValueError(
            f"{function}: keep_prob={keep_prob} needs a dropout_key (leave keep_prob "
            "at 1 to evaluate)"
        )
    between, within = (_split(key, len(params)) for key in _split(dropout_key, 2))
    finals, ys = [], xs
    for k, (own, state) in enumerate(zip(params, states, strict=True)):
        inputs = ys
        if k and keep_prob < 1:
            inputs = dropout(between[k], inputs, keep_prob=keep_prob)
        own_key = {} if within[k] is None else {"dropout_key": within[k]}
        final, outputs = layer(own, inputs, initial_state=state, **own_key, **options)
        if k and residual:
            if outputs.shape != jnp.shape(ys):
                raise ValueError(
                    f"{function}: residual needs layers of one size; layer {k} makes "
                    f"{outputs.shape} of {jnp.shape(ys)}"
                )
            outputs = outputs + ys
        finals.append(final)
        ys = outputs
    return tuple(finals), ys


def _split(key: ArrayLike | None, count: int) -> list[Any]:
    return [None] * count if key is None else list(jax.random.split(key, count))

"""From the arguments of rnn, lstm and gru to a run of one of their algorithms."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnets.functional._cell_checks import widen_step
from jaxnets.functional._checks import check_choice
from jaxnets.functional._dropout import dropout
from jaxnets.functional._recurrent_fused import (
    Arrays,
    Form,
    Static,
    fused,
    product_of_all,
)
from jaxnets.functional._recurrent_steps import (
    check_every,
    cut_like_batch,
    in_chunks,
    keep_where,
    loop,
    masked,
    time_back,
    time_first,
    valid_steps,
    zero_padding,
    zero_state,
)

ALGORITHMS = ("auto", "scan", "fused", "cudnn")


class Noise(NamedTuple):
    """What is dropped at random in a sequence, and what is held.

    Attributes:
        key: a random key, or None.
        input_keep_prob: of the entries of an input, one mask for all steps.
        recurrent_keep_prob: of the entries of h in the products, one mask for all
            steps.
        zoneout: for h (and c) the probability that an entry keeps its old value.
    """

    key: ArrayLike | None
    input_keep_prob: float
    recurrent_keep_prob: float
    zoneout: tuple[float, ...]


class Steps(NamedTuple):
    """What a run takes step by step, time first.

    Attributes:
        xs: `(T, *batch, in)`.
        valid: `(T, *batch)`, False past the lengths; None: all steps count.
        held: for every array of the state which entries keep their old value, 0 or 1 or
            the probability; None: no zoneout.
    """

    xs: jax.Array
    valid: jax.Array | None
    held: Any


class Layer(NamedTuple):
    """What distinguishes rnn, lstm and gru.

    Attributes:
        function: the public function's name, for messages.
        check: `(params, x, state)`: raises unless they fit.
        step: `(params, carry, x, mask) -> (carry, y)`, the mask on h in the products.
        not_fused: why parameters or options exclude `fused`, or None.
        form: the pointwise part, for `fused`.
        arrays: `(params) -> (kernel, recurrent_kernel, bias, recurrent_bias)` as the
            form takes them.
        precision: of the products.
        cudnn: `(params, state, xs, valid, reverse) -> (state, ys)`, or None.
    """

    function: str
    check: Callable
    step: Callable
    not_fused: str | None
    form: Form | None
    arrays: Callable
    precision: Any
    cudnn: Callable | None = None


def run_layer(
    layer: Layer,
    params: Any,
    xs: ArrayLike,
    *,
    initial_state: Any,
    lengths: ArrayLike | None,
    reverse: bool,
    unroll: int,
    time_major: bool,
    algorithm: str,
    remat_every: int | None,
    noise: Noise,
) -> tuple[Any, jax.Array]:
    """Check, choose the algorithm, run, and bring the outputs to the given layout."""
    function = layer.function
    check_choice(function, "algorithm", algorithm, ALGORITHMS)
    check_every(function, remat_every, unroll)
    _check_noise(function, noise)
    xs = time_first(function, xs, time_major=time_major, features=1)
    batch = xs.shape[1:-1]
    valid = valid_steps(function, lengths, xs, batch)
    xs = zero_padding(xs, valid)
    layer.check(params, jax.ShapeDtypeStruct(xs.shape[1:], xs.dtype), initial_state)
    if initial_state is None:
        initial_state = zero_state(params, jnp.zeros(xs.shape[1:], xs.dtype))
    initial_state = cut_like_batch(initial_state, xs, len(batch))
    (params, state, xs), narrow = widen_step(params, initial_state, xs)
    xs, mask, held = _draw(noise, xs, state)
    chosen = _choose(layer, algorithm, noise)
    run_chosen = {"scan": _scan, "fused": _fused, "cudnn": _cudnn}[chosen]

    def run(state: Any, steps: Steps) -> tuple[Any, jax.Array]:
        return run_chosen(layer, params, state, steps, mask, reverse, unroll)

    state, ys = in_chunks(
        run,
        state,
        Steps(xs, valid, held),
        steps=len(xs),
        every=remat_every,
        reverse=reverse,
    )
    return narrow((state, time_back(ys, len(batch), time_major=time_major)))


def _choose(layer: Layer, algorithm: str, noise: Noise) -> str:
    """The algorithm that `"auto"` stands for, or the one named if it can do it."""
    reason = layer.not_fused
    if reason is None and any(noise.zoneout):
        reason = "zoneout"
    if algorithm == "auto":
        return "fused" if reason is None else "scan"
    if algorithm == "cudnn" and layer.cudnn is None:
        reason = f"{layer.function}, only lstm"
    elif algorithm == "cudnn" and reason is None and noise.recurrent_keep_prob < 1:
        reason = "recurrent_keep_prob"
    if algorithm != "scan" and reason is not None:
        raise ValueError(
            f'{layer.function}: algorithm="{algorithm}" cannot do {reason} '
            '(algorithm="scan" or "auto" can)'
        )
    if algorithm == "cudnn" and (platform := jax.default_backend()) != "gpu":
        raise ValueError(
            f'{layer.function}: algorithm="cudnn" needs an NVIDIA GPU; the platform is '
            f'{platform} (algorithm="fused" runs everywhere)'
        )
    return algorithm


def _cudnn(layer, params, state, steps, mask, reverse, unroll):
    return layer.cudnn(params, state, steps.xs, steps.valid, reverse)


def _fused(layer, params, state, steps, mask, reverse, unroll):
    kernel, recurrent_kernel, bias, recurrent_bias = layer.arrays(params)
    static = Static(layer.form, reverse, unroll, layer.precision)
    pieces = layer.form.pieces
    z = [
        product_of_all(steps.xs, columns, layer.precision)
        for columns in jnp.split(kernel, pieces, -1)
    ]
    bias = None if bias is None else jnp.split(bias, pieces)
    arrays = Arrays(z, recurrent_kernel, bias, recurrent_bias, state, steps.valid, mask)
    state, hs = fused(static, arrays)
    if steps.valid is not None:
        hs = keep_where(steps.valid, hs, jnp.zeros_like(hs))
    return state, hs


def _scan(layer, params, state, steps, mask, reverse, unroll):
    def plain(carry: Any, x_held: Any) -> tuple[Any, jax.Array]:
        x, held = x_held
        new, y = layer.step(params, carry, x, mask)
        if held is None:
            return new, y
        new = jax.tree.map(lambda n, o, k: n + k * (o - n), new, carry, held)
        return new, jax.tree.leaves(new)[0]

    step, inputs = plain, (steps.xs, steps.held)
    if steps.valid is not None:
        step, inputs = masked(plain), (inputs, steps.valid)
    return loop(step, state, inputs, reverse=reverse, unroll=unroll)


def _check_noise(function: str, noise: Noise) -> None:
    for name in ("input_keep_prob", "recurrent_keep_prob"):
        value = getattr(noise, name)
        if not 0 < value <= 1:
            raise ValueError(
                f"{function}: {name} must be in (0, 1]; got {value} (it is the "
                "probability to keep, not the rate to drop)"
            )
        if value < 1 and noise.key is None:
            raise ValueError(
                f"{function}: {name}={value} needs a dropout_key (leave {name} at 1 "
                "to evaluate)"
            )
    if not all(0 <= rate <= 1 for rate in noise.zoneout):
        raise ValueError(f"{function}: zoneout must be in [0, 1]; got {noise.zoneout}")


def _draw(noise: Noise, xs: Any, state: Any) -> tuple[jax.Array, Any, Any]:
    """The inputs after dropout, the mask on h, and what zoneout holds at every step."""
    keys: Any = None if noise.key is None else jax.random.split(noise.key, 3)
    if noise.input_keep_prob < 1:
        keep = noise.input_keep_prob
        xs = dropout(keys[0], xs, keep_prob=keep, broadcast_axes=(0,))
    mask = None
    h, *_ = jax.tree.leaves(state)
    if noise.recurrent_keep_prob < 1:
        keep = noise.recurrent_keep_prob
        mask = dropout(keys[1], jnp.ones_like(h), keep_prob=keep)
    if not any(noise.zoneout):
        return xs, mask, None
    leaves, tree = jax.tree.flatten(state)
    held = []
    for i, (rate, leaf) in enumerate(zip(noise.zoneout, leaves, strict=True)):
        shape = (len(xs), *leaf.shape)
        if noise.key is None:
            share = jnp.full(shape, rate, leaf.dtype)
        else:
            key = jax.random.fold_in(keys[2], i)
            share = jax.random.bernoulli(key, rate, shape).astype(leaf.dtype)
        held.append(share)
    return xs, mask, jax.tree.unflatten(tree, held)

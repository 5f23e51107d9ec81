"""The long short-term memory over a sequence."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxnets.functional._cell_checks import check_lstm
from jaxnets.functional._cell_steps import Activation, lstm_step
from jaxnets.functional._recurrent_cudnn import run_cudnn
from jaxnets.functional._recurrent_forms import LSTM_FORM, lstm_arrays
from jaxnets.functional._recurrent_layer import Layer, Noise, run_layer
from jaxnets.functional._recurrent_params import LSTMParams, LSTMState

# What parameters may have that the fast form has not.
OPTIONAL = ("peephole", "projection", "norm")


def lstm(
    params: LSTMParams,
    xs: ArrayLike,
    *,
    initial_state: Any = None,
    lengths: ArrayLike | None = None,
    reverse: bool = False,
    activation: Activation = jnp.tanh,
    recurrent_activation: Activation = jax.nn.sigmoid,
    forget_bias: float = 0.0,
    coupled: bool = False,
    unroll: int = 1,
    time_major: bool = False,
    algorithm: str = "auto",
    remat_every: int | None = None,
    input_keep_prob: float = 1.0,
    recurrent_keep_prob: float = 1.0,
    zoneout: float | Sequence[float] = 0.0,
    dropout_key: ArrayLike | None = None,
    precision: lax.PrecisionLike = None,
) -> tuple[LSTMState, jax.Array]:
    """Run a long short-term memory over a sequence.

    With a_t = x_t · kernel + h_{t−1} · recurrent_kernel + bias, cut into i, f, g, o:
    c_t = σ(f) c_{t−1} + σ(i) tanh(g), h_t = σ(o) tanh(c_t), y_t = h_t. Peepholes,
    projection and normalisation as in `lstm_cell`.

    Args:
        params: `LSTMParams`.
        xs: `(*batch, T, in)`, any number of batch axes, none included.
        initial_state: `LSTMState`, both `(*batch, units)`; None means zeros.
        lengths: integers from 0 to T, of shape `batch`: outputs past them are zero, and
            the state stays as it was at the end. None means T. Traced ones are not
            checked.
        reverse: from the last step (of each length) to the first; outputs stay in the
            order of time.
        activation: the tanh of the formula.
        recurrent_activation: the σ of the formula.
        forget_bias: added to f.
        coupled: whether 1 − σ(f) takes the place of σ(i); the gates are f, g, o.
        unroll: steps in one iteration of the loop.
        time_major: whether time comes first: `(T, *batch, in)`, and so the outputs.
        algorithm: `"scan"` is the textbook loop; `"fused"` forms the products of all
            inputs and the kernels' gradients outside the loop, and has every transform
            too; `"auto"` takes it wherever the options allow. `"cudnn"` needs an NVIDIA
            GPU and knows no forward mode.
        remat_every: for gradients keep the state every so many steps only and compute
            the rest again; √T needs the least memory.
        input_keep_prob: share of the entries of x that dropout keeps, one mask a
            sequence.
        recurrent_keep_prob: the same for h_{t−1} in the product, not in the state.
        zoneout: probability that an entry of the state keeps its old value, one for
            both or (of h, of c); without a key the mean of old and new is taken, as for
            evaluation.
        dropout_key: a random key, for these three.
        precision: of the matrix products, as in `jax.lax.dot_general`.

    Returns:
        The final `LSTMState`, and the outputs `(*batch, T, units)`.

    Raises:
        TypeError: if dtypes differ or are not floating.
        ValueError: if a shape does not fit, a length or a probability is out of range,
            a key is missing, or an algorithm cannot do what is asked.

    Example:
        >>> from jaxnets.functional import init_lstm
        >>> params, lengths = init_lstm(jax.random.key(0), 3, 4), jnp.asarray([7, 5])
        >>> state, ys = lstm(params, jnp.ones((2, 7, 3)), lengths=lengths)
        >>> ys.shape, bool((ys[1, 5:] == 0).all()), bool((state.h[1] == ys[1, 4]).all())
        ((2, 7, 4), True, True)

    Source:
        Hochreiter, Schmidhuber 1997; Gers, Schmidhuber, Cummins 2000.
    """

    def check(params, x, state):
        check_lstm("lstm", params, x, state, coupled=coupled)

    def step(params, carry, x, mask):
        return lstm_step(
            params,
            carry,
            x,
            mask,
            activation,
            recurrent_activation,
            forget_bias,
            coupled,
            precision,
        )

    if isinstance(initial_state, tuple) and len(initial_state) == 2:
        initial_state = LSTMState(*initial_state)
    rates = (zoneout, zoneout) if isinstance(zoneout, float | int) else tuple(zoneout)
    if len(rates) != 2:
        raise ValueError(
            f"lstm: zoneout must be a number or (of h, of c); got {zoneout}"
        )
    reason = next(
        (name for name in OPTIONAL if getattr(params, name) is not None), None
    )
    if coupled:
        reason = "coupled gates"
    elif (activation, recurrent_activation) != (jnp.tanh, jax.nn.sigmoid):
        reason = "activations other than tanh and sigmoid"

    def cudnn(params, state, xs, valid, reverse):
        return run_cudnn(
            params,
            state,
            xs,
            valid,
            reverse=reverse,
            forget_bias=forget_bias,
            precision=precision,
        )

    layer = Layer(
        "lstm",
        check,
        step,
        reason,
        LSTM_FORM,
        lambda params: lstm_arrays(params, forget_bias),
        precision,
        cudnn,
    )
    return run_layer(
        layer,
        params,
        xs,
        initial_state=initial_state,
        lengths=lengths,
        reverse=reverse,
        unroll=unroll,
        time_major=time_major,
        algorithm=algorithm,
        remat_every=remat_every,
        noise=Noise(dropout_key, input_keep_prob, recurrent_keep_prob, rates),
    )

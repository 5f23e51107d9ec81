"""The convolutional LSTM cell, in any number of spatial axes."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxnets.functional._cell_checks import carry_on_mesh, check_dtypes, widen_step
from jaxnets.functional._cell_steps import Activation, gate_shares
from jaxnets.functional._checks import check_shape
from jaxnets.functional._conv import conv, conv_output_shape
from jaxnets.functional._recurrent_params import ConvLSTMParams, LSTMState
from jaxnets.functional._shapes import IntOrInts, Padding


def conv_lstm_cell(
    params: ConvLSTMParams,
    carry: LSTMState,
    x: ArrayLike,
    *,
    strides: IntOrInts = 1,
    padding: Padding = "SAME",
    dilation: IntOrInts = 1,
    activation: Activation = jnp.tanh,
    recurrent_activation: Activation = jax.nn.sigmoid,
    forget_bias: float = 0.0,
    algorithm: Any = "auto",
    precision: lax.PrecisionLike = None,
    accuracy: str | None = None,
) -> tuple[LSTMState, jax.Array]:
    """Take one step of an LSTM whose products are convolutions.

    With a = conv(x, kernel) + conv(h, recurrent_kernel) + bias, cut along the channels
    into i, f, g, o: c' = σ(f) c + σ(i) tanh(g), h' = σ(o) tanh(c'), y = h'. Peepholes
    add p_i c, p_f c and p_o c' to i, f and o, position by position. The rank of the
    kernel says how many axes are spatial.

    Accuracy: both convolutions as in `conv`.

    Args:
        params: `ConvLSTMParams`.
        carry: `LSTMState`, both `(*batch, *positions, filters)`.
        x: `(*batch, *spatial, in)`.
        strides: of the convolution of x; that of h has stride 1 and padding `"SAME"`.
        padding: of the convolution of x.
        dilation: of the convolution of x.
        activation: the tanh of the formula.
        recurrent_activation: the σ of the formula.
        forget_bias: added to f.
        algorithm: of both convolutions, as in `conv`.
        precision: of both convolutions, as in `conv`.
        accuracy: of both convolutions, as in `conv`.

    Returns:
        The state (h', c'), and y = h'.

    Raises:
        TypeError: if dtypes differ or are not floating.
        ValueError: if a shape does not fit.

    Example:
        >>> from jaxnets.functional import init_conv_lstm, recurrent
        >>> params = init_conv_lstm(jax.random.key(0), 3, 4, (3, 3))
        >>> videos = jnp.ones((2, 5, 8, 8, 3))
        >>> state, ys = recurrent(conv_lstm_cell, params, videos)
        >>> ys.shape
        (2, 5, 8, 8, 4)

    Source:
        Shi et al. 2015, "Convolutional LSTM network", equation 3.
    """
    _check(params, carry, x, strides, padding, dilation)
    (params, carry, x), narrow = widen_step(params, carry, x)
    carry = carry_on_mesh(carry, x, features=jnp.ndim(params.kernel) - 1)
    sums = conv(
        x,
        params.kernel,
        params.bias,
        strides=strides,
        padding=padding,
        dilation=dilation,
        algorithm=algorithm,
        precision=precision,
        accuracy=accuracy,
    )
    sums = sums + conv(
        carry.h,
        params.recurrent_kernel,
        algorithm=algorithm,
        precision=precision,
        accuracy=accuracy,
    )
    i, f, g, o = jnp.split(sums, 4, -1)
    if forget_bias:
        f = f + forget_bias
    seen = None
    if params.peephole is not None:
        seen = [jnp.broadcast_to(weights, i.shape) for weights in params.peephole]
        i, f = i + seen[0] * carry.c, f + seen[1] * carry.c
    (f, _), (i, _) = (gate_shares(recurrent_activation, a) for a in (f, i))
    c = f * carry.c + i * activation(g)
    if seen is not None:
        o = o + seen[2] * c
    h = gate_shares(recurrent_activation, o)[0] * activation(c)
    return narrow((LSTMState(h, c), h))


def _check(params, carry, x, strides, padding, dilation) -> None:
    function = "conv_lstm_cell"
    kernel, recurrent = jnp.shape(params.kernel), jnp.shape(params.recurrent_kernel)
    if len(kernel) < 3 or kernel[-1] % 4:
        raise ValueError(
            f"{function}: kernel must be (*window, in, 4 * filters); got "
            f"kernel.shape={kernel}"
        )
    filters = kernel[-1] // 4
    if len(recurrent) != len(kernel) or recurrent[-2:] != (filters, 4 * filters):
        raise ValueError(
            f"{function}: recurrent_kernel must be (*window, {filters}, {4 * filters}) "
            f"of the rank of kernel {kernel}; got {recurrent}"
        )
    spatial = len(kernel) - 2
    out = conv_output_shape(
        jnp.shape(x), kernel, strides=strides, padding=padding, dilation=dilation
    )
    for name, value in (("h", carry[0]), ("c", carry[1])):
        why = "the outputs of the convolution of x"
        expected = (*out[:-1], filters)
        check_shape(function, f"{name} of the state", jnp.shape(value), expected, why)
    if params.peephole is not None:
        expected = (3, *out[-1 - spatial : -1], filters)
        shape = jnp.shape(params.peephole)
        check_shape(function, "peephole", shape, expected, "i, f, o at every position")
    check_dtypes(function, params, x, carry)

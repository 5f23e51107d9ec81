"""Recurrent cells: one step, `(params, carry, x) -> (carry, y)`, the form of scan."""

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxnets.functional._cell_checks import (
    carry_on_mesh,
    check_gru,
    check_lstm,
    check_mgu,
    check_rnn,
    widen_step,
)
from jaxnets.functional._cell_steps import (
    Activation,
    affine,
    gate_shares,
    gru_step,
    lstm_step,
    rnn_step,
)
from jaxnets.functional._recurrent_params import (
    GRUParams,
    LSTMParams,
    LSTMState,
    MGUParams,
    RNNParams,
)


def rnn_cell(
    params: RNNParams,
    carry: ArrayLike,
    x: ArrayLike,
    *,
    activation: Activation = jnp.tanh,
    precision: lax.PrecisionLike = None,
) -> tuple[jax.Array, jax.Array]:
    """Take one step of a simple (Elman) recurrent network.

    h' = activation(x · kernel + h · recurrent_kernel + bias), y = h'. A network's
    output σ(W h' + b) is `dense` on y.

    Args:
        params: `RNNParams`.
        carry: h, `(*batch, units)`.
        x: `(*batch, in)`.
        activation: function of the sums.
        precision: of the matrix products, as in `jax.lax.dot_general`.

    Returns:
        h' and y, both `(*batch, units)`.

    Raises:
        TypeError: if dtypes differ or are not floating.
        ValueError: if a shape does not fit.

    Example:
        >>> params = RNNParams(jnp.ones((1, 2)), jnp.eye(2), jnp.asarray([0.0, 1.0]))
        >>> h, y = rnn_cell(params, jnp.zeros(2), jnp.ones(1), activation=jax.nn.relu)
        >>> y
        Array([1., 2.], dtype=float32)

    Source:
        Goodfellow, Bengio, Courville: Deep Learning, equations 10.8 and 10.9.
    """
    check_rnn("rnn_cell", params, jnp.asarray(x), carry)
    (params, carry, x), narrow = widen_step(params, carry, x)
    carry = carry_on_mesh(carry, x)
    return narrow(rnn_step(params, carry, x, None, activation, precision))


def lstm_cell(
    params: LSTMParams,
    carry: LSTMState,
    x: ArrayLike,
    *,
    activation: Activation = jnp.tanh,
    recurrent_activation: Activation = jax.nn.sigmoid,
    forget_bias: float = 0.0,
    coupled: bool = False,
    precision: lax.PrecisionLike = None,
) -> tuple[LSTMState, jax.Array]:
    """Take one step of a long short-term memory.

    With a = x · kernel + h · recurrent_kernel + bias, cut into i, f, g, o:
    c' = σ(f) c + σ(i) tanh(g), h' = σ(o) tanh(c'), y = h'. Peepholes add p_i c, p_f c
    and p_o c' to i, f and o. A projection makes h' · projection of h'. With `norm` both
    products and c' (inside the last tanh) are normalised.

    Args:
        params: `LSTMParams`.
        carry: `LSTMState` of h and c, `(*batch, units)`.
        x: `(*batch, in)`.
        activation: the tanh of the formula.
        recurrent_activation: the σ of the formula.
        forget_bias: added to f.
        coupled: whether 1 − σ(f) takes the place of σ(i); the gates are f, g, o.
        precision: of the matrix products, as in `jax.lax.dot_general`.

    Returns:
        The state (h', c'), and y = h'.

    Raises:
        TypeError: if dtypes differ or are not floating.
        ValueError: if a shape does not fit, or a peephole meets a projection.

    Example:
        >>> params = LSTMParams(jnp.ones((1, 8)), jnp.zeros((2, 8)))
        >>> state = LSTMState(jnp.zeros(2), jnp.ones(2))
        >>> state, y = lstm_cell(params, state, jnp.zeros(1))
        >>> state.c, y.round(4)
        (Array([0.5, 0.5], dtype=float32), Array([0.2311, 0.2311], dtype=float32))

    Source:
        Hochreiter, Schmidhuber 1997; Gers, Schraudolph, Schmidhuber 2002 (peepholes);
        Sak, Senior, Beaufays 2014 (projection); Ba, Kiros, Hinton 2016, equations 20 to
        22 (normalisation); Greff et al. 2017 (coupled gates).
    """
    check_lstm("lstm_cell", params, jnp.asarray(x), carry, coupled=coupled)
    (params, carry, x), narrow = widen_step(params, carry, x)
    carry = carry_on_mesh(carry, x)
    done = lstm_step(
        params,
        carry,
        x,
        None,
        activation,
        recurrent_activation,
        forget_bias,
        coupled,
        precision,
    )
    return narrow(done)


def gru_cell(
    params: GRUParams,
    carry: ArrayLike,
    x: ArrayLike,
    *,
    reset_after: bool = True,
    activation: Activation = jnp.tanh,
    recurrent_activation: Activation = jax.nn.sigmoid,
    precision: lax.PrecisionLike = None,
) -> tuple[jax.Array, jax.Array]:
    """Take one step of a gated recurrent unit.

    With a = x · kernel + bias and b = h · recurrent_kernel + recurrent_bias, both cut
    into r, z, n: r = σ(a_r + b_r), z = σ(a_z + b_z), n = tanh(a_n + r b_n),
    h' = (1 − z) n + z h, y = h'. With `reset_after=False` the reset acts before the
    product: n = tanh(a_n + (r h) · recurrent_kernel_n).

    Args:
        params: `GRUParams`.
        carry: h, `(*batch, units)`.
        x: `(*batch, in)`.
        reset_after: whether the reset acts after the product (torch, Keras's default,
            cuDNN) or before it (the paper).
        activation: the tanh of the formula.
        recurrent_activation: the σ of the formula.
        precision: of the matrix products, as in `jax.lax.dot_general`.

    Returns:
        h' and y, both `(*batch, units)`.

    Raises:
        TypeError: if dtypes differ or are not floating.
        ValueError: if a shape does not fit, or a recurrent bias is given with
            `reset_after=False`.

    Example:
        >>> params = GRUParams(jnp.zeros((1, 6)), jnp.zeros((2, 6)))
        >>> h, y = gru_cell(params, jnp.ones(2), jnp.ones(1))
        >>> y
        Array([0.5, 0.5], dtype=float32)

    Source:
        Cho et al. 2014, "Learning phrase representations", equations 5 to 8.
    """
    check_gru("gru_cell", params, jnp.asarray(x), carry, reset_after=reset_after)
    (params, carry, x), narrow = widen_step(params, carry, x)
    carry = carry_on_mesh(carry, x)
    done = gru_step(
        params, carry, x, None, reset_after, activation, recurrent_activation, precision
    )
    return narrow(done)


def mgu_cell(
    params: MGUParams,
    carry: ArrayLike,
    x: ArrayLike,
    *,
    activation: Activation = jnp.tanh,
    recurrent_activation: Activation = jax.nn.sigmoid,
    precision: lax.PrecisionLike = None,
) -> tuple[jax.Array, jax.Array]:
    """Take one step of a minimal gated unit: a GRU with one gate.

    f = σ(x · W_f + h · U_f + b_f), n = tanh(x · W_n + (f h) · U_n + b_n),
    h' = (1 − f) h + f n, y = h'.

    Args:
        params: `MGUParams`.
        carry: h, `(*batch, units)`.
        x: `(*batch, in)`.
        activation: the tanh of the formula.
        recurrent_activation: the σ of the formula.
        precision: of the matrix products, as in `jax.lax.dot_general`.

    Returns:
        h' and y, both `(*batch, units)`.

    Raises:
        TypeError: if dtypes differ or are not floating.
        ValueError: if a shape does not fit.

    Example:
        >>> params = MGUParams(jnp.zeros((1, 4)), jnp.zeros((2, 4)))
        >>> h, y = mgu_cell(params, jnp.ones(2), jnp.ones(1))
        >>> y
        Array([0.5, 0.5], dtype=float32)

    Source:
        Zhou, Wu, Zhang, Zhou 2016, "Minimal gated unit", equations 6 to 8.
    """
    check_mgu("mgu_cell", params, jnp.asarray(x), carry)
    (params, carry, x), narrow = widen_step(params, carry, x)
    carry = carry_on_mesh(carry, x)
    a_f, a_n = jnp.split(affine(x, params.kernel, params.bias, precision), 2, -1)
    gate_kernel, new_kernel = jnp.split(params.recurrent_kernel, 2, -1)
    sums = a_f + affine(carry, gate_kernel, None, precision)
    f, kept = gate_shares(recurrent_activation, sums)
    n = activation(a_n + affine(f * carry, new_kernel, None, precision))
    h = kept * carry + f * n
    return narrow((h, h))


def gate(x: ArrayLike, control: ArrayLike) -> jax.Array:
    """Let through of x as much as a control signal says.

    y = x · σ(control).

    Args:
        x: any shape, floating.
        control: the shape of `x`.

    Returns:
        The shape and dtype of `x`.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> gate(jnp.asarray([2.0, 2.0]), jnp.asarray([0.0, 100.0]))
        Array([1., 2.], dtype=float32)

    Source:
        Hochreiter, Schmidhuber 1997, section 4.
    """
    x, control = jnp.asarray(x), jnp.asarray(control)
    if x.shape != control.shape:
        raise ValueError(
            f"gate: control must have the shape of x, {x.shape}; got {control.shape}"
        )
    return x * jax.nn.sigmoid(control)

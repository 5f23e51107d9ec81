"""The gated recurrent unit over a sequence."""

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxnets.functional._cell_checks import check_gru
from jaxnets.functional._cell_steps import Activation, gru_step
from jaxnets.functional._recurrent_forms import GRU_FORM, gru_arrays
from jaxnets.functional._recurrent_layer import Layer, Noise, run_layer
from jaxnets.functional._recurrent_params import GRUParams


def gru(
    params: GRUParams,
    xs: ArrayLike,
    *,
    initial_state: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    reverse: bool = False,
    reset_after: bool = True,
    activation: Activation = jnp.tanh,
    recurrent_activation: Activation = jax.nn.sigmoid,
    unroll: int = 1,
    time_major: bool = False,
    algorithm: str = "auto",
    remat_every: int | None = None,
    input_keep_prob: float = 1.0,
    recurrent_keep_prob: float = 1.0,
    zoneout: float = 0.0,
    dropout_key: ArrayLike | None = None,
    precision: lax.PrecisionLike = None,
) -> tuple[jax.Array, jax.Array]:
    """Run a gated recurrent unit over a sequence.

    With a_t = x_t · kernel + bias and b_t = h_{t−1} · recurrent_kernel +
    recurrent_bias, both cut into r, z, n: r = σ(a_r + b_r), z = σ(a_z + b_z),
    n = tanh(a_n + r b_n), h_t = (1 − z) n + z h_{t−1}, y_t = h_t. `reset_after=False`
    as in `gru_cell`.

    Args:
        params: `GRUParams`.
        xs: `(*batch, T, in)`, any number of batch axes, none included.
        initial_state: h, `(*batch, units)`; None means zeros.
        lengths: integers from 0 to T, of shape `batch`: outputs past them are zero, and
            the state stays as it was at the end. None means T. Traced ones are not
            checked.
        reverse: from the last step (of each length) to the first; outputs stay in the
            order of time.
        reset_after: whether the reset acts after the product (torch, Keras's default,
            cuDNN) or before it (the paper).
        activation: the tanh of the formula.
        recurrent_activation: the σ of the formula.
        unroll: steps in one iteration of the loop.
        time_major: whether time comes first: `(T, *batch, in)`, and so the outputs.
        algorithm: `"scan"` is the textbook loop; `"fused"` forms the products of all
            inputs and the kernels' gradients outside the loop, and has every transform
            too; `"auto"` takes it wherever the options allow.
        remat_every: for gradients keep the state every so many steps only and compute
            the rest again; √T needs the least memory.
        input_keep_prob: share of the entries of x that dropout keeps, one mask a
            sequence.
        recurrent_keep_prob: the same for h_{t−1} in the product, not in the state.
        zoneout: probability that an entry of h keeps its old value; without a key the
            mean of both is taken, as for evaluation.
        dropout_key: a random key, for these three.
        precision: of the matrix products, as in `jax.lax.dot_general`.

    Returns:
        The final h `(*batch, units)`, and the outputs `(*batch, T, units)`.

    Raises:
        TypeError: if dtypes differ or are not floating.
        ValueError: if a shape does not fit, a length or a probability is out of range,
            a key is missing, or an algorithm cannot do what is asked.

    Example:
        >>> from jaxnets.functional import init_gru
        >>> params = init_gru(jax.random.key(0), 3, 4)
        >>> h, ys = gru(params, jnp.ones((2, 7, 3)))
        >>> ys.shape, bool((h == ys[:, -1]).all())
        ((2, 7, 4), True)

    Source:
        Cho et al. 2014, "Learning phrase representations", equations 5 to 8.
    """

    def check(params, x, state):
        check_gru("gru", params, x, state, reset_after=reset_after)

    def step(params, h, x, mask):
        return gru_step(
            params, h, x, mask, reset_after, activation, recurrent_activation, precision
        )

    reason = None
    if not reset_after:
        reason = "reset_after=False"
    elif (activation, recurrent_activation) != (jnp.tanh, jax.nn.sigmoid):
        reason = "activations other than tanh and sigmoid"
    layer = Layer("gru", check, step, reason, GRU_FORM, gru_arrays, precision)
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
        noise=Noise(dropout_key, input_keep_prob, recurrent_keep_prob, (zoneout,)),
    )

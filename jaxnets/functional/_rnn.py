"""The simple recurrent network over a sequence."""

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxnets.functional._cell_checks import check_rnn
from jaxnets.functional._cell_steps import Activation, rnn_step
from jaxnets.functional._recurrent_forms import RNN_FORMS
from jaxnets.functional._recurrent_layer import Layer, Noise, run_layer
from jaxnets.functional._recurrent_params import RNNParams


def rnn(
    params: RNNParams,
    xs: ArrayLike,
    *,
    initial_state: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    reverse: bool = False,
    activation: Activation = jnp.tanh,
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
    """Run a simple (Elman) recurrent network over a sequence.

    h_t = activation(x_t · kernel + h_{t−1} · recurrent_kernel + bias), y_t = h_t.

    Args:
        params: `RNNParams`.
        xs: `(*batch, T, in)`, any number of batch axes, none included.
        initial_state: h, `(*batch, units)`; None means zeros.
        lengths: integers from 0 to T, of shape `batch`: outputs past them are zero, and
            the state stays as it was at the end. None means T. Traced ones are not
            checked.
        reverse: from the last step (of each length) to the first; outputs stay in the
            order of time.
        activation: function of the sums.
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
        >>> params = RNNParams(jnp.ones((1, 1)), jnp.ones((1, 1)))
        >>> h, ys = rnn(params, jnp.ones((3, 1)), activation=jax.nn.relu)
        >>> ys.ravel()
        Array([1., 2., 3.], dtype=float32)

    Source:
        Elman 1990; Goodfellow, Bengio, Courville: Deep Learning, equation 10.8.
    """

    def check(params, x, state):
        check_rnn("rnn", params, x, state)

    def step(params, h, x, mask):
        return rnn_step(params, h, x, mask, activation, precision)

    form = RNN_FORMS.get(activation)
    reason = None if form else "activations other than tanh and relu"
    layer = Layer(
        "rnn", check, step, reason, form, lambda params: (*params, None), precision
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
        noise=Noise(dropout_key, input_keep_prob, recurrent_keep_prob, (zoneout,)),
    )

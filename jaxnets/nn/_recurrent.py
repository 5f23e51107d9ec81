"""RNN, LSTM and GRU: recurrent layers as Flax NNX modules."""

from typing import Any

import jax.numpy as jnp
from flax import nnx

from jaxnets.functional._gru import gru
from jaxnets.functional._lstm import lstm
from jaxnets.functional._recurrent_init import init_gru, init_lstm, init_rnn
from jaxnets.functional._recurrent_params import GRUParams, LSTMParams, RNNParams
from jaxnets.functional._rnn import rnn
from jaxnets.nn._recurrent_layer import RecurrentLayer


class RNN(RecurrentLayer):
    """A simple recurrent layer: h_t = activation(x_t · W + h_{t−1} · U + b).

    Args:
        in_features: size of an input.
        units: size of the state.
        return_sequences: whether the outputs of all steps are returned, or the last.
        go_backwards: from the last step to the first; outputs stay in order of time.
        dropout: share of the inputs dropped, one mask a sequence, as in Keras.
        recurrent_dropout: the same for h in the product.
        use_bias: whether there is a bias.
        param_dtype: dtype of the parameters.
        rngs: streams `params` and, for dropout, `dropout`.
        **options: further options of `jaxnets.functional.rnn`.

    Example:
        >>> layer = RNN(3, 4, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((2, 7, 3))).shape
        (2, 7, 4)

    Source:
        Elman 1990.
    """

    function = staticmethod(rnn)
    container = RNNParams

    def __init__(
        self,
        in_features: int,
        units: int,
        *,
        return_sequences: bool = True,
        go_backwards: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        use_bias: bool = True,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        params = init_rnn(
            rngs.params(), in_features, units, use_bias=use_bias, dtype=param_dtype
        )
        super().__init__(
            params,
            in_features,
            units,
            return_sequences=return_sequences,
            go_backwards=go_backwards,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            options=options,
            rngs=rngs,
        )


class LSTM(RecurrentLayer):
    """A long short-term memory layer.

    Args:
        in_features: size of an input.
        units: size of the cell.
        return_sequences: whether the outputs of all steps are returned, or the last.
        go_backwards: from the last step to the first; outputs stay in order of time.
        dropout: share of the inputs dropped, one mask a sequence, as in Keras.
        recurrent_dropout: the same for h in the product.
        use_bias: whether there is a bias.
        unit_forget_bias: whether the forget gate's bias begins at 1.
        peephole: whether the gates see the cell.
        proj_size: size that outputs are projected to, or None.
        layer_norm: whether the sums and the cell are normalised.
        coupled: whether the input gate is 1 minus the forget gate.
        param_dtype: dtype of the parameters.
        rngs: streams `params` and, for dropout, `dropout`.
        **options: further options of `jaxnets.functional.lstm`.

    Example:
        >>> layer = LSTM(3, 4, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((2, 7, 3))).shape
        (2, 7, 4)

    Source:
        Hochreiter, Schmidhuber 1997; Gers, Schmidhuber, Cummins 2000.
    """

    function = staticmethod(lstm)
    container = LSTMParams

    def __init__(
        self,
        in_features: int,
        units: int,
        *,
        return_sequences: bool = True,
        go_backwards: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        use_bias: bool = True,
        unit_forget_bias: bool = True,
        peephole: bool = False,
        proj_size: int | None = None,
        layer_norm: bool = False,
        coupled: bool = False,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        params = init_lstm(
            rngs.params(),
            in_features,
            units,
            use_bias=use_bias,
            unit_forget_bias=unit_forget_bias,
            peephole=peephole,
            proj_size=proj_size,
            layer_norm=layer_norm,
            coupled=coupled,
            dtype=param_dtype,
        )
        super().__init__(
            params,
            in_features,
            units,
            return_sequences=return_sequences,
            go_backwards=go_backwards,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            options=options | {"coupled": coupled},
            rngs=rngs,
        )


class GRU(RecurrentLayer):
    """A gated recurrent unit layer.

    Args:
        in_features: size of an input.
        units: size of the state.
        return_sequences: whether the outputs of all steps are returned, or the last.
        go_backwards: from the last step to the first; outputs stay in order of time.
        dropout: share of the inputs dropped, one mask a sequence, as in Keras.
        recurrent_dropout: the same for h in the products.
        use_bias: whether there is a bias.
        recurrent_bias: whether there is a second one, as torch and Keras have.
        param_dtype: dtype of the parameters.
        rngs: streams `params` and, for dropout, `dropout`.
        **options: further options of `jaxnets.functional.gru`.

    Example:
        >>> layer = GRU(3, 4, return_sequences=False, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((2, 7, 3))).shape
        (2, 4)

    Source:
        Cho et al. 2014, "Learning phrase representations".
    """

    function = staticmethod(gru)
    container = GRUParams

    def __init__(
        self,
        in_features: int,
        units: int,
        *,
        return_sequences: bool = True,
        go_backwards: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        use_bias: bool = True,
        recurrent_bias: bool = False,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        params = init_gru(
            rngs.params(),
            in_features,
            units,
            use_bias=use_bias,
            recurrent_bias=recurrent_bias,
            dtype=param_dtype,
        )
        super().__init__(
            params,
            in_features,
            units,
            return_sequences=return_sequences,
            go_backwards=go_backwards,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            options=options,
            rngs=rngs,
        )

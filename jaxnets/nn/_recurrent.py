"""RNN, LSTM and GRU: recurrent layers as Flax NNX modules."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike

from jaxnets.functional._gru import gru
from jaxnets.functional._lstm import lstm
from jaxnets.functional._recurrent_init import init_gru, init_lstm, init_rnn
from jaxnets.functional._recurrent_params import GRUParams, LSTMParams, RNNParams
from jaxnets.functional._rnn import rnn


class _Layer(nnx.Module):
    """What the three layers share: parameters by name, and one function."""

    function: Callable
    container: type

    def __init__(
        self,
        params: Any,
        in_features: int,
        units: int,
        *,
        return_sequences: bool,
        go_backwards: bool,
        dropout: float,
        recurrent_dropout: float,
        options: dict[str, Any],
        rngs: nnx.Rngs,
    ):
        self.in_features, self.units = in_features, units
        for name, value in zip(params._fields, params, strict=True):
            data = jax.tree.map(nnx.Param, value)
            setattr(self, name, nnx.data(data) if value is None else data)
        self.return_sequences = return_sequences
        self.go_backwards = go_backwards
        self.dropout, self.recurrent_dropout = dropout, recurrent_dropout
        self.options = tuple(options.items())
        self.deterministic = False
        self.rngs = rngs.fork() if dropout or recurrent_dropout else None

    def params(self) -> Any:
        """The parameters as the tuple that the function takes."""
        values = (getattr(self, name) for name in self.container._fields)
        plain = (
            jax.tree.map(
                lambda v: v[...], value, is_leaf=lambda v: isinstance(v, nnx.Variable)
            )
            for value in values
        )
        return self.container(*plain)

    def run(
        self,
        xs: ArrayLike,
        *,
        initial_state: Any = None,
        lengths: ArrayLike | None = None,
        reverse: bool = False,
    ) -> tuple[Any, jax.Array]:
        """Apply the layer and return the final state too.

        Args:
            xs: `(*batch, T, in_features)`.
            initial_state: the state to begin with, or None for zeros.
            lengths: integers from 0 to T, of shape `batch`, or None.
            reverse: run against the layer's own direction.

        Returns:
            The final state, and the outputs `(*batch, T, units)`.
        """
        noise = {}
        if self.rngs is not None and not self.deterministic:
            noise = {
                "input_keep_prob": 1 - self.dropout,
                "recurrent_keep_prob": 1 - self.recurrent_dropout,
                "dropout_key": self.rngs.dropout(),
            }
        return type(self).function(
            self.params(),
            xs,
            initial_state=initial_state,
            lengths=lengths,
            reverse=reverse != self.go_backwards,
            **noise,
            **dict(self.options),
        )

    def __call__(self, xs: ArrayLike, *, lengths: ArrayLike | None = None) -> jax.Array:
        """Apply the layer.

        Args:
            xs: `(*batch, T, in_features)`.
            lengths: integers from 0 to T, of shape `batch`, or None.

        Returns:
            `(*batch, T, units)`, or with `return_sequences=False` the last output of
            each example, `(*batch, units)`.
        """
        state, ys = self.run(xs, lengths=lengths)
        return ys if self.return_sequences else jax.tree.leaves(state)[0]


class RNN(_Layer):
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


class LSTM(_Layer):
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


class GRU(_Layer):
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

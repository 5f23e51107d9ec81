"""Bidirectional, StackedRNN and ConvLSTM as Flax NNX modules."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike

from jaxnets.functional._bidirectional import bidirectional, stacked
from jaxnets.functional._checks import check_integers
from jaxnets.functional._conv_accuracy import check_accuracy, layer_accuracy
from jaxnets.functional._conv_lstm import conv_lstm_cell
from jaxnets.functional._recurrent import recurrent
from jaxnets.functional._recurrent_init import init_conv_lstm
from jaxnets.functional._recurrent_params import ConvLSTMParams
from jaxnets.functional._shapes import IntOrInts


class Bidirectional(nnx.Module):
    """Two layers, one reading forwards and one backwards.

    Args:
        forward: an `RNN`, `LSTM` or `GRU`.
        backward: the same for the other direction.
        merge: `"concat"`, `"sum"`, `"mul"`, `"ave"`, or None for the pair.

    Example:
        >>> rngs = nnx.Rngs(0)
        >>> from jaxnets.nn import LSTM
        >>> layer = Bidirectional(LSTM(3, 4, rngs=rngs), LSTM(3, 4, rngs=rngs))
        >>> layer(jnp.ones((2, 7, 3))).shape
        (2, 7, 8)

    Source:
        Schuster, Paliwal 1997, "Bidirectional recurrent neural networks".
    """

    def __init__(self, forward: Any, backward: Any, *, merge: str | None = "concat"):
        self.forward, self.backward = forward, backward
        self.merge = merge

    def run(
        self,
        xs: ArrayLike,
        *,
        initial_state: Any = None,
        lengths: ArrayLike | None = None,
    ) -> tuple[Any, Any]:
        """Apply the layer and return the pair of final states too.

        Args:
            xs: `(*batch, T, in_features)`.
            initial_state: a pair of states, or None for zeros.
            lengths: integers from 0 to T, of shape `batch`, or None.

        Returns:
            The pair of final states, and the merged outputs.
        """

        def layer(module, xs, **options):
            return module.run(xs, **options)

        return bidirectional(
            layer,
            (self.forward, self.backward),
            xs,
            merge=self.merge,
            initial_state=initial_state,
            lengths=lengths,
        )

    def __call__(self, xs: ArrayLike, *, lengths: ArrayLike | None = None) -> Any:
        """Apply the layer: `(*batch, T, 2 * units)` for `"concat"`."""
        return self.run(xs, lengths=lengths)[1]


class StackedRNN(nnx.Module):
    """Recurrent layers one upon the other.

    Args:
        layers: `RNN`, `LSTM`, `GRU` or `Bidirectional` modules, the first first.
        dropout: share of the entries dropped between layers.
        residual: whether a layer's inputs are added to its outputs, from the second on.
        rngs: stream `dropout`; needed for `dropout` only.

    Example:
        >>> from jaxnets.nn import GRU
        >>> rngs = nnx.Rngs(0)
        >>> model = StackedRNN([GRU(3, 4, rngs=rngs), GRU(4, 5, rngs=rngs)])
        >>> model(jnp.ones((2, 7, 3))).shape
        (2, 7, 5)

    Source:
        Graves, Mohamed, Hinton 2013, equation 11.
    """

    def __init__(
        self,
        layers: Sequence[Any],
        *,
        dropout: float = 0.0,
        residual: bool = False,
        rngs: nnx.Rngs | None = None,
    ):
        if not layers or (dropout and rngs is None):
            raise ValueError(
                f"StackedRNN: needs a layer, and rngs for dropout; got {len(layers)} "
                f"layers, dropout={dropout}, rngs={rngs}"
            )
        self.layers = nnx.List(layers)
        self.dropout, self.residual = dropout, residual
        self.deterministic = False
        self.rngs = rngs.fork() if rngs is not None and dropout else None

    def run(
        self,
        xs: ArrayLike,
        *,
        initial_state: Any = None,
        lengths: ArrayLike | None = None,
    ) -> tuple[Any, Any]:
        """Apply the layers and return their final states too.

        Args:
            xs: `(*batch, T, in_features)`.
            initial_state: one state a layer, or None for zeros.
            lengths: integers from 0 to T, of shape `batch`, or None.

        Returns:
            The final states, one a layer, and the outputs of the last layer.
        """
        noise = {}
        if self.rngs is not None and not self.deterministic:
            noise = {
                "keep_prob": 1 - self.dropout,
                "dropout_key": self.rngs.dropout(),
            }

        def layer(module, xs, *, dropout_key=None, **options):
            del dropout_key  # a module has random streams of its own
            return module.run(xs, **options)

        return stacked(
            layer,
            list(self.layers),
            xs,
            initial_state=initial_state,
            residual=self.residual,
            lengths=lengths,
            **noise,
        )

    def __call__(self, xs: ArrayLike, *, lengths: ArrayLike | None = None) -> Any:
        """Apply the layers: `(*batch, T, units)` of the last one."""
        return self.run(xs, lengths=lengths)[1]


class ConvLSTM(nnx.Module):
    """An LSTM over sequences of images, signals or volumes, with convolutions.

    Accuracy: `"relaxed"` by default, errors relative to the largest values; see
    `jaxnets.functional.conv_accuracy`.

    Args:
        in_features: channels of an input.
        filters: channels of the state.
        kernel_size: cells of both kernels, one entry a spatial axis; an int is one.
        use_bias: whether there is a bias.
        unit_forget_bias: whether the forget gate's bias begins at 1.
        param_dtype: dtype of the parameters.
        accuracy: as in `jaxnets.functional.conv`; None takes the class that
            `conv_accuracy` set, or else `"relaxed"`.
        rngs: stream `params`.
        **options: further options of `jaxnets.functional.conv_lstm_cell`.

    Example:
        >>> layer = ConvLSTM(3, 4, (3, 3), rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((2, 5, 8, 8, 3))).shape
        (2, 5, 8, 8, 4)

    Source:
        Shi et al. 2015, "Convolutional LSTM network".
    """

    def __init__(
        self,
        in_features: int,
        filters: int,
        kernel_size: IntOrInts,
        *,
        use_bias: bool = True,
        unit_forget_bias: bool = True,
        param_dtype: Any = jnp.float32,
        accuracy: str | None = None,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        if isinstance(kernel_size, int):
            kernel_size = (kernel_size,)
        window = check_integers(
            "ConvLSTM", "kernel_size", kernel_size, length=None, minimum=1
        )
        params = init_conv_lstm(
            rngs.params(),
            in_features,
            filters,
            window,
            use_bias=use_bias,
            unit_forget_bias=unit_forget_bias,
            dtype=param_dtype,
        )
        self.kernel = nnx.Param(params.kernel)
        self.recurrent_kernel = nnx.Param(params.recurrent_kernel)
        self.bias = nnx.data(None if params.bias is None else nnx.Param(params.bias))
        self.accuracy = check_accuracy("ConvLSTM", accuracy)
        self.options = tuple(options.items())

    def run(
        self,
        xs: ArrayLike,
        *,
        initial_state: Any = None,
        lengths: ArrayLike | None = None,
        reverse: bool = False,
    ) -> tuple[Any, jax.Array]:
        """Apply the layer and return the final state too; see `recurrent`."""
        bias = None if self.bias is None else self.bias[...]
        params = ConvLSTMParams(self.kernel[...], self.recurrent_kernel[...], bias)
        accuracy = layer_accuracy(self.accuracy)
        options = dict(self.options)
        cell = partial(conv_lstm_cell, accuracy=accuracy, **options)
        return recurrent(
            cell,
            params,
            xs,
            initial_state=initial_state,
            lengths=lengths,
            reverse=reverse,
        )

    def __call__(self, xs: ArrayLike, *, lengths: ArrayLike | None = None) -> jax.Array:
        """Apply the layer: `(*batch, T, *spatial, filters)`."""
        return self.run(xs, lengths=lengths)[1]

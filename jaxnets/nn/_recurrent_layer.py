"""What RNN, LSTM and GRU share."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx
from jax.typing import ArrayLike


class RecurrentLayer(nnx.Module):
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

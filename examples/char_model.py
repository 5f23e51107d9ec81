"""The network of char_rnn: it remembers between chunks where it was."""

from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from cells import CELLS, is_variable, values
from flax import nnx

from jaxnets import functional as F


class Carry(nnx.Variable):
    """The recurrent state between chunks: model state, not a parameter.

    So it is saved with the model, and gradients end where it enters.
    """


class CharRNN(nnx.Module):
    """One-hot characters, recurrent layers, logits; remembers where it was."""

    def __init__(
        self,
        classes: int,
        *,
        cell: str,
        units: int,
        layers: int,
        batch_size: int,
        rngs: nnx.Rngs,
    ):
        sizes = [classes] + [units] * layers
        stack = [CELLS[cell].init(rngs.params(), *pair) for pair in pairwise(sizes)]
        self.cell, self.classes = cell, classes
        self.layers = nnx.data(jax.tree.map(nnx.Param, stack))
        self.head = nnx.Linear(units, classes, rngs=rngs)
        self.carry = nnx.data(jax.tree.map(Carry, self.start(batch_size)))

    def start(self, batch: int) -> Any:
        """The state before the first character of `batch` texts."""
        h = jnp.zeros((batch, self.head.in_features))
        return [F.LSTMState(h, h) if self.cell == "lstm" else h for _ in self.layers]

    def __call__(self, ids: jax.Array) -> jax.Array:
        """Logits `(batch, length, classes)` of a chunk that goes on from the last."""
        carry, logits = self.read(values(self.carry), ids)
        for variable, value in zip(
            jax.tree.leaves(self.carry, is_leaf=is_variable),
            jax.tree.leaves(carry),
            strict=True,
        ):
            variable[...] = value
        return logits

    def read(self, carry: Any, ids: jax.Array) -> tuple[Any, jax.Array]:
        """The state after some characters `(batch, length)`, and the logits."""
        layer = CELLS[self.cell].layer
        x = jax.nn.one_hot(ids, self.classes)
        carry, h = F.stacked(layer, values(self.layers), x, initial_state=carry)
        return list(carry), self.head(h)


@nnx.jit
def read(model: CharRNN, carry: Any, ids: jax.Array, targets: jax.Array) -> Any:
    """State after a chunk, and the sum of its losses in nats."""
    carry, logits = model.read(carry, ids)
    return carry, F.sequence_cross_entropy(logits, targets).sum()


@partial(nnx.jit, static_argnames="length")
def write(
    key: jax.Array, model: CharRNN, first: jax.Array, temperature: float, *, length: int
) -> jax.Array:
    """Draw `length` characters `(length,)`, each from what the model expects next."""

    def step(state: Any, key: jax.Array) -> Any:
        carry, last = state
        carry, logits = model.read(carry, last[None, None])
        last = jax.random.categorical(key, logits[0, 0] / temperature)
        return (carry, last), last

    keys = jax.random.split(key, length)
    return jax.lax.scan(step, (model.start(1), first), keys)[1]

"""The recurrent networks to choose from, and their parameters in a module."""

from typing import Any, NamedTuple

import jax
from flax import nnx

from jaxnets import functional as F


class Cell(NamedTuple):
    """One kind: how it begins, runs over a sequence, takes a step."""

    init: Any
    layer: Any
    step: Any


CELLS = {
    "rnn": Cell(F.init_rnn, F.rnn, F.rnn_cell),
    "lstm": Cell(F.init_lstm, F.lstm, F.lstm_cell),
    "gru": Cell(F.init_gru, F.gru, F.gru_cell),
}


def is_variable(node: Any) -> bool:
    """Whether this is a variable of NNX."""
    return isinstance(node, nnx.Variable)


def values(tree: Any) -> Any:
    """The arrays of a tree of variables."""
    return jax.tree.map(lambda variable: variable[...], tree, is_leaf=is_variable)

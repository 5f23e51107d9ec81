"""The same recurrent layers elsewhere, with the same weights, as functions to time.

Every function takes `(params, xs, lengths)` and gives the outputs `(B, T, units)`.
`params` are jaxnets's, converted once, so that all results can be compared.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import equinox as eqx
import jax
import jax.numpy as jnp
import keras
import numpy as np
from flax import linen, nnx
from jax import lax

from jaxnets import functional as F

try:
    import torch
except ImportError:
    torch = None

Peer = tuple[Any, Callable]  # parameters, and (parameters, xs, lengths) -> ys

LAYERS = {"rnn": F.rnn, "lstm": F.lstm, "gru": F.gru}
INITS = {"rnn": F.init_rnn, "lstm": F.init_lstm, "gru": F.init_gru}


def ours(kind: str, params: Any, algorithm: str = "auto") -> Peer:
    layer = LAYERS[kind]

    def run(params, xs, lengths):
        return layer(params, xs, lengths=lengths, algorithm=algorithm)[1]

    return params, run


def ours_bidirectional(kind: str, params: Any) -> Peer:
    layer = LAYERS[kind]

    def run(params, xs, lengths):
        return F.bidirectional(layer, params, xs, lengths=lengths)[1]

    return params, run


def flax_nnx(kind: str, sizes: tuple[int, int]) -> Peer:
    cells = {
        "rnn": nnx.SimpleCell,
        "lstm": nnx.OptimizedLSTMCell,
        "gru": nnx.GRUCell,
    }
    rnn = nnx.RNN(cells[kind](*sizes, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(0))
    graph, params, rest = nnx.split(rnn, nnx.Param, ...)

    def run(params, xs, lengths):
        zeros = jnp.zeros((len(xs), sizes[1]), xs.dtype)
        carry = (zeros, zeros) if kind == "lstm" else zeros
        layer = nnx.merge(graph, params, rest)
        return layer(xs, initial_carry=carry, seq_lengths=lengths)

    return params, run


def flax_linen(kind: str, sizes: tuple[int, int]) -> Peer:
    cells = {
        "rnn": linen.SimpleCell,
        "lstm": linen.OptimizedLSTMCell,
        "gru": linen.GRUCell,
    }
    rnn = linen.RNN(cells[kind](sizes[1]))
    params = rnn.init(jax.random.key(0), jnp.zeros((1, 2, sizes[0])))

    def run(params, xs, lengths):
        return rnn.apply(params, xs, seq_lengths=lengths)

    return params, run


def keras_layer(kind: str, sizes: tuple[int, int]) -> Peer:
    makers = {
        "rnn": keras.layers.SimpleRNN,
        "lstm": keras.layers.LSTM,
        "gru": keras.layers.GRU,
    }
    layer = makers[kind](sizes[1], return_sequences=True)
    layer.build((None, None, sizes[0]))
    params = [v.value for v in layer.trainable_variables]
    rest = [v.value for v in layer.non_trainable_variables]

    def run(params, xs, lengths):
        mask = None
        if lengths is not None:
            mask = jnp.arange(xs.shape[1])[None] < lengths[:, None]
        return layer.stateless_call(params, rest, xs, mask=mask)[0]

    return params, run


def equinox_cell(kind: str, sizes: tuple[int, int]) -> Peer | None:
    """Cells are all that Equinox has; the scan is what its documentation shows."""
    makers = {"lstm": eqx.nn.LSTMCell, "gru": eqx.nn.GRUCell}
    if kind not in makers:
        return None
    cell = makers[kind](*sizes, key=jax.random.key(0))
    params, static = eqx.partition(cell, eqx.is_array)

    def run(params, xs, lengths):
        cell = eqx.combine(params, static)

        def one(xs):
            def step(state, x):
                state = cell(x, state)
                return state, state[0] if kind == "lstm" else state

            zeros = jnp.zeros(sizes[1], xs.dtype)
            start = (zeros, zeros) if kind == "lstm" else zeros
            return lax.scan(step, start, xs)[1]

        return jax.vmap(one)(xs)

    return params, run


def jax_peers(kind: str, sizes: tuple[int, int], lengths: bool) -> dict[str, Peer]:
    makers = {
        "Flax NNX": flax_nnx,
        "Flax linen": flax_linen,
        "Keras-JAX": keras_layer,
        "Equinox": equinox_cell,
    }
    if lengths:
        del makers["Equinox"]  # it knows no lengths
    peers = {name: make(kind, sizes) for name, make in makers.items()}
    return {name: peer for name, peer in peers.items() if peer is not None}


def jax_runs(peer: Peer, xs: jax.Array, lengths: Any) -> dict[str, Callable]:
    """Forward pass and training step (sum of squares, gradients of everything)."""
    params, run = peer
    forward = jax.jit(lambda params, xs: run(params, xs, lengths))

    def loss(params, xs):
        return jnp.sum(jnp.square(run(params, xs, lengths)))

    step = jax.jit(jax.value_and_grad(loss, (0, 1), allow_int=True))
    return {
        "forward": partial(forward, params, xs),
        "training": partial(step, params, xs),
    }


def torch_runs(
    kind: str, params: Any, xs: jax.Array, lengths: Any, bidirectional: bool = False
) -> dict[str, Callable]:
    """Torch's layer with our weights, eager as torch users run it."""
    directions = params if bidirectional else (params,)
    units = directions[0].recurrent_kernel.shape[0]
    makers = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
    layer = makers[kind](
        xs.shape[-1], units, batch_first=True, bidirectional=bidirectional
    )
    with torch.no_grad():
        for own, suffix in zip(directions, ("", "_reverse"), strict=False):
            values = {
                "weight_ih": own.kernel.T,
                "weight_hh": own.recurrent_kernel.T,
                "bias_ih": own.bias,
                "bias_hh": jnp.zeros_like(own.bias),
            }
            for name, value in values.items():
                target = getattr(layer, f"{name}_l0{suffix}")
                target.copy_(torch.from_numpy(np.array(value)))
    x = torch.from_numpy(np.array(xs))
    sizes = None if lengths is None else torch.from_numpy(np.array(lengths)).long()

    def run(x):
        if sizes is None:
            return layer(x)[0]
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            x, sizes, batch_first=True, enforce_sorted=False
        )
        return torch.nn.utils.rnn.pad_packed_sequence(
            layer(packed)[0], batch_first=True, total_length=x.shape[1]
        )[0]

    def forward():
        with torch.no_grad():
            return run(x).numpy()

    def training():
        leaf = x.detach().requires_grad_()
        layer.zero_grad()
        loss = run(leaf).square().sum()
        loss.backward()
        return loss.detach().numpy(), leaf.grad.numpy()

    return {"forward": forward, "training": training}

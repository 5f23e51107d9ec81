"""What a mask or a length hides may hold anything, values and gradients alike.

Every masked argument of the library is called with zeros, NaN, infinity and 1e38 in the
hidden part. All results and all gradients must be equal bit by bit, and finite.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnets import functional as F
from jaxnets import nn, train
from jaxnets.train._sources import IterableSource
from tests.train.networks import assert_same_bits, small_trainer

RUBBISH = [np.nan, np.inf, -np.inf, 1e38, -1e38]
LENGTHS = np.asarray([5, 0, 2])
BATCH, T, IN, UNITS = 3, 5, 2, 3


class Masked(NamedTuple):
    """A call with a hidden part.

    Attributes:
        call: `(parameters, x) -> results`, the mask bound.
        parameters: a pytree of floats.
        shape: of x.
        seen: booleans that broadcast to x from the left, False where x is hidden.
    """

    call: Callable[[Any, jax.Array], Any]
    parameters: Any
    shape: tuple[int, ...]
    seen: np.ndarray


SEEN = np.arange(T) < LENGTHS[:, None]


def sequence(layer: Callable, parameters: Any, *features: int, **options: Any):
    """A row for a layer over sequences, lengths bound."""

    def call(parameters, xs):
        return layer(parameters, xs, lengths=jnp.asarray(LENGTHS), **options)

    return Masked(call, parameters, (BATCH, T, *(features or (IN,))), SEEN)


KEY = jax.random.key(0)
RNN, LSTM, GRU = (
    init(KEY, IN, UNITS) for init in (F.init_rnn, F.init_lstm, F.init_gru)
)
SQUARE = F.init_gru(KEY, UNITS, UNITS)
NORMED = F.init_lstm(KEY, IN, UNITS, layer_norm=True)
MGU = F.init_mgu(KEY, IN, UNITS)
CONV = F.init_conv_lstm(KEY, IN, UNITS, (3,))
LAYERS = {"rnn": (F.rnn, RNN), "lstm": (F.lstm, LSTM), "gru": (F.gru, GRU)}

CASES = {
    f"{name} {algorithm} {'backward' if reverse else 'forward'}": sequence(
        layer, parameters, algorithm=algorithm, reverse=reverse
    )
    for name, (layer, parameters) in LAYERS.items()
    for algorithm in ("fused", "scan")
    for reverse in (False, True)
}


def module(make: Callable[[nnx.Rngs], nnx.Module], *features: int) -> Masked:
    """A row for a module over sequences."""
    graph, parameters = nnx.split(make(nnx.Rngs(0)), nnx.Param)

    def layer(parameters, xs, lengths):
        return nnx.merge(graph, parameters)(xs, lengths=lengths)

    return sequence(layer, parameters, *features)


CASES |= {
    "relu": sequence(F.rnn, RNN, activation=jax.nn.relu),
    "layer norm": sequence(F.lstm, NORMED),
    "remat": sequence(F.lstm, LSTM, remat_every=2),
    "dropout": sequence(
        F.gru, GRU, input_keep_prob=0.5, recurrent_keep_prob=0.5, dropout_key=KEY
    ),
    "zoneout": sequence(F.gru, GRU, zoneout=0.5, dropout_key=KEY),
    "bidirectional": sequence(partial(F.bidirectional, F.gru), (GRU, GRU)),
    "stacked": sequence(partial(F.stacked, F.gru), [GRU, SQUARE], residual=True),
    "truncated_bptt": sequence(partial(F.truncated_bptt, F.lstm), LSTM, steps=2),
    "recurrent": sequence(partial(F.recurrent, F.mgu_cell), MGU),
    "recurrent backward": sequence(
        partial(F.recurrent, F.lstm_cell), LSTM, reverse=True, remat_every=2
    ),
    "conv_lstm": sequence(partial(F.recurrent, F.conv_lstm_cell), CONV, 4, IN),
    "nn.LSTM": module(lambda rngs: nn.LSTM(IN, UNITS, rngs=rngs)),
    "nn.Bidirectional": module(
        lambda rngs: nn.StackedRNN(
            [
                nn.Bidirectional(*(nn.GRU(IN, UNITS, rngs=rngs) for _ in range(2))),
                nn.RNN(2 * UNITS, UNITS, go_backwards=True, rngs=rngs),
            ]
        )
    ),
    "nn.ConvLSTM": module(lambda rngs: nn.ConvLSTM(IN, UNITS, (3,), rngs=rngs), 4, IN),
}

IMAGE = (3, 4, 4, 2)
ROWS = np.asarray([True, False, True]).reshape(3, 1, 1, 1)
PIXELS = np.arange(96).reshape(IMAGE)[..., :1] % 5 > 0
AFFINE = (np.float32([0.5, 2.0]), np.float32([0.1, -0.3]))


def batch_norm(mask: np.ndarray, **options: Any) -> Masked:
    """A row for batch_norm: y and the new statistics."""
    stats = F.BatchStats(jnp.zeros(2), jnp.ones(2))

    def call(affine, x):
        return F.batch_norm(x, *affine, stats, mask=jnp.asarray(mask), **options)

    return Masked(call, AFFINE, IMAGE, np.broadcast_to(mask, IMAGE))


def entropy(mask: np.ndarray) -> Masked:
    """A row for sequence_cross_entropy, weights in place of a mask of booleans."""
    targets = np.where(mask, np.arange(T) % 4, -100)

    def call(weights, logits):
        loss = F.sequence_cross_entropy(
            logits, jnp.asarray(targets), mask=weights * mask
        )
        return loss, F.perplexity(loss, mask.sum())

    weights = np.linspace(0.5, 2, mask.size).reshape(mask.shape).astype(np.float32)
    return Masked(call, weights, (BATCH, T, 4), mask)


def mean_of(x: jax.Array, mask: jax.Array) -> jax.Array:
    return train.mean(x, mask).total


KERNEL = np.arange(18).reshape(3, 3, 1, 2) % 4 > 0


def masked_kernel(layer: type) -> Masked:
    """A row for the kernel's mask of a convolution: x is the kernel."""

    def call(image, kernel):
        made = layer(1, 2, (3, 3), mask=KERNEL.astype(np.float32), rngs=nnx.Rngs(0))
        made.kernel[...] = kernel
        return made(image)

    return Masked(call, jnp.ones((1, 5, 5, 1)), KERNEL.shape, KERNEL)


CASES |= {
    "batch_norm rows": batch_norm(ROWS, training=True),
    "batch_norm pixels": batch_norm(PIXELS, training=True, unbiased=True),
    "batch_norm evaluation": batch_norm(ROWS, training=False),
    "batch_norm nothing": batch_norm(ROWS & False, training=True),
    "sequence_cross_entropy": entropy(SEEN),
    "mean": Masked(
        lambda scale, x: mean_of(x, scale * ROWS.reshape(3)),
        jnp.ones(()),
        (3, 4),
        ROWS.reshape(3),
    ),
    "nn.Conv(mask=)": masked_kernel(nn.Conv),
    "nn.ConvTranspose(mask=)": masked_kernel(nn.ConvTranspose),
}


@pytest.mark.parametrize("name", CASES)
def test_hidden_entries_may_hold_anything(name):
    case = CASES[name]
    rng = np.random.default_rng(0)
    x = rng.normal(size=case.shape).astype(np.float32)
    seen = case.seen.reshape(*case.seen.shape, *(1,) * (x.ndim - case.seen.ndim))

    @jax.jit
    def everything(parameters, x):
        def loss(parameters, x):
            results = case.call(parameters, x)
            leaves = jax.tree.leaves(results)
            return sum(jnp.sum(jnp.sin(leaf)) for leaf in leaves), results

        (_, results), gradients = jax.value_and_grad(loss, (0, 1), has_aux=True)(
            parameters, x
        )
        tangents = jax.tree.map(jnp.ones_like, (parameters, x))
        return results, gradients, jax.jvp(case.call, (parameters, x), tangents)[1]

    want = everything(case.parameters, np.where(seen, x, np.float32(0)))
    for leaf in jax.tree.leaves(want):
        assert np.isfinite(leaf).all()
    # Nothing flows back to what is hidden, and something to what is not.
    to_x = np.asarray(want[1][1])
    assert not np.where(seen, 0, to_x).any()
    assert to_x.any() or not case.seen.any()
    for rubbish in RUBBISH:
        got = everything(case.parameters, np.where(seen, x, np.float32(rubbish)))
        for one, other in zip(*map(jax.tree.leaves, (got, want)), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_confusion_matrix_counts_no_hidden_row():
    metric, mask = train.ConfusionMatrix(3), np.float32([1, 0, 1, 0])
    logits = np.float32([[3, 1, 2], [0, 0, 0], [0, 1, 5], [0, 0, 0]])
    labels = np.asarray([0, 0, 1, 0])
    want = np.asarray([[1, 0, 0], [0, 0, 1], [0, 0, 0]])
    for rubbish, label in zip(RUBBISH, (-1, 3, -100, 255, 2**31 - 1), strict=True):
        logits[1::2], labels[1::2] = rubbish, label
        counts = metric.update(logits, labels.astype(np.int32), mask)
        np.testing.assert_array_equal(counts, want)


@pytest.mark.parametrize("hidden", ["some", "all"])
def test_masked_rows_of_an_iterable_may_hold_anything(hidden):
    """Features, labels and weights; batch statistics see rows that count instead."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 4)).astype(np.float32), rng.integers(0, 3, 6)
    mask = np.float32([1, 0, 1, 1, 0, 1] if hidden == "some" else [0] * 6)
    weight = rng.uniform(0.5, 2, 6).astype(np.float32)

    def fitted(rubbish, label):
        hide = mask == 0
        first = np.where(hide[:, None], np.float32(rubbish), x)
        second = np.where(hide, label, y), np.where(hide, np.float32(rubbish), weight)
        trainer = small_trainer()
        batches = [((x, y, weight), np.ones(6, np.float32)), ((first, *second), mask)]
        history = trainer.fit(batches[: 1 if hidden == "all" else 2])
        measured = trainer.evaluate(batches)
        return trainer.state, *jax.tree.map(np.asarray, (history["loss"], measured))

    want = fitted(0, 0)
    assert np.isfinite(want[1]).all()
    for rubbish in RUBBISH:
        assert_same_bits(fitted(rubbish, -100), want)
    if hidden == "some":
        # The rows that count in turn are what stands in the others.
        rows = [0, 2, 2, 3, 0, 5]
        stand_in = next(IterableSource([((x, y), mask)]).batches(0, 0))
        np.testing.assert_array_equal(stand_in.x, x[rows])
        np.testing.assert_array_equal(stand_in.y, y[rows])

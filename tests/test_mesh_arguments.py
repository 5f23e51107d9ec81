"""What accompanies a batch takes the layout of the batch, whatever its own is."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxnets import functional as F
from jaxnets import nn, train
from tests.case_kinds import Case
from tests.case_laws import over_cases, plain, result_and_gradient
from tests.cases import CASES
from tests.helpers import assert_close

AXIS_TYPES = pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
WHOLE, CUT = PartitionSpec(), PartitionSpec("batch")


def mesh_of_four(axis_type):
    return jax.make_mesh((4,), ("batch",), axis_types=(axis_type,))


def put(tree, spec):
    """The arrays on the mesh that is set, cut or copied to every device."""
    mesh = jax.sharding.get_mesh()
    return jax.device_put(tree, NamedSharding(mesh, spec))


@AXIS_TYPES
@over_cases(costly=True, cases=[case for case in CASES if len(case.batched) > 1])
def test_one_argument_is_cut_alone(case: Case, axis_type):
    """The others are constants, or copied to every device."""
    arguments = case.draw(0)

    @partial(jax.jit, static_argnums=0)
    def both(position, cut, whole):
        def result(others):
            full = (*others[:position], cut, *others[position + 1 :])
            return result_and_gradient(case, full)

        return result(arguments), result(whole)

    expected = plain(case)
    with jax.set_mesh(mesh_of_four(axis_type)):
        whole = put(arguments, WHOLE)
        for position in case.batched:
            actual = both(position, put(arguments[position], CUT), whole)
            assert_close(actual, (expected, expected), reduction=256)


def layer(name: str, **options):
    """A layer of a sequence as a function of it, lengths, a state and a key."""
    params = getattr(F, f"init_{name}")(jax.random.key(0), 2, 3)

    def call(xs, lengths, h, key):
        state = F.LSTMState(h, h) if name == "lstm" else h
        keys = {"dropout_key": key} if "input_keep_prob" in options else {}
        return getattr(F, name)(
            params, xs, lengths=lengths, initial_state=state, **keys, **options
        )

    return call


NOISE = {"input_keep_prob": 0.5, "recurrent_keep_prob": 0.5}
GRU = F.init_gru(jax.random.key(0), 2, 3), F.init_gru(jax.random.key(1), 3, 3)
SEQUENCES = {
    **{
        f"{name}-{label}": layer(name, **options)
        for name in ("rnn", "lstm", "gru")
        for label, options in {
            "scan": {"algorithm": "scan", "reverse": True},
            "fused": {"algorithm": "fused"},
            "noise": NOISE,
        }.items()
    },
    "zoneout": layer("gru", zoneout=0.3, **NOISE),
    "remat": layer("gru", remat_every=2),
    "recurrent": lambda xs, lengths, h, key: F.recurrent(
        F.gru_cell, GRU[0], xs, lengths=lengths, initial_state=h
    ),
    "truncated_bptt": lambda xs, lengths, h, key: F.truncated_bptt(
        F.gru, GRU[0], xs, steps=2, lengths=lengths, initial_state=h
    ),
    "bidirectional": lambda xs, lengths, h, key: F.bidirectional(
        F.gru, (GRU[0],) * 2, xs, lengths=lengths, initial_state=(h, h)
    ),
    "stacked": lambda xs, lengths, h, key: F.stacked(
        F.gru,
        GRU,
        xs,
        lengths=lengths,
        initial_state=(h, h),
        keep_prob=0.5,
        dropout_key=key,
    ),
}


def module_of_sequences(make):
    model = make(nnx.Rngs(0))
    return lambda xs, lengths, h, key: model(xs, lengths=lengths)


MODULES = {
    "RNN": lambda rngs: nn.RNN(2, 3, rngs=rngs),
    "LSTM": lambda rngs: nn.LSTM(2, 3, rngs=rngs),
    "Bidirectional": lambda rngs: nn.Bidirectional(
        nn.GRU(2, 3, rngs=rngs), nn.GRU(2, 3, rngs=rngs)
    ),
    "StackedRNN": lambda rngs: nn.StackedRNN(
        [nn.GRU(2, 3, rngs=rngs), nn.GRU(3, 2, rngs=rngs)]
    ),
}


def statistics(x, mask, mean, axis):
    stats = F.BatchStats(mean, jnp.exp(mean))
    return F.batch_norm(x, mean, mean, stats, training=True, mask=mask, axis=axis)


def evaluated(x, mean):
    stats = F.BatchStats(mean, jnp.exp(mean))
    return F.batch_norm(x, None, None, stats, training=False, axis=0)


def draws():
    """Names, functions of a batch of 8 and what accompanies it, and their arguments."""
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    lengths = np.asarray([3, 0, 2, 1, 3, 3, 1, 2], np.int32)
    sequence = normal(8, 3, 2), (lengths, normal(8, 3), jax.random.key(3))
    classes = rng.integers(0, 6, (8, 5)).astype(np.int32)
    counted, rows = rng.random((8, 5)) > 0.3, rng.random(8) > 0.3
    mask = rng.random((8, 6, 4)) > 0.4
    batch_norm = partial(statistics, axis=-1), partial(statistics, axis=(0, -1))
    cross_entropy = F.sequence_cross_entropy
    return {
        **{name: (call, *sequence) for name, call in SEQUENCES.items()},
        **{
            name: (module_of_sequences(make), *sequence)
            for name, make in MODULES.items()
        },
        "batch_norm": (batch_norm[0], normal(8, 6, 4), (mask, normal(4))),
        "batch_norm-rows": (
            batch_norm[0],
            normal(8, 6, 4),
            (mask[:, :1, :1], normal(4)),
        ),
        "batch_norm-batch": (batch_norm[1], normal(8, 6, 4), (mask, normal(8, 4))),
        "batch_norm-evaluated": (evaluated, normal(8, 6), (normal(8),)),
        "sequence_cross_entropy": (
            lambda x, targets, mask: cross_entropy(x, targets, mask=mask),
            normal(8, 5, 6),
            (classes, counted.astype(np.float32)),
        ),
        "perplexity": (F.perplexity, normal(8) ** 2, (lengths + 1,)),
        "mean": (
            lambda values, mask: tuple(train.mean(values, mask)),
            normal(8, 3),
            (rows.astype(np.float32),),
        ),
        "accuracy": (train.accuracy, normal(8, 6), (classes[:, 0],)),
        "top_k": (train.top_k(2), normal(8, 6), (classes[:, 0],)),
        "confusion": (
            train.ConfusionMatrix(6).update,
            normal(8, 5, 6),
            (classes, rows.astype(np.float32)),
        ),
        "max_unpool": (
            lambda y, places: F.max_unpool(y, places, (6,)),
            normal(8, 3, 2),
            (np.tile(np.asarray([[0, 1], [2, 3], [4, 5]]), (8, 1, 1)),),
        ),
        "grid_sample": (F.grid_sample, normal(8, 4, 5, 2), (normal(1, 3, 2, 2),)),
        "spatial_transform": (
            F.spatial_transform,
            normal(8, 4, 5, 2),
            (np.eye(2, 3, dtype=np.float32) + 0.1 * normal(8, 2, 3),),
        ),
    }


DRAWS = draws()


def values_and_slopes(call, x, others):
    """The result, and the gradient to the batch where there is one."""

    def total(x):
        leaves = jax.tree.leaves(call(x, *others))
        return sum(jnp.sum(jnp.sin(a.astype(jnp.float32))) for a in leaves)

    return call(x, *others), jax.grad(total)(x)


@AXIS_TYPES
@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWS)
def test_what_accompanies_a_batch_that_is_cut(name, axis_type):
    call, x, others = DRAWS[name]
    expected = jax.jit(partial(values_and_slopes, call))(x, others)
    with jax.set_mesh(mesh_of_four(axis_type)):
        cut, whole = put(x, CUT), put(others, WHOLE)
        constants = jax.jit(lambda x: values_and_slopes(call, x, others))(cut)
        copies = jax.jit(partial(values_and_slopes, call))(cut, whole)
        eager = call(cut, *others)
    assert_close(constants, expected, reduction=256)
    assert_close(copies, expected, reduction=256)
    assert_close(eager, expected[0], reduction=256)


@AXIS_TYPES
@pytest.mark.parametrize("name", ["gru-fused", "batch_norm", "sequence_cross_entropy"])
def test_what_is_cut_accompanies_a_batch_that_is_not(name, axis_type):
    call, x, others = DRAWS[name]
    expected = jax.jit(call)(x, *others)
    with jax.set_mesh(mesh_of_four(axis_type)):
        cut = [put(a, CUT) if np.ndim(a) and len(a) == 8 else a for a in others]
        assert_close(jax.jit(call)(put(x, WHOLE), *cut), expected, reduction=256)


def test_running_statistics_keep_their_layout():
    """They are carried from step to step, so their type must not change."""
    x = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)

    @jax.jit
    def update(x, stats):
        return F.batch_norm(x, None, None, stats, training=True, momentum=0.0)[1]

    with jax.set_mesh(mesh_of_four(AxisType.Explicit)):
        old = put(F.BatchStats(np.zeros(4, np.float32), np.ones(4, np.float32)), CUT)
        new = update(put(x, CUT), old)
        assert jax.tree.map(jax.typeof, new) == jax.tree.map(jax.typeof, old)
    assert_close(new, F.BatchStats(x.mean(0), x.var(0)), reduction=8)

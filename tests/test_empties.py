"""Size 0 along every axis that may be empty: values, gradients, jit and vmap.

Each array of each row of `tests/cases.py` is emptied along each of its axes, alone and
together with an axis of another array of the same size. A call that is refused must
raise a `ValueError` or `TypeError`. The others are held to two oracles:

- a result without entries has a gradient of 0 to every argument;
- else the sums over nothing are 0, so result and gradients are those of the arguments
  in full size with zeros in the entries that were removed.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from jaxnets import functional as F
from jaxnets import models
from tests.case_kinds import Case
from tests.case_laws import over_cases, result_and_gradient
from tests.cases import CASES
from tests.helpers import assert_close

Emptied = tuple[tuple[int, int], ...]  # (leaf, axis) of the arguments

# Rows that are not sums over an axis: what an empty one gives is tested elsewhere.
NOT_SUMS = {
    "functional.sequence_cross_entropy": "the loss of a step is not that of zeros",
    "functional.perplexity": "NaN, the mean of no steps",
    "functional.bits_per_character": "NaN, the mean of no steps",
    "functional.batch_norm": "statistics of no elements are left as they were",
    "functional.orthogonal": "the number of rows and columns counts",
    **dict.fromkeys(
        (
            "functional.rnn functional.lstm functional.gru functional.recurrent "
            "functional.bidirectional functional.stacked functional.rnn_cell "
            "functional.lstm_cell functional.gru_cell functional.mgu_cell "
            "functional.conv_lstm_cell"
        ).split(),
        "the state after no steps is the initial one",
    ),
}


def parts(case: Case):
    """Leaves of the arguments, their tree, and the leaves of batched arguments."""
    arguments = case.draw(0)
    leaves, tree = jax.tree.flatten(arguments)
    batched, count = [], 0
    for position, argument in enumerate(arguments):
        here = len(jax.tree.leaves(argument))
        batched += range(count, count + here) if position in case.batched else []
        count += here
    return leaves, tree, batched


def with_entries(case: Case, where: Emptied, *, zeros: bool) -> tuple:
    """The arguments without the entries along these axes, or with zeros there."""
    leaves, tree, _ = parts(case)
    for leaf, axis in where:
        array = np.asarray(leaves[leaf])
        array = np.zeros_like(array) if zeros else np.take(array, [], axis)
        leaves[leaf] = jnp.asarray(array)
    return jax.tree.unflatten(tree, leaves)


def batch_of(case: Case) -> Emptied:
    return tuple((leaf, 0) for leaf in parts(case)[2])


def axes_of(case: Case) -> list[Emptied]:
    """All single axes of arrays of the case, and pairs of equal size."""
    leaves, _, batched = parts(case)
    if case.name.startswith("nn."):
        # The sizes of parameters are those that the layer was made with.
        places = [(i, axis) for i in batched for axis in range(leaves[i].ndim)]
    else:
        places = [
            (i, axis)
            for i, leaf in enumerate(leaves)
            if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
            for axis in range(leaf.ndim)
        ]
    pairs = [
        (a, b)
        for a, b in itertools.combinations(places, 2)
        if a[0] != b[0] and leaves[a[0]].shape[a[1]] == leaves[b[0]].shape[b[1]]
    ]
    return [(place,) for place in places] + pairs


def accepted(case: Case, arguments: tuple) -> bool:
    """Whether the case takes these; anything but a clear refusal is raised on."""
    try:
        jax.eval_shape(case.call, *arguments)
        case.call(*arguments)  # Lengths are checked where their values are known.
    except (ValueError, TypeError):
        return False
    return True


def check(case: Case, where: Emptied) -> None:
    """The law for one set of emptied axes."""
    arguments = with_entries(case, where, zeros=False)
    both = functools.partial(result_and_gradient, case)

    @jax.jit
    def one_and_mapped(arguments):
        two = jax.tree.map(lambda a: jnp.stack([a, a]), arguments)
        return both(arguments), jax.vmap(lambda *a: both(a))(*two)

    (result, gradient), mapped = one_and_mapped(arguments)
    assert_close(case.call(*arguments), result, reduction=64)
    twice = jax.tree.map(lambda a: jnp.stack([a, a]), (result, gradient))
    assert_close(mapped, twice, reduction=64)
    for got, argument in zip(
        gradient, (arguments[i] for i in case.smooth), strict=True
    ):
        shapes = [jax.tree.map(jnp.shape, tree) for tree in (got, argument)]
        assert shapes[0] == shapes[1]
    sizes = [leaf.size for leaf in jax.tree.leaves(result)]
    if not any(sizes):
        assert not any(np.asarray(g).any() for g in jax.tree.leaves(gradient))
    elif case.name not in NOT_SUMS and all(sizes):
        full = jax.jit(both)(with_entries(case, where, zeros=True))
        assert_close(result, full[0], reduction=64)
        for got, want in zip(*map(jax.tree.leaves, (gradient, full[1])), strict=True):
            if got.shape == want.shape:
                assert_close(got, want, reduction=64)


@over_cases(costly=True)
def test_an_empty_batch(case: Case):
    """Every function and module of a batch takes an empty one."""
    if not case.batched:
        pytest.skip(f"{case.name} has no batch")
    check(case, batch_of(case))


@over_cases(costly=True)
def test_other_empty_axes_are_right_or_refused(case: Case):
    for where in axes_of(case):
        if set(where) == set(batch_of(case)):
            continue
        if accepted(case, with_entries(case, where, zeros=False)):
            check(case, where)


@over_cases(costly=True)
def test_vmap_over_nothing(case: Case):
    """A mapped axis of size 0 gives the shapes of one result with a 0 in front."""
    if case.name == "functional.conv_matrix":
        pytest.skip("jax.experimental.sparse does not map its products over nothing")
    arguments = case.draw(0)
    nothing = jax.tree.map(lambda a: jnp.stack([a])[:0], arguments)
    mapped = jax.jit(jax.vmap(lambda *a: result_and_gradient(case, a)))(*nothing)
    one = jax.eval_shape(lambda *a: result_and_gradient(case, a), *arguments)
    for got, want in zip(*map(jax.tree.leaves, (mapped, one)), strict=True):
        assert got.shape == (0, *want.shape)
        assert got.dtype == want.dtype


def test_the_convolution_of_an_empty_axis_is_that_of_lax():
    """No positions, where a window does not fit into the padding alone."""
    kernel, layout = jnp.ones((3, 2, 3, 4)), ("NHWC", "HWIO", "NHWC")
    for sizes, padding in itertools.product(
        ((0, 5), (5, 0), (0, 0)), ("SAME", "VALID", ((1, 1), (0, 1)), ((2, 2), (1, 1)))
    ):
        if padding == "VALID" and 5 not in sizes:
            continue
        x = jnp.zeros((2, *sizes, 3))
        expected = lax.conv_general_dilated(
            x, kernel, (2, 1), padding, dimension_numbers=layout
        )
        options = {"strides": (2, 1), "padding": padding}
        assert_close(F.conv(x, kernel, **options), expected)
        assert F.conv_output_shape(x.shape, kernel.shape, **options) == expected.shape
        gradient = jax.grad(lambda k, x=x, o=options: F.conv(x, k, **o).sum())(kernel)
        assert_close(gradient, np.zeros(kernel.shape, np.float32))


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_the_pools_of_an_empty_axis_are_those_of_lax(padding):
    x = jnp.zeros((2, 0, 5, 3))
    expected = lax.reduce_window(
        x, 0.0, lax.add, (1, 2, 3, 1), (1, 1, 2, 1), padding
    ).shape
    assert expected == (2, 0, 3 if padding == "SAME" else 2, 3)
    for pool in (F.max_pool, F.min_pool, F.sum_pool, F.avg_pool, F.pool):
        y = pool(x, (2, 3), strides=(1, 2), padding=padding)
        assert y.shape == expected
    y = F.lp_pool(x, (2, 3), p=2, strides=(1, 2), padding=padding)
    assert y.shape == expected
    y = F.pool(x, (2, 3), pooling_type=jnp.median, strides=(1, 2), padding=padding)
    assert y.shape == expected
    patches = F.unfold(x, (2, 3), strides=(1, 2), padding=padding)
    assert patches.shape == (*expected[:-1], 2, 3, 3)
    back = F.fold(patches, (0, 5), strides=(1, 2), padding=padding)
    assert back.shape == x.shape


MODELS = {
    "alexnet": (0, 64, 64, 3),
    "vgg11": (0, 32, 32, 3),
    "resnet18": (0, 32, 32, 3),
    "googlenet": (0, 64, 64, 3),
    "lenet5": (0, 32, 32, 1),
    "lenet5_modern": (0, 28, 28, 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_an_empty_batch_through_a_network(name):
    """Logits without rows, and a gradient of 0 to every parameter."""
    model = nnx.eval_shape(lambda: models.create(name, rngs=nnx.Rngs(0)))
    model.eval()
    graph, state = nnx.split(model)
    parameters = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), state)

    def loss(parameters, x):
        return nnx.merge(graph, parameters)(x).sum()

    x = jnp.zeros(MODELS[name])
    gradient = jax.jit(jax.grad(loss, allow_int=True))(parameters, x)
    for leaf in jax.tree.leaves(gradient):
        if leaf.dtype != jax.dtypes.float0:
            assert not np.asarray(leaf).any()


def test_the_names_of_rows_that_are_no_sums_exist():
    assert set(NOT_SUMS) <= {case.name for case in CASES}

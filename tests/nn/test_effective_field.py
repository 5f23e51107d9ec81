"""The effective receptive field: closed forms of linear networks, and bounds."""

from itertools import accumulate, repeat

import jax
import numpy as np
import pytest
from flax import nnx

from jaxnets import nn

KEY = jax.random.key(0)


def ones(window, **options):
    init = nnx.initializers.ones
    return nn.Conv(1, 1, window, kernel_init=init, rngs=nnx.Rngs(0), **options)


@pytest.mark.parametrize("depth", [3, 8])
def test_equal_windows_give_the_binomial_shape(depth):
    """Windows of three ones, n of them: the trinomials, of deviation √(2n / 3)."""
    field = nn.effective_receptive_field(KEY, [ones((3,))] * depth, (41, 1), draws=1)
    *_, wanted = accumulate(repeat([1.0] * 3, depth), np.convolve)
    around = (41 - len(wanted)) // 2
    np.testing.assert_allclose(
        field, np.pad(wanted / max(wanted), around), rtol=1e-5, atol=1e-7
    )
    places = np.arange(41) - 20
    deviation = np.sqrt(np.sum(field * places**2) / field.sum())
    np.testing.assert_allclose(deviation, np.sqrt(2 * depth / 3), rtol=1e-5)


def test_the_root_mean_square_over_inputs_and_channels():
    """The gradient of y = Σ_c x_c² is 2x, whose mean square is the same everywhere."""
    field = nn.effective_receptive_field(
        KEY,
        lambda x: (x**2).sum((1, 2, 3), keepdims=True),
        (3, 4, 5),
        draws=2000,
        batch_size=1000,
    )
    assert field.shape == (3, 4)
    np.testing.assert_allclose(field, np.ones((3, 4)), atol=0.08)


@pytest.mark.slow
def test_it_lies_in_the_theoretical_field_of_the_unit_and_nowhere_else():
    rngs = nnx.Rngs(0)
    layers = [
        nn.Conv(2, 4, (3, 3), activation=jax.nn.relu, rngs=rngs),
        nn.MaxPool((2, 2)),
        nn.Conv(4, 2, (3, 3), rngs=rngs),
    ]
    theoretical = nn.receptive_field(layers, (20, 24, 2))
    for place in (None, (7, 2)):
        field = nn.effective_receptive_field(
            KEY, layers, (20, 24, 2), draws=16, position=place
        )
        cells = theoretical.cells(place or (5, 6))
        where = np.argwhere(field > 0)
        ends = np.stack([where.min(axis=0), where.max(axis=0)], axis=-1)
        assert ends.tolist() == [list(pair) for pair in cells]
        assert field.max() == 1


def test_it_measures_the_network_in_evaluation_mode_and_leaves_it_alone():
    rngs = nnx.Rngs(0)
    norm, dropout = nnx.BatchNorm(1, rngs=rngs), nnx.Dropout(0.9, rngs=rngs)
    model = nnx.Sequential(ones((3,)), norm, dropout)
    before = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat)))
    field = nn.effective_receptive_field(KEY, model, (7, 1), draws=4)
    assert np.flatnonzero(field).tolist() == [2, 3, 4]
    after = nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))
    jax.tree.map(np.testing.assert_array_equal, before, after)
    assert not model.layers[2].deterministic


def test_nothing_where_nothing_depends_on_the_input():
    field = nn.effective_receptive_field(KEY, lambda x: 0 * x, (5, 1), draws=1)
    assert field.tolist() == [0.0] * 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": 0}, "draws must be at least 1"),
        ({"position": (9,)}, r"position must be one of the output's \(9,\) cells"),
        ({"position": (1, 1)}, r"output's \(9,\) cells; got \(1, 1\)"),
    ],
)
def test_messages(options, message):
    with pytest.raises(ValueError, match=message):
        nn.effective_receptive_field(KEY, [ones((3,))], (9, 1), **options)

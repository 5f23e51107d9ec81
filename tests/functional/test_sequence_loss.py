import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnets.functional import (
    bits_per_character,
    perplexity,
    sequence_cross_entropy,
)
from tests.helpers import assert_close


def by_hand(logits, targets, mask):
    """The formula, one step at a time, in float64."""
    loss = np.zeros(logits.shape[0])
    for b, t in np.ndindex(*targets.shape):
        if mask[b, t]:
            p = np.exp(logits[b, t].astype(np.float64))
            loss[b] -= mask[b, t] * np.log(p[targets[b, t]] / p.sum())
    return loss


@pytest.mark.parametrize("kind", [bool, np.int32, np.float32, None])
def test_is_the_formula(rng, kind):
    logits = rng.normal(size=(3, 5, 4)).astype(np.float32)
    targets = rng.integers(0, 4, (3, 5))
    mask = rng.integers(0, 3, (3, 5)).astype(kind or np.int32)
    if kind is None:
        mask = np.ones((3, 5), int)
    got = sequence_cross_entropy(logits, targets, mask=None if kind is None else mask)
    assert_close(got, by_hand(logits, targets, mask), dtype="float32")


def test_is_what_optax_sums(rng):
    logits = 30 * rng.normal(size=(3, 5, 4)).astype(np.float32)
    targets = rng.integers(0, 4, (3, 5)).astype(np.uint8)
    expected = optax.softmax_cross_entropy_with_integer_labels(
        jnp.asarray(logits), jnp.asarray(targets)
    )
    assert_close(sequence_cross_entropy(logits, targets), expected.sum(-1), reduction=5)
    one = sequence_cross_entropy(logits[0], targets[0])
    assert_close(one, expected[0].sum(), reduction=5)


def test_what_is_masked_out_has_no_part(rng):
    """Neither in the value nor in the gradient, whatever stands there."""
    logits = rng.normal(size=(2, 4, 3)).astype(np.float32)
    targets = rng.integers(0, 3, (2, 4))
    mask = np.array([[1, 1, 0, 0], [1, 0, 0, 0]])
    dirty = np.where(mask[..., None], logits, np.nan).astype(np.float32)
    dirty[0, 3] = np.inf

    def loss(logits, targets):
        return sequence_cross_entropy(logits, targets, mask=mask).sum()

    value, gradient = jax.value_and_grad(loss)(dirty, np.where(mask, targets, -100))
    clean, expected = jax.value_and_grad(loss)(logits, targets)
    assert_close(value, clean)
    assert_close(gradient, expected)
    np.testing.assert_array_equal(np.asarray(gradient)[mask == 0], 0)


def test_a_target_out_of_range_is_nan():
    logits = np.zeros((3, 2, 4), np.float32)
    targets = np.array([[0, 4], [-1, 0], [3, 0]])
    got = sequence_cross_entropy(logits, targets)
    assert np.isnan(got).tolist() == [True, True, False]


def test_perplexity_and_bits_weigh_steps_alike(rng):
    """A batch of sequences of different lengths is one long sequence."""
    logits = rng.normal(size=(3, 5, 4)).astype(np.float32)
    targets, lengths = rng.integers(0, 4, (3, 5)), np.array([5, 2, 0])
    mask = np.arange(5) < lengths[:, None]
    loss = sequence_cross_entropy(logits, targets, mask=mask)
    nats = by_hand(logits, targets, mask).sum() / 7
    assert_close(perplexity(loss, lengths), np.exp(nats), dtype="float32")
    bits = nats / np.log(2)
    assert_close(bits_per_character(loss, lengths), bits, dtype="float32")
    assert_close(bits_per_character(loss, 7), bits, dtype="float32")
    # No knowledge: as many classes as there are.
    loss = sequence_cross_entropy(np.zeros((2, 3, 8), np.float32), np.ones((2, 3), int))
    assert_close(perplexity(loss, np.array([3, 3])), np.array(8.0), dtype="float32")
    assert_close(bits_per_character(loss, 6), np.array(3.0), dtype="float32")


def test_errors():
    logits, targets = jnp.zeros((2, 3, 4)), jnp.zeros((2, 3), int)
    name = "sequence_cross_entropy"
    with pytest.raises(TypeError, match=f"{name}: logits must be floating; got int32"):
        sequence_cross_entropy(logits.astype(int), targets)
    with pytest.raises(TypeError, match=f"{name}: targets must be integers; got float"):
        sequence_cross_entropy(logits, logits)
    with pytest.raises(ValueError, match=f"{name}: logits must have at least 2 axes"):
        sequence_cross_entropy(logits[0, 0], targets[0, 0])
    with pytest.raises(ValueError, match=rf"{name}: targets must have shape \(2, 3\)"):
        sequence_cross_entropy(logits, targets.T)
    with pytest.raises(ValueError, match=rf"{name}: mask must have shape \(2, 3\)"):
        sequence_cross_entropy(logits, targets, mask=jnp.ones(2))
    for function in (perplexity, bits_per_character):
        name = function.__name__
        with pytest.raises(TypeError, match=f"{name}: loss must be floating; got int"):
            function(targets, 3)
        with pytest.raises(ValueError, match=rf"{name}: steps must have shape \(2,\)"):
            function(jnp.ones(2), jnp.ones(3))

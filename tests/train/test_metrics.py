import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import train
from tests.helpers import assert_close


def logits_and_labels(rng, size=40, classes=5):
    logits = rng.normal(size=(size, classes)).astype(np.float32)
    return logits, rng.integers(0, classes, size)


def test_accuracy_counts_as_a_loop_does(rng):
    logits, labels = logits_and_labels(rng)
    expected = np.array(
        [
            float(max(range(5), key=row.__getitem__) == y)
            for row, y in zip(logits, labels, strict=True)
        ],
        np.float32,
    )
    assert 0 < expected.sum() < len(expected)
    assert_close(train.accuracy(logits, labels), expected)
    assert_close(train.accuracy(logits, np.eye(5)[labels]), expected)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_counts_as_a_sort_does(rng, k):
    logits, labels = logits_and_labels(rng)
    best = np.argsort(-logits, axis=1)[:, :k]
    expected = np.array(
        [y in row for row, y in zip(best, labels, strict=True)], np.float32
    )
    assert_close(train.top_k(k)(logits, labels), expected)
    assert_close(train.top_k(k)(logits, np.eye(5)[labels]), expected)


def test_accuracy_takes_any_number_of_batch_axes(rng):
    logits, labels = logits_and_labels(rng)
    values = train.accuracy(logits.reshape(4, 10, 5), labels.reshape(4, 10))
    assert_close(values, np.asarray(train.accuracy(logits, labels)).reshape(4, 10))


def test_confusion_matrix_against_scikit_learn(rng):
    sklearn = pytest.importorskip("sklearn.metrics")
    logits, labels = logits_and_labels(rng)
    mask = rng.integers(0, 2, len(labels)).astype(np.float32)
    metric = train.ConfusionMatrix(5)
    counts = metric.compute(jax.jit(metric.update)(logits, labels, mask))
    keep = mask > 0
    expected = sklearn.confusion_matrix(
        labels[keep], logits[keep].argmax(1), labels=range(5)
    )
    assert counts.dtype == np.int32
    np.testing.assert_array_equal(counts, expected)


def test_sums_over_ragged_batches_give_the_exact_mean():
    values = np.arange(7, dtype=np.float32)
    parts = [values[:3], values[3:6], np.array([6, 99, 99], np.float32)]
    masks = [np.ones(3), np.ones(3), np.array([1, 0, 0])]
    sums = [
        train.mean(v, m.astype(np.float32)) for v, m in zip(parts, masks, strict=True)
    ]
    total = jax.tree.map(lambda *leaves: sum(leaves), *sums)
    assert total.compute() == 3.0


def test_mean_ignores_what_is_masked_even_if_it_is_not_finite():
    values = jnp.array([[1.0, 3.0], [jnp.nan, jnp.inf]])
    assert train.mean(values, jnp.array([1.0, 0.0])).compute() == 2.0


def test_mean_of_nothing_is_nan():
    assert np.isnan(train.Mean(0.0, 0.0).compute())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: train.accuracy(np.zeros((4, 3)), np.zeros((5,), int)),
            r"accuracy: targets must have .* got targets.shape=\(5,\), "
            r"predictions.shape=\(4, 3\)",
        ),
        (lambda: train.top_k(0), "top_k: k must be at least 1; got 0"),
        (
            lambda: train.top_k(4)(np.zeros((2, 3)), np.zeros(2, int)),
            "top_k: k must be at most the number of classes, 3; got 4",
        ),
        (
            lambda: train.ConfusionMatrix(0),
            "ConfusionMatrix: num_classes must be at least 1; got 0",
        ),
        (
            lambda: train.ConfusionMatrix(4).update(
                np.zeros((2, 3)), np.zeros(2, int), np.ones(2)
            ),
            "ConfusionMatrix: predictions must have num_classes=4 outputs; got 3",
        ),
        (
            lambda: train.mean(np.zeros(()), np.ones(2)),
            r"mean: values must have the batch axis \(2\) first.* got shape \(\)",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()

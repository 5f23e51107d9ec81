"""Rows of the table of cases: losses of sequences."""

import numpy as np

from jaxnets import functional as F
from tests.case_kinds import Case, function

LENGTHS = np.array([3, 5, 1, 4])
MASK = (np.arange(5) < LENGTHS[:, None]).astype(np.int32)


def logits_and_targets(rng: np.random.Generator) -> tuple:
    """Logits of 6 classes and their targets, 4 sequences of 5 steps."""
    logits = rng.normal(size=(4, 5, 6)).astype(np.float32)
    return logits, rng.integers(0, 6, (4, 5)).astype(np.int32)


def losses_and_lengths(rng: np.random.Generator) -> tuple:
    """Sums of surprise and how many steps each is of."""
    return rng.uniform(1, 9, 4).astype(np.float32), LENGTHS.astype(np.int32)


TEXT_CASES = [
    function("sequence_cross_entropy", "plain", logits_and_targets, batched=(0, 1)),
    Case(
        "functional.sequence_cross_entropy",
        "masked",
        lambda logits, targets, mask: F.sequence_cross_entropy(
            logits, targets, mask=mask
        ),
        lambda rng: (*logits_and_targets(rng), MASK),
        batched=(0, 1, 2),
    ),
    function("perplexity", "by lengths", losses_and_lengths, batched=(0, 1)),
    function("bits_per_character", "by lengths", losses_and_lengths, batched=(0, 1)),
]

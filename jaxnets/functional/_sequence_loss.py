"""Losses of sequences of classes, and how they are usually quoted."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnets.functional._checks import check_min_rank, check_shape
from jaxnets.functional._dtypes import widen
from jaxnets.functional._mesh import match_sharding


def sequence_cross_entropy(
    logits: ArrayLike, targets: ArrayLike, *, mask: ArrayLike | None = None
) -> jax.Array:
    """How surprising each sequence is, in nats: the sum over its steps of −log p.

    L = −Σ_t m_t log softmax(logits_t)[targets_t].

    Steps with m_t = 0 count for nothing, whatever logits and target stand there
    (−100, NaN), and their gradient is zero. The mean over all counted steps of a batch,
    which is what is usually minimised, is `loss.sum() / mask.sum()`.

    Args:
        logits: `(*batch, time, classes)`, floating.
        targets: `(*batch, time)`, integers in [0, classes).
        mask: `(*batch, time)`, 1 or True for steps that count, or weights; None counts
            all.

    Returns:
        `(*batch,)` of the dtype of `logits`; half types are summed in float32. NaN
        where a counted target is out of range.

    Raises:
        TypeError: if `logits` is not floating or `targets` not integer.
        ValueError: if a shape does not fit.

    Example:
        >>> logits = jnp.log(jnp.array([[0.5, 0.5], [0.2, 0.8], [0.9, 0.1]]))
        >>> targets, mask = jnp.array([0, 1, 1]), jnp.array([1, 1, 0])
        >>> loss = sequence_cross_entropy(logits, targets, mask=mask)
        >>> bool(jnp.isclose(loss, -jnp.log(0.5) - jnp.log(0.8)))
        True

    Source:
        Goodfellow, Bengio, Courville 2016, "Deep learning", equation 10.12.
    """
    function = "sequence_cross_entropy"
    logits, wide = widen(function, logits, name="logits")
    check_min_rank(function, "logits", logits.shape, 2, "(*batch, time, classes)")
    targets = jnp.asarray(targets)
    if not jnp.issubdtype(targets.dtype, jnp.integer):
        raise TypeError(
            f"{function}: targets must be integers; got {targets.dtype} (take argmax "
            "of one-hot targets)"
        )
    check_shape(
        function, "targets", targets.shape, logits.shape[:-1], "one a step of logits"
    )
    targets = match_sharding(targets.astype(jnp.int32), logits)
    if mask is not None:
        mask = jnp.asarray(mask)
        check_shape(
            function, "mask", mask.shape, logits.shape[:-1], "one a step of logits"
        )
        mask = match_sharding(mask, logits)
        # Before anything is computed of it, so that no NaN reaches the gradient.
        counted = jnp.broadcast_to((mask != 0)[..., None], wide.shape)
        wide = jnp.where(counted, wide, jnp.zeros_like(wide))
    log_p = jax.nn.log_softmax(wide)
    # A comparison a class instead of a gather: it fuses, and shards as logits do.
    classes = jax.lax.broadcasted_iota(jnp.int32, wide.shape, wide.ndim - 1)
    chosen = classes == jnp.broadcast_to(targets[..., None], wide.shape)
    surprise = -jnp.sum(jnp.where(chosen, log_p, jnp.zeros_like(log_p)), axis=-1)
    nowhere = (targets < 0) | (targets >= logits.shape[-1])
    if mask is not None:
        nowhere = nowhere & (mask != 0)
    surprise = jnp.where(nowhere, jnp.nan, surprise)
    if mask is not None:
        # Again before the product: the NaN of a target out of range, times a mask of 0.
        surprise = jnp.where(mask != 0, surprise, jnp.zeros_like(surprise))
        surprise = surprise * mask.astype(surprise.dtype)
    return surprise.sum(axis=-1).astype(logits.dtype)


def perplexity(loss: ArrayLike, steps: ArrayLike) -> jax.Array:
    """Between how many equally likely classes the model wavers, on average.

    exp(Σ loss / Σ steps); a model that knows nothing has the number of classes.

    Args:
        loss: any shape, floating: nats, as `sequence_cross_entropy` gives them.
        steps: how many steps each of them is the sum of, the shape of `loss` or a
            scalar for all of them together.

    Returns:
        A scalar of the dtype of `loss`; half types are summed in float32.

    Raises:
        TypeError: if `loss` is not floating.
        ValueError: if the shapes differ.

    Example:
        >>> loss = sequence_cross_entropy(jnp.zeros((2, 3, 5)), jnp.ones((2, 3), int))
        >>> print(f"{perplexity(loss, 6):.3f}")
        5.000

    Source:
        Jelinek, Mercer, Bahl, Baker 1977, "Perplexity"; the exponential of the mean
        cross-entropy.
    """
    loss, mean = _mean("perplexity", loss, steps)
    return jnp.exp(mean).astype(loss.dtype)


def bits_per_character(loss: ArrayLike, steps: ArrayLike) -> jax.Array:
    """How many bits a step takes on average when coded with the model.

    Σ loss / (Σ steps · log 2).

    Args:
        loss: any shape, floating: nats, as `sequence_cross_entropy` gives them.
        steps: how many steps each of them is the sum of, the shape of `loss` or a
            scalar for all of them together.

    Returns:
        A scalar of the dtype of `loss`; half types are summed in float32.

    Raises:
        TypeError: if `loss` is not floating.
        ValueError: if the shapes differ.

    Example:
        >>> loss = sequence_cross_entropy(jnp.zeros((2, 3, 8)), jnp.ones((2, 3), int))
        >>> print(f"{bits_per_character(loss, 6):.3f}")
        3.000

    Source:
        Graves 2013, "Generating sequences with recurrent neural networks", section 3.
    """
    loss, mean = _mean("bits_per_character", loss, steps)
    return (mean / math.log(2)).astype(loss.dtype)


def _mean(
    function: str, loss: ArrayLike, steps: ArrayLike
) -> tuple[jax.Array, jax.Array]:
    loss, wide = widen(function, loss, name="loss")
    steps = jnp.asarray(steps)
    if steps.ndim:
        check_shape(function, "steps", steps.shape, loss.shape, "one a loss, or one")
    return loss, wide.sum() / steps.astype(wide.dtype).sum()

"""Batch normalisation as a pure function: statistics go in and come out."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxnets.functional._checks import check_shape
from jaxnets.functional._dtypes import widen
from jaxnets.functional._mesh import match_sharding
from jaxnets.functional._normalize import affine, canonical_axes


class BatchStats(NamedTuple):
    """Running mean and variance, each with the sizes of the feature axes."""

    mean: ArrayLike
    var: ArrayLike


def batch_norm(
    x: ArrayLike,
    scale: ArrayLike | None,
    bias: ArrayLike | None,
    stats: BatchStats,
    *,
    training: bool,
    momentum: ArrayLike = 0.9,
    epsilon: ArrayLike = 1e-5,
    axis: int | Sequence[int] = -1,
    unbiased: bool = False,
    mask: ArrayLike | None = None,
    axis_name: Hashable | Sequence[Hashable] | None = None,
) -> tuple[jax.Array, BatchStats]:
    """Give every feature mean 0 and variance 1 over the batch.

    y = (x − mean) / √(var + epsilon) · scale + bias. In training, mean and variance
    are those of the batch and the new statistics are
    momentum · old + (1 − momentum) · batch; else they are `stats`, which stay.

    The variance is the mean square of x − mean (two passes), so it does not cancel
    when the mean is large. Masked entries may hold anything, NaN too: they influence
    neither values nor gradients. With `axis_name` sums and counts go over all devices,
    so devices may hold different numbers of valid examples.

    Args:
        x: any shape, floating; the features lie along `axis`.
        scale: the sizes of `axis` in the order of the array, or None.
        bias: as `scale`.
        stats: running mean and variance, shapes as `scale`. Start with zeros and ones.
        training: use the batch's moments and update `stats`.
        momentum: share of the old statistics that is kept (PyTorch's momentum is
            1 − this one).
        epsilon: added to the variance.
        axis: the feature axis, or several.
        unbiased: divide by count − 1 in the new running variance, as PyTorch does; y
            uses the biased variance always.
        mask: booleans with as many axes as `x`, each of size 1 or that of `x`; entries
            where it is False do not count, and y is 0 there. A feature without any
            entry keeps its statistics.
        axis_name: name, or names, of mapped axes (`vmap`, `shard_map`) over which the
            batch is spread.

    Returns:
        y, of the shape and dtype of `x` (half types are computed in float32), and the
        new statistics, of the shapes and dtypes of `stats`.

    Raises:
        TypeError: if `x` is not floating, or `mask` not boolean.
        ValueError: if an axis does not exist, a shape does not fit, or `unbiased` is
            asked for with a single value a feature.

    Example:
        >>> import jax.numpy as jnp
        >>> stats = BatchStats(jnp.zeros(1), jnp.ones(1))
        >>> x = jnp.asarray([[1.0], [3.0]])
        >>> y, stats = batch_norm(x, None, None, stats, training=True)
        >>> y
        Array([[-0.999995],
               [ 0.999995]], dtype=float32)
        >>> stats.mean, stats.var
        (Array([0.2], dtype=float32), Array([1.], dtype=float32))

    Source:
        Ioffe, Szegedy 2015, "Batch normalization", algorithm 1.
    """
    x, wide = widen("batch_norm", x)
    axes = canonical_axes("batch_norm", axis, x.ndim)
    sizes = tuple(x.shape[a] for a in axes)
    stats = BatchStats(*(jnp.asarray(value) for value in stats))
    for name, value in zip(("stats.mean", "stats.var"), stats, strict=True):
        why = f"the sizes of axes {axes} of x"
        check_shape("batch_norm", name, jnp.shape(value), sizes, why)
    if mask is not None:
        mask = _check_mask(mask, x.shape)
        mask = match_sharding(jnp.broadcast_to(mask, x.shape), x)
        # A NaN that is only left out of the sums reaches the gradient as 0 · NaN.
        wide = jnp.where(mask, wide, jnp.zeros_like(wide))

    if training:
        mean, var, count = _moments(wide, axes, mask, axis_name)
        single = mask is None and axis_name is None and x.size == mean.size
        if unbiased and single:
            raise ValueError(
                "batch_norm: unbiased needs at least 2 values a feature; got 1 "
                f"(x.shape={x.shape})"
            )
        spread = var * (count / jnp.maximum(count - 1, 1)) if unbiased else var
        updated = tuple(
            _running(old, new.reshape(sizes), count.reshape(sizes), momentum)
            for old, new in zip(stats, (mean, spread), strict=True)
        )
        new_stats = BatchStats(*updated)
    else:
        shape = tuple(n if a in axes else 1 for a, n in enumerate(x.shape))
        mean, var = (
            match_sharding(s, x, axes).astype(wide.dtype).reshape(shape) for s in stats
        )
        new_stats = stats

    centred = wide - jnp.broadcast_to(mean, wide.shape)
    y = centred * jnp.broadcast_to(jax.lax.rsqrt(var + epsilon), wide.shape)
    y = affine("batch_norm", y, scale, bias, axes)
    if mask is not None:
        y = jnp.where(mask, y, jnp.zeros_like(y))
    return y.astype(x.dtype), new_stats


def _moments(
    x: jax.Array,
    features: tuple[int, ...],
    mask: jax.Array | None,
    axis_name: Hashable | Sequence[Hashable] | None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mean, biased variance and count of every feature; other axes kept with size 1."""
    axes = tuple(axis for axis in range(x.ndim) if axis not in features)
    valid = jnp.ones_like(x, bool) if mask is None else mask

    def total(values: jax.Array) -> jax.Array:
        local = jnp.sum(values, axis=axes, keepdims=True, where=valid)
        return local if axis_name is None else jax.lax.psum(local, axis_name)

    count = total(jnp.ones_like(x))
    divisor = jnp.maximum(count, 1)
    mean = total(x) / divisor
    var = total(jnp.square(x - jnp.broadcast_to(mean, x.shape))) / divisor
    return mean, var, count


def _running(
    old: ArrayLike, new: jax.Array, count: jax.Array, momentum: ArrayLike
) -> jax.Array:
    old = jnp.asarray(old)
    # The statistics keep their layout on a mesh: they are carried from step to step.
    new, count = match_sharding(new, old), match_sharding(count, old)
    mixed = momentum * old + (1 - momentum) * new.astype(old.dtype)
    return jnp.where(count > 0, mixed, old)


def _check_mask(mask: ArrayLike, shape: tuple[int, ...]) -> jax.Array:
    mask = jnp.asarray(mask)
    if mask.dtype != bool:
        raise TypeError(f"batch_norm: mask must be boolean; got {mask.dtype}")
    fits = mask.ndim == len(shape) and all(
        m in (1, n) for m, n in zip(mask.shape, shape, strict=False)
    )
    if not fits:
        raise ValueError(
            f"batch_norm: mask must have {len(shape)} axes, each of size 1 or that "
            f"of x; got mask.shape={mask.shape}, x.shape={shape}"
        )
    return mask

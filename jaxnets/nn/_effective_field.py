"""Which cells of the input a unit does depend on, measured by gradients."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import ArrayLike

from jaxnets.functional._checks import check_integer
from jaxnets.functional._pool_geometry import from_channels_last, to_channels_last
from jaxnets.functional._shapes import DataFormat
from jaxnets.nn._any_model import as_module, check_input_shape, run
from jaxnets.nn._receptive_field import field_of


def effective_receptive_field(
    key: ArrayLike,
    model: Any,
    input_shape: Sequence[int],
    *,
    draws: int = 32,
    batch_size: int = 8,
    position: Sequence[int] | None = None,
    method: Callable[[Any, jax.Array], Any] | None = None,
    data_format: DataFormat = "channels_last",
) -> np.ndarray:
    """How much one unit depends on each cell of the input, measured by gradients.

        e[p] = √ mean over draws of Σ_c (∂ Σ_f v_f y[q, f] / ∂x[p, c])²

    with x and v drawn from the standard normal distribution, y the output of the model
    in evaluation mode and q the unit; divided by its maximum. `receptive_field` says
    where it can be other than 0; usually it fills a small part of that, about Gaussian,
    and its width grows with the square root of the depth. To see the architecture and
    not one set of weights take means over models.

    Args:
        key: a random key.
        model: a module, a list of modules and functions, or a function, as for
            `receptive_field`.
        input_shape: `(*spatial, channels)` of one example, or `(channels, *spatial)`.
        draws: how many random inputs.
        batch_size: how many of them at a time.
        position: the unit q, one entry a spatial axis of the output; None is the one in
            the middle.
        method: what is looked at, a function of the model and a batch that gives an
            array `(batch, *spatial, features)`, or `(batch, features, *spatial)`; None
            calls the model.
        data_format: where the channels of the input and the features of the output
            are: `"channels_last"` or `"channels_first"`.

    Returns:
        `(*spatial,)` of the input, from 0 to 1; all 0 where nothing depends on it.

    Raises:
        TypeError: if the model cannot be called or gives no array.
        ValueError: if the shape has no spatial axis, a number is below 1, the position
            is not one of the output's, or a layer has another `data_format` than the
            input.

    Example:
        >>> from jaxnets.nn import Conv
        >>> ones = nnx.initializers.ones
        >>> layers = [Conv(1, 1, (3,), kernel_init=ones, rngs=nnx.Rngs(0))] * 2
        >>> field = effective_receptive_field(jax.random.key(0), layers, (9, 1))
        >>> field.round(2).tolist()
        [0.0, 0.0, 0.33, 0.67, 1.0, 0.67, 0.33, 0.0, 0.0]

    Source:
        Luo, Li, Urtasun, Zemel 2016, "Understanding the effective receptive field in
        deep convolutional neural networks", arXiv:1701.04128.
    """
    name = "effective_receptive_field"
    shape = check_input_shape(name, input_shape, data_format)
    # It refuses layers that take another axis for the channels.
    field_of(name, model, input_shape, method, data_format)
    draws = check_integer(name, "draws", draws, minimum=1)
    batch_size = min(draws, check_integer(name, "batch_size", batch_size, minimum=1))
    graph, state = nnx.split(as_module(name, model))

    def call(state: Any, x: jax.Array) -> jax.Array:
        copy = nnx.merge(graph, state)
        copy.eval()
        x = from_channels_last(x, len(shape) - 1, data_format)
        y = run(name, copy, x, method)
        return to_channels_last(y, y.ndim - 2, data_format)

    output = jax.eval_shape(
        call, state, jax.ShapeDtypeStruct((batch_size, *shape), jnp.float32)
    )
    sizes = output.shape[1:-1]
    place = tuple(n // 2 for n in sizes) if position is None else tuple(position)
    if len(place) != len(sizes) or not all(
        0 <= k < n for k, n in zip(place, sizes, strict=True)
    ):
        raise ValueError(
            f"{name}: position must be one of the output's {sizes} cells; got {place}"
        )

    @jax.jit
    def measure(state: Any, key: jax.Array) -> jax.Array:
        """Sums of squares over channels, `(batch, *spatial)`."""
        inputs, weights = jax.random.split(key)
        x = jax.random.normal(inputs, (batch_size, *shape))
        y, back = jax.vjp(lambda x: call(state, x), x)
        v = jax.random.normal(weights, (batch_size, y.shape[-1]), y.dtype)
        (slope,) = back(jnp.zeros_like(y).at[:, *place].set(v))
        return jnp.sum(slope**2, axis=-1)

    keys = jax.random.split(key, -(-draws // batch_size))
    squares = np.concatenate([np.asarray(measure(state, k), np.float64) for k in keys])
    field = np.sqrt(squares[:draws].mean(axis=0))
    return field / max(field.max(), np.finfo(np.float64).tiny)

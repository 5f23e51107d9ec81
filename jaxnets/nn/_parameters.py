"""What layers with parameters have in common."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxnets.functional._dtypes import wide_dtype
from jaxnets.nn._metadata import ActivityPenalty, parameter_metadata

Initializer = Callable[..., Any]
Activation = Callable[[jax.Array], jax.Array]

# Those of nnx.Conv and nnx.Linear: the same keys give the same initial values.
default_kernel_init = nnx.initializers.lecun_normal()
default_bias_init = nnx.initializers.zeros_init()


class ParameterOptions(NamedTuple):
    """How one parameter of a layer begins and what it carries."""

    init: Initializer
    regularizer: Any
    constraint: Any
    trainable: bool
    metadata: Mapping[str, Any]


def make_parameter(
    layer: str,
    name: str,
    shape: tuple[int, ...],
    dtype: Any,
    options: ParameterOptions,
    rngs: nnx.Rngs,
) -> nnx.Param:
    """A parameter with its initial value; what it carries is checked first."""
    trainable = None if options.trainable else False
    own = parameter_metadata(
        f"{layer}: {name}_", options.regularizer, options.constraint, trainable
    )
    twice = sorted(own.keys() & options.metadata.keys())
    if twice:
        raise ValueError(
            f"{layer}: {', '.join(twice)} of the {name} is given twice, by its own "
            f"argument and in {name}_metadata (give one of them)"
        )
    value = options.init(rngs.params(), shape, dtype)
    return nnx.Param(value, **options.metadata, **own)


def masked_kernel(kernel: jax.Array, mask: Any) -> jax.Array:
    """The kernel times the mask; 0 where the mask is 0, whatever the kernel holds."""
    mask = jnp.asarray(mask, kernel.dtype)
    return jnp.where(mask != 0, kernel, jnp.zeros_like(kernel)) * mask


def make_bias(
    layer: str,
    use_bias: bool,
    shape: tuple[int, ...],
    dtype: Any,
    options: ParameterOptions,
    rngs: nnx.Rngs,
) -> nnx.Param | None:
    """The bias, or None, which takes no key from `rngs`."""
    if use_bias:
        return make_parameter(layer, "bias", shape, dtype, options, rngs)
    for name in ("regularizer", "constraint"):
        if getattr(options, name) is not None:
            raise ValueError(
                f"{layer}: bias_{name} is given but there is no bias "
                f"(use_bias=True, or leave out bias_{name})"
            )
    return None


def make_activity(regularizer: Any, dtype: Any) -> ActivityPenalty | None:
    """A place for the penalty on outputs, or None where there is no regularizer."""
    if regularizer is None:
        return None
    return ActivityPenalty(jnp.zeros((), wide_dtype(dtype)))


def activated(layer: Any, y: jax.Array, batch: Sequence[int]) -> jax.Array:
    """The output of a layer from its sums; in training its penalty is recorded.

    The penalty is regularizer(y) / examples, so that its weight is free of the batch
    size. In evaluation mode the layer writes to no variable: `nnx.vmap` over the
    inputs of a model refuses to write to a variable that it does not map.
    """
    if layer.activation is not None:
        y = layer.activation(y)
    if layer.activity_penalty is None or layer.deterministic:
        return y
    value = jnp.asarray(layer.activity_regularizer(y.astype(wide_dtype(y.dtype))))
    if value.shape:
        raise ValueError(
            "activity_regularizer must return a scalar; it returned shape "
            f"{value.shape} (sum it)"
        )
    penalty = layer.activity_penalty
    penalty[...] = value.astype(penalty[...].dtype) / max(math.prod(batch), 1)
    return y


def hashable(value: Any) -> Any:
    """The value with tuples for lists: graph definitions are hashed under jit."""
    if isinstance(value, list | tuple):
        return tuple(hashable(entry) for entry in value)
    return value

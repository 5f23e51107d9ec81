"""A function as a module."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
from flax import nnx
from jax.typing import ArrayLike

from jaxnets.nn._parameters import hashable


class FunctionModule(nnx.Module):
    """A function of one array with sizes and options fixed: the base of the pools.

    Example:
        >>> import jax.numpy as jnp
        >>> class Cube(FunctionModule):
        ...     function = staticmethod(lambda x, *, power: x**power)
        >>> Cube(power=3)(jnp.asarray(2.0))
        Array(8., dtype=float32, weak_type=True)
    """

    function: ClassVar[Callable[..., jax.Array]]

    def __init__(self, *sizes: Any, **options: Any):
        # Tuples, because a graph definition is hashed when a model is jitted.
        self.sizes = hashable(sizes)
        self.options = tuple((name, hashable(v)) for name, v in options.items())

    def __call__(self, x: ArrayLike) -> jax.Array:
        """Apply the function to x."""
        return type(self).function(x, *self.sizes, **dict(self.options))

"""What a row of the table of cases is: a function of pytrees of arrays, and a draw."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxnets import functional as F


class Case(NamedTuple):
    """One call that must survive every transform.

    Attributes:
        name: the public name, with its room.
        label: what is special about this row.
        call: the function, options bound.
        arguments: draws the positional arguments, pytrees of arrays.
        smooth: positions of the arguments that it is differentiable in.
        batched: positions of those whose first axis is a batch of 4.
        dtypes: float types it takes besides float32 and float64.
    """

    name: str
    label: str
    call: Callable[..., Any]
    arguments: Callable[[np.random.Generator], tuple]
    smooth: tuple[int, ...] = (0,)
    batched: tuple[int, ...] = (0,)
    dtypes: tuple[str, ...] = ("bfloat16", "float16")

    def draw(self, seed: int) -> tuple:
        """The arguments of this row as JAX arrays, different for every seed."""
        return jax.tree.map(jnp.asarray, self.arguments(np.random.default_rng(seed)))


def normal(*shapes: tuple[int, ...]) -> Callable[[np.random.Generator], tuple]:
    """Draws float32 arrays of these shapes from the normal distribution."""
    return lambda rng: tuple(rng.normal(size=s).astype(np.float32) for s in shapes)


def with_key(draw: Callable) -> Callable[[np.random.Generator], tuple]:
    """Puts a random key before the arguments."""
    return lambda rng: (jax.random.key(rng.integers(2**31)), *draw(rng))


def function(
    name: str,
    label: str,
    draw: Callable,
    *,
    smooth: tuple[int, ...] = (0,),
    batched: tuple[int, ...] = (0,),
    dtypes: tuple[str, ...] = ("bfloat16", "float16"),
    sizes: tuple = (),
    **options: Any,
) -> Case:
    """A row for `functional.name`; `sizes` follow the arrays."""
    target = getattr(F, name)

    def call(*arrays):
        return target(*arrays, *sizes, **options)

    return Case(f"functional.{name}", label, call, draw, smooth, batched, dtypes)


def module(label: str, make: Callable[[nnx.Rngs], Any], *shape: int) -> Case:
    """A row for a module: a function of its parameters and of x `(4, *shape)`."""
    abstract = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
    graph, _ = nnx.split(abstract)

    def call(parameters, x):
        return nnx.merge(graph, parameters)(x)

    def draw(rng):
        model = make(nnx.Rngs(int(rng.integers(2**31))))
        x = rng.normal(size=(4, *shape)).astype(np.float32)
        return nnx.state(model), x

    name = f"nn.{type(abstract).__name__}"
    return Case(name, label, call, draw, smooth=(0, 1), batched=(1,))


IMAGE = (4, 6, 5, 4)

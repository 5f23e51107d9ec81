"""Equal blocks in a row as one loop."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx


class Repeated(nnx.Module):
    """A block that is applied `count` times, with parameters of its own each time.

    The parameters of all are stacked along a new first axis and the blocks run in a
    scan, so that the block is compiled once however many there are.

    Args:
        make: makes one block, `make(rngs=rngs)`; it must keep the shape of its input.
        count: how many.
        remat: compute what is inside a block again in the backward pass.
        rngs: where the initializers take their keys; each block has keys of its own.

    Example:
        >>> import jax.numpy as jnp
        >>> from functools import partial
        >>> blocks = Repeated(partial(nnx.Linear, 4, 4), 3, rngs=nnx.Rngs(0))
        >>> blocks.block.kernel.shape, blocks(jnp.ones((2, 4))).shape
        ((3, 4, 4), (2, 4))
    """

    def __init__(
        self,
        make: Callable[..., Any],
        count: int,
        *,
        remat: bool = False,
        rngs: nnx.Rngs,
    ):
        @nnx.split_rngs(splits=count)
        @nnx.vmap(in_axes=(0,), out_axes=0)
        def make_all(rngs: nnx.Rngs):
            return make(rngs=rngs)

        self.block = make_all(rngs)
        self.count = count
        self.remat = remat

    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply all blocks in turn."""

        def step(x: jax.Array, block: Any) -> jax.Array:
            return block(x)

        if self.remat:
            step = nnx.remat(step)
        run = nnx.scan(step, in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        return run(x, self.block)

"""The fast loop over a sequence, with a derivative of its own that every mode can use.

The input's product is formed for all steps at once, before; the loop here does what is
left, b_t = h_{t−1} · kernel and the pointwise part. Its derivative is a second loop,
linear in the tangents,

    dsums_t = u_t + dh_{t−1} · kernel,   u_t = dz_t + h_{t−1} · dkernel,

where u is formed for all steps at once. JAX transposes it: u's cotangents are the gate
gradients, collected step by step, and the kernel's gradient is one product of all h
with them after the loop. So one rule gives forward and reverse mode, of any order; a
`custom_vjp` would lose forward mode, and differentiating the plain loop adds up the
kernel's gradient in every step and stores four times as much (see
docs/decisions/0004-recurrence.md).
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnets.functional._recurrent_steps import keep_where, loop


class Form(NamedTuple):
    """The pointwise part of a layer, as functions of one step.

    Attributes:
        step: `(z, b, state) -> (state, saved)`, z the input's sums and b = h · kernel.
        tangent: `(saved, du, db, dstate) -> dstate`, linear in all but saved; du is the
            tangent of z, and what `spread` made of that of the kernel.
        spread: `(saved, db) -> du`: a tangent of b as one of z.
        pieces: into how many arrays z is cut along its columns. XLA on CPU makes slow
            loops of columns of a slice in time: a GRU's step took 84 µs with one array
            and 47 with three (batch 32, 128 units).
    """

    step: Callable
    tangent: Callable
    spread: Callable
    pieces: int


class Static(NamedTuple):
    """What is fixed while a program is compiled."""

    form: Form
    reverse: bool
    unroll: int
    precision: Any


class Arrays(NamedTuple):
    """What the loop takes; of `valid` and `mask` there is no derivative.

    Attributes:
        z: `(T, *batch, gates)`, the input's products, in pieces.
        kernel: `(units, gates)`.
        bias: `(gates,)`, in pieces, added to z step by step, or None: a pass over all
            of z would cost as much as a tanh of it.
        recurrent_bias: `(gates,)`, added to b, or None.
        state: an array h, or a tuple that begins with it.
        valid: `(T, *batch)`, or None.
        mask: `(*batch, units)`, multiplied into h in the product, or None.
    """

    z: list[jax.Array]
    kernel: jax.Array
    bias: list[jax.Array] | None
    recurrent_bias: jax.Array | None
    state: Any
    valid: jax.Array | None
    mask: jax.Array | None


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def fused(static: Static, arrays: Arrays) -> tuple[Any, jax.Array]:
    """The final state and h after every step, `(T, *batch, units)`."""
    state, (hs, _) = _forward(static, arrays, lambda saved: None)
    return state, hs


@fused.defjvp
def _fused_jvp(static, primals, tangents):
    (arrays,), (d,) = primals, tangents
    state, (hs, saved) = _forward(static, arrays, lambda saved: saved)
    before = _first(arrays.state)[None]
    # What h was before every step, in the order of time.
    parts = (hs[1:], before) if static.reverse else (before, hs[:-1])
    before = jnp.concatenate(parts)
    if arrays.mask is not None:
        before = before * jnp.broadcast_to(arrays.mask, before.shape)
    db = product_of_all(before, d.kernel, static.precision)
    spread = static.form.spread(saved, _add(db, d.recurrent_bias))
    du = [a + b for a, b in zip(_add_each(d.z, d.bias), spread, strict=True)]
    dstate, dhs = _tangents(static, arrays, saved, d.state, du)
    return (state, hs), (dstate, dhs)


def _forward(static: Static, arrays: Arrays, keep: Callable) -> Any:
    def step(state: Any, inputs: Any) -> Any:
        z, valid = inputs
        h = _first(state)
        h = h if arrays.mask is None else h * arrays.mask
        b = _add(_product(h, arrays.kernel, static.precision), arrays.recurrent_bias)
        new, saved = static.form.step(_add_each(z, arrays.bias), b, state)
        if valid is not None:
            new = keep_where(valid, new, state)
        return new, (_first(new), keep(saved))

    inputs = (arrays.z, arrays.valid)
    return loop(
        step, arrays.state, inputs, reverse=static.reverse, unroll=static.unroll
    )


def _tangents(static: Static, arrays: Arrays, saved: Any, dstate: Any, du: Any) -> Any:
    """The linear loop. What it computes of `saved` is computed again, not stored."""
    # Transposed, the product below becomes one with `turned` as it lies in memory.
    turned = jnp.swapaxes(arrays.kernel, 0, 1)

    def step(dstate: Any, inputs: Any) -> Any:
        du, saved, valid = inputs
        dh = _first(dstate)
        dh = dh if arrays.mask is None else dh * arrays.mask
        contract = (((dh.ndim - 1,), (1,)), ((), ()))
        db = lax.dot_general(dh, turned, contract, precision=static.precision)
        new = static.form.tangent(saved, du, db, dstate)
        if valid is not None:
            new = keep_where(valid, new, dstate)
        return new, _first(new)

    step = jax.checkpoint(step, prevent_cse=False)
    inputs = (du, saved, arrays.valid)
    return loop(step, dstate, inputs, reverse=static.reverse, unroll=static.unroll)


def _product(h: jax.Array, kernel: jax.Array, precision: Any) -> jax.Array:
    contract = (((h.ndim - 1,), (0,)), ((), ()))
    return lax.dot_general(h, kernel, contract, precision=precision)


def product_of_all(x: jax.Array, kernel: jax.Array, precision: Any) -> jax.Array:
    """X · kernel for all steps, `(T, *batch, in)`, as one product of two matrices.

    Its transpose, the kernel's gradient, takes half the time that it takes with the
    axes kept: XLA on CPU copies the cotangents there. Axes that are cut over an
    explicit mesh cannot be merged, and stay.
    """
    if jax.sharding.get_abstract_mesh().explicit_axes:
        return _product(x, kernel, precision)
    rows = _product(x.reshape(math.prod(x.shape[:-1]), x.shape[-1]), kernel, precision)
    return rows.reshape(*x.shape[:-1], kernel.shape[1])


def _add(sums: jax.Array, bias: jax.Array | None) -> jax.Array:
    return sums if bias is None else sums + jnp.broadcast_to(bias, sums.shape)


def _add_each(sums: list, biases: list | None) -> list:
    if biases is None:
        return sums
    return [_add(z, bias) for z, bias in zip(sums, biases, strict=True)]


def _first(state: Any) -> jax.Array:
    return state[0] if isinstance(state, tuple) else state

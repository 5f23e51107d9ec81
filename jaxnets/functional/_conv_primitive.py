"""The bilinear family of convolution: three JAX primitives, each other's transposes.

y = conv(x, k) is linear in x and in k, and so are its two gradients; the transposes
of each of the three are the other two:

    ⟨conv(x, k), g⟩ = ⟨x, input_grad(g, k)⟩ = ⟨k, kernel_grad(x, g)⟩

Declared so, forward mode, reverse mode and any order of both follow, and each of the
three picks its own algorithm. A `custom_vjp` would lose forward mode. Under `vmap` the
mapped axis is folded into batch, features or groups and the same primitive is bound
again, so that gradients of mapped convolutions keep the fast transposes.

Arrays stand in the canonical form of `ConvSpec`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.sharding import NamedSharding, PartitionSpec
from jax.typing import ArrayLike

from jaxnets.functional._conv_plan import ConvPlan
from jaxnets.functional._conv_rule import choose
from jaxnets.functional.conv_algorithms import ALGORITHMS, ConvFacts, ConvSpec

PLATFORMS = ("cpu", "cuda", "rocm", "tpu", None)
_DIRECT = ConvPlan("direct", "direct", "direct")


def conv(x: ArrayLike, kernel: ArrayLike, spec: ConvSpec, plan: ConvPlan) -> jax.Array:
    """The convolution of x with kernel: `(batch, *positions, out)`."""
    x, kernel = _vary_alike(x, kernel)
    return _conv_p.bind(x, kernel, spec=spec, plan=plan)


def input_grad(
    g: ArrayLike,
    kernel: ArrayLike,
    spec: ConvSpec,
    spatial: tuple[int, ...],
    plan: ConvPlan,
) -> jax.Array:
    """The transpose of `conv` in x: `(batch, *spatial, in)`."""
    g, kernel = _vary_alike(g, kernel)
    return _input_grad_p.bind(g, kernel, spec=spec, spatial=tuple(spatial), plan=plan)


def kernel_grad(
    x: ArrayLike,
    g: ArrayLike,
    spec: ConvSpec,
    window: tuple[int, ...],
    plan: ConvPlan,
) -> jax.Array:
    """The transpose of `conv` in the kernel: `(*window, in // groups, out)`."""
    x, g = _vary_alike(x, g)
    return _kernel_grad_p.bind(x, g, spec=spec, window=tuple(window), plan=plan)


def _vary_alike(a: ArrayLike, b: ArrayLike) -> tuple[ArrayLike, ArrayLike]:
    """Inside `shard_map`, let both vary over the axes that either varies over."""
    over_a, over_b = (jax.typeof(v).manual_axis_type.varying for v in (a, b))
    if over_a != over_b:
        a = jax.lax.pcast(a, tuple(over_b - over_a), to="varying")
        b = jax.lax.pcast(b, tuple(over_a - over_b), to="varying")
    return a, b


def _run_conv(x, kernel, *, spec, plan, platform):
    algorithm = "direct" if 0 in x.shape + kernel.shape else plan.forward
    if algorithm == "auto":
        facts = _facts(x.shape, kernel.shape[:-2], kernel.shape[-1], spec, x.dtype)
        algorithm = choose("forward", facts, platform)
    return ALGORITHMS[algorithm].forward(x, kernel, spec)


def _run_input_grad(g, kernel, *, spec, spatial, plan, platform):
    algorithm = "direct" if 0 in g.shape + kernel.shape + spatial else plan.input_grad
    if algorithm == "auto":
        x = (len(g), *spatial, kernel.shape[-2] * spec.groups)
        facts = _facts(x, kernel.shape[:-2], kernel.shape[-1], spec, g.dtype)
        algorithm = choose("input_grad", facts, platform)
    return ALGORITHMS[algorithm].input_grad(g, kernel, spec, spatial)


def _run_kernel_grad(x, g, *, spec, window, plan, platform):
    algorithm = "direct" if 0 in x.shape + g.shape else plan.kernel_grad
    if algorithm == "auto":
        facts = _facts(x.shape, window, g.shape[-1], spec, x.dtype)
        algorithm = choose("kernel_grad", facts, platform)
    return ALGORITHMS[algorithm].kernel_grad(x, g, spec, window)


def _facts(x_shape, window, out, spec, dtype) -> ConvFacts:
    batch, *spatial, channels = x_shape
    return ConvFacts(
        batch, tuple(spatial), tuple(window), channels, out, spec, jnp.dtype(dtype).name
    )


def _primitive(name: str, run: Callable, static: tuple[str, ...], place: Callable):
    """A primitive that is `run`, for whatever platform it is lowered on.

    On a mesh with explicit axes `place` makes the result's partition from those of the
    operands, and XLA finds the way there.
    """
    primitive = Primitive(name)

    def partitioned(a, b, **params):
        mesh = jax.sharding.get_abstract_mesh()
        if not mesh.explicit_axes:
            return run(a, b, **params)
        out = place(_partition(jax.typeof(a)), _partition(jax.typeof(b)))
        auto = jax.sharding.auto_axes(axes=mesh.explicit_axes, out_sharding=out)
        return auto(partial(run, **params))(a, b)

    def abstract(a, b, **params):
        plain = (jax.ShapeDtypeStruct(v.shape, v.dtype) for v in (a, b))
        params |= {"plan": _DIRECT, "platform": ""}
        out = jax.eval_shape(partial(run, **params), *plain)
        sharding = NamedSharding(a.sharding.mesh, place(_partition(a), _partition(b)))
        return a.update(
            shape=out.shape, dtype=out.dtype, weak_type=False, sharding=sharding
        )

    primitive.def_impl(jax.jit(primitive.bind, static_argnames=static))
    primitive.def_abstract_eval(abstract)
    for platform in PLATFORMS:
        lowered = partial(partitioned, platform=platform or "")
        rule = mlir.lower_fun(lowered, multiple_results=False)
        mlir.register_lowering(primitive, rule, platform=platform)
    return primitive


def _partition(aval: Any) -> tuple:
    """The mesh axes that each axis of an array is explicitly cut over."""
    return tuple(aval.sharding.spec)


_conv_p = _primitive(
    "jaxnets_conv",
    _run_conv,
    ("spec", "plan"),
    lambda x, k: PartitionSpec(x[0], *(None,) * (len(x) - 2), k[-1]),
)
_input_grad_p = _primitive(
    "jaxnets_conv_input_grad",
    _run_input_grad,
    ("spec", "spatial", "plan"),
    lambda g, k: PartitionSpec(g[0], *(None,) * (len(g) - 1)),
)
_kernel_grad_p = _primitive(
    "jaxnets_conv_kernel_grad",
    _run_kernel_grad,
    ("spec", "window", "plan"),
    lambda x, g: PartitionSpec(*(None,) * (len(g) - 1), g[-1]),
)


def _shape(operand: Any) -> tuple[int, ...]:
    """Shape of an operand, known or being transposed."""
    return operand.aval.shape


def _cut_like(cotangent: jax.Array, operand: Any) -> jax.Array:
    """The cotangent cut over an explicit mesh as its operand is, if that is."""
    sharding = operand.aval.sharding
    if sharding.mesh.empty or jax.typeof(cotangent).sharding == sharding:
        return cotangent
    return jax.sharding.reshard(cotangent, sharding)


def _conv_to_x(ct, x, k, *, spec, plan):
    return _cut_like(input_grad(ct, k, spec, _shape(x)[1:-1], plan), x)


def _conv_to_kernel(ct, x, k, *, spec, plan):
    return _cut_like(kernel_grad(x, ct, spec, _shape(k)[:-2], plan), k)


def _input_grad_to_g(ct, g, k, *, spec, spatial, plan):
    return _cut_like(conv(ct, k, spec, plan), g)


def _input_grad_to_kernel(ct, g, k, *, spec, spatial, plan):
    return _cut_like(kernel_grad(ct, g, spec, _shape(k)[:-2], plan), k)


def _kernel_grad_to_x(ct, x, g, *, spec, window, plan):
    return _cut_like(input_grad(g, ct, spec, _shape(x)[1:-1], plan), x)


def _kernel_grad_to_g(ct, x, g, *, spec, window, plan):
    return _cut_like(conv(x, ct, spec, plan), g)


ad.defbilinear(_conv_p, _conv_to_x, _conv_to_kernel)
ad.defbilinear(_input_grad_p, _input_grad_to_g, _input_grad_to_kernel)
ad.defbilinear(_kernel_grad_p, _kernel_grad_to_x, _kernel_grad_to_g)


class _Place(NamedTuple):
    """An axis that takes a mapped axis in, behind the group number if `grouped`."""

    axis: int
    grouped: bool


def _fold(array: ArrayLike, mapped: int, axis: int, groups: int) -> jax.Array:
    """Merge the `mapped` axis into `axis`: (groups, mapped, rest) flattened."""
    array = jnp.moveaxis(array, mapped, 0)
    size, *shape = array.shape
    axis %= len(shape)
    head, cells, tail = shape[:axis], shape[axis], shape[axis + 1 :]
    split = array.reshape(size, *head, groups, cells // groups, *tail)
    return jnp.moveaxis(split, 0, axis + 1).reshape(*head, size * cells, *tail)


def _unfold(array: ArrayLike, size: int, axis: int, groups: int) -> jax.Array:
    """Undo `_fold`; the mapped axis of `size` comes out in front."""
    shape = jnp.shape(array)
    axis %= len(shape)
    head, cells, tail = shape[:axis], shape[axis] // size, shape[axis + 1 :]
    split = jnp.reshape(array, (*head, groups, size, cells // groups, *tail))
    return jnp.moveaxis(split, axis + 1, 0).reshape(size, *head, cells, *tail)


def _define_batching(
    primitive: Primitive, bind: Callable, moves: tuple[tuple[_Place, _Place], ...]
) -> None:
    """Give a primitive its rule for `vmap`.

    Args:
        primitive: one of the three.
        bind: the function that binds it.
        moves: for either operand, when it alone is mapped: the place in it that takes
            the mapped axis in, and the place in the result where that comes out.
            When both are mapped, the mapped axis becomes the outermost part of the
            groups, and the last axis of all three arrays carries it.
    """

    def rule(args, dims, *, spec, **params):
        if None not in dims:
            size = args[0].shape[dims[0]]
            a, b = (_fold(x, d, -1, 1) for x, d in zip(args, dims, strict=True))
            y = bind(a, b, spec._replace(groups=size * spec.groups), **params)
            return _unfold(y, size, -1, 1), 0
        which = 0 if dims[1] is None else 1
        size = args[which].shape[dims[which]]
        source, target = moves[which]
        operands = list(args)
        operands[which] = _fold(
            args[which],
            dims[which],
            source.axis,
            spec.groups if source.grouped else 1,
        )
        y = bind(*operands, spec, **params)
        return _unfold(y, size, target.axis, spec.groups if target.grouped else 1), 0

    batching.primitive_batchers[primitive] = rule


_BATCH = _Place(0, grouped=False)
_CHANNELS = _Place(-1, grouped=True)
_FAN_IN = _Place(-2, grouped=False)

_define_batching(_conv_p, conv, ((_BATCH, _BATCH), (_CHANNELS, _CHANNELS)))
_define_batching(_input_grad_p, input_grad, ((_BATCH, _BATCH), (_FAN_IN, _CHANNELS)))
_define_batching(
    _kernel_grad_p, kernel_grad, ((_CHANNELS, _FAN_IN), (_CHANNELS, _CHANNELS))
)

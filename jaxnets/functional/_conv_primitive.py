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
from jax.interpreters import ad, batching, mlir, xla
from jax.sharding import NamedSharding
from jax.typing import ArrayLike

from jaxnets.functional._conv_partition import share_out, shares
from jaxnets.functional._conv_plan import ConvPlan
from jaxnets.functional._conv_rule import Target, choose, refuse_elsewhere
from jaxnets.functional._mesh import cut_like, mesh_of, vary_alike
from jaxnets.functional.conv_algorithms import ALGORITHMS, ConvFacts, ConvSpec
from jaxnets.functional.conv_algorithms._trim import RUN_TRIMMED
from jaxnets.functional.conv_algorithms._varying import zeros_varying

PLATFORMS = ("cpu", "cuda", "rocm", "tpu", None)
_DIRECT = ConvPlan("direct", "direct", "direct")


def conv(x: ArrayLike, kernel: ArrayLike, spec: ConvSpec, plan: ConvPlan) -> jax.Array:
    """The convolution of x with kernel: `(batch, *positions, out)`."""
    x, kernel = vary_alike(x, kernel)
    return _conv_p.bind(x, kernel, spec=spec, plan=plan)


def input_grad(
    g: ArrayLike,
    kernel: ArrayLike,
    spec: ConvSpec,
    spatial: tuple[int, ...],
    plan: ConvPlan,
) -> jax.Array:
    """The transpose of `conv` in x: `(batch, *spatial, in)`."""
    g, kernel = vary_alike(g, kernel)
    return _input_grad_p.bind(g, kernel, spec=spec, spatial=tuple(spatial), plan=plan)


def kernel_grad(
    x: ArrayLike,
    g: ArrayLike,
    spec: ConvSpec,
    window: tuple[int, ...],
    plan: ConvPlan,
) -> jax.Array:
    """The transpose of `conv` in the kernel: `(*window, in // groups, out)`."""
    x, g = vary_alike(x, g)
    return _kernel_grad_p.bind(x, g, spec=spec, window=tuple(window), plan=plan)


def _run_conv(x, kernel, *, spec, plan, target):
    facts = _facts(x.shape, kernel.shape[:-2], kernel.shape[-1], spec, x.dtype)
    shape = (len(x), *facts.positions, facts.out)
    return _run_by(plan.forward, "forward", x, kernel, facts, target, shape)


def _run_input_grad(g, kernel, *, spec, spatial, plan, target):
    shape = (len(g), *spatial, kernel.shape[-2] * spec.groups)
    facts = _facts(shape, kernel.shape[:-2], kernel.shape[-1], spec, g.dtype)
    return _run_by(plan.input_grad, "input_grad", g, kernel, facts, target, shape)


def _run_kernel_grad(x, g, *, spec, window, plan, target):
    facts = _facts(x.shape, window, g.shape[-1], spec, x.dtype)
    shape = (*window, facts.fan_in, facts.out)
    return _run_by(plan.kernel_grad, "kernel_grad", x, g, facts, target, shape)


def _run_by(algorithm, part, a, b, facts, target, shape):
    """One part of a convolution, by the algorithm named, of what is not padding."""
    # The sums of an empty operand are 0 in every algorithm, and XLA compiles no
    # convolution with an empty window, as the kernel gradient of an empty axis has.
    if 0 in a.shape + b.shape + shape:
        return zeros_varying(shape, a.dtype, a)
    if algorithm == "auto":
        algorithm = choose(part, facts, target)
    refuse_elsewhere(algorithm, target)
    return RUN_TRIMMED[part](ALGORITHMS[algorithm], a, b, facts)


def _facts(x_shape, window, out, spec, dtype) -> ConvFacts:
    batch, *spatial, channels = x_shape
    return ConvFacts(
        batch, tuple(spatial), tuple(window), channels, out, spec, jnp.dtype(dtype).name
    )


def _primitive(name: str, run: Callable, arrays: tuple):
    """A primitive that is `run`, for whatever platform it is lowered on.

    Args:
        name: shown in jaxprs.
        run: the function of the two operands and the parameters.
        arrays: what operands and result are: "x", "kernel" or "y".
    """
    primitive = Primitive(name)

    def shared_out(a, b, *, spec, target, **params):
        """Inside the trace of a lowering, with the mesh of the program in force."""
        if not jax.sharding.get_abstract_mesh().explicit_axes:
            return run(a, b, spec=spec, target=target, **params)
        cut = shares(arrays, jax.typeof(a), jax.typeof(b), spec)

        def run_share(a, b, spec):
            alone = target._replace(devices=1)
            return run(a, b, spec=spec, target=alone, **params)

        return share_out(run_share, cut, a, b, spec)

    def abstract(a, b, *, spec, **params):
        plain = (jax.ShapeDtypeStruct(v.shape, v.dtype) for v in (a, b))
        params |= {"spec": spec, "plan": _DIRECT, "target": Target("")}
        out = jax.eval_shape(partial(run, **params), *plain)
        result = shares(arrays, a, b, spec).result
        return a.update(
            shape=out.shape,
            dtype=out.dtype,
            weak_type=False,
            sharding=NamedSharding(mesh_of(a, b), result),
        )

    def lower(ctx, a, b, *, platform, **params):
        # In the parts of a `shard_map` there is no such number: they are whole.
        module = ctx.module_context
        target = Target(
            platform,
            getattr(module.axis_context, "num_devices", 1),
            module.lowering_parameters.for_export,
        )
        lowered = partial(shared_out, target=target)
        return mlir.lower_fun(lowered, multiple_results=False)(ctx, a, b, **params)

    # As JAX's own primitives: a plain `jit` of the bind would call itself without end
    # under `jax.disable_jit` and `jax_debug_nans`.
    primitive.def_impl(partial(xla.apply_primitive, primitive))
    primitive.def_abstract_eval(abstract)
    for platform in PLATFORMS:
        rule = partial(lower, platform=platform or "")
        mlir.register_lowering(primitive, rule, platform=platform)
    return primitive


_conv_p = _primitive("jaxnets_conv", _run_conv, ("x", "kernel", "y"))
_input_grad_p = _primitive(
    "jaxnets_conv_input_grad", _run_input_grad, ("y", "kernel", "x")
)
_kernel_grad_p = _primitive(
    "jaxnets_conv_kernel_grad", _run_kernel_grad, ("x", "y", "kernel")
)


def _shape(operand: Any) -> tuple[int, ...]:
    """Shape of an operand, known or being transposed."""
    return operand.aval.shape


def _conv_to_x(ct, x, k, *, spec, plan):
    return cut_like(input_grad(ct, k, spec, _shape(x)[1:-1], plan), x)


def _conv_to_kernel(ct, x, k, *, spec, plan):
    return cut_like(kernel_grad(x, ct, spec, _shape(k)[:-2], plan), k)


def _input_grad_to_g(ct, g, k, *, spec, spatial, plan):
    return cut_like(conv(ct, k, spec, plan), g)


def _input_grad_to_kernel(ct, g, k, *, spec, spatial, plan):
    return cut_like(kernel_grad(ct, g, spec, _shape(k)[:-2], plan), k)


def _kernel_grad_to_x(ct, x, g, *, spec, window, plan):
    return cut_like(input_grad(g, ct, spec, _shape(x)[1:-1], plan), x)


def _kernel_grad_to_g(ct, x, g, *, spec, window, plan):
    return cut_like(conv(x, ct, spec, plan), g)


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


def _map_nothing(run: Callable, args: Any, dims: Any) -> jax.Array:
    """The result of a mapped axis of size 0, which `_unfold` cannot find again."""
    one = [
        x
        if d is None
        else jax.ShapeDtypeStruct(x.shape[:d] + x.shape[d + 1 :], x.dtype)
        for x, d in zip(args, dims, strict=True)
    ]
    out = jax.eval_shape(run, *one)
    return zeros_varying((0, *out.shape), out.dtype, args[0])


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
        if any(
            d is not None and x.shape[d] == 0 for x, d in zip(args, dims, strict=True)
        ):
            return _map_nothing(partial(bind, spec=spec, **params), args, dims), 0
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

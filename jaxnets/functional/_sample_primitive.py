"""The bilinear family of sampling: three JAX primitives, each other's transposes.

y = sample(x, w; start) is linear in the image x and in the weights w of the cells, for
fixed places `start`:

    ⟨sample(x, w), g⟩ = ⟨x, image_grad(g, w)⟩ = ⟨w, weights_grad(x, g)⟩

Declared so, as convolution is, forward mode, reverse mode and any order of both follow,
and each of the three has its own algorithm for the platform that it is lowered for.
Under `vmap` the mapped axis joins the batch, so that mapped gradients stay fast.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir, xla
from jax.sharding import NamedSharding, PartitionSpec
from jax.typing import ArrayLike

from jaxnets.functional import _sample_loops
from jaxnets.functional._mesh import cut_like, mesh_of, vary_alike
from jaxnets.functional.conv_algorithms._varying import zeros_varying

PLATFORMS = ("cpu", "cuda", "rocm", "tpu", None)


def sample(x: ArrayLike, weights: ArrayLike, start: ArrayLike) -> jax.Array:
    """Weighted windows: `(batch, places, channels)`.

    Args:
        x: `(batch, *spatial, channels)`.
        weights: `(batch, *window, places)`.
        start: `(batch, rank, places)`, int32; windows must lie in the image.
    """
    return _sample_p.bind(*vary_alike(x, weights, start))


def image_grad(
    g: ArrayLike, weights: ArrayLike, start: ArrayLike, spatial: tuple[int, ...]
) -> jax.Array:
    """The transpose of `sample` in x: `(batch, *spatial, channels)`."""
    return _image_grad_p.bind(*vary_alike(g, weights, start), spatial=spatial)


def weights_grad(
    x: ArrayLike, g: ArrayLike, start: ArrayLike, window: tuple[int, ...]
) -> jax.Array:
    """The transpose of `sample` in the weights: `(batch, *window, places)`."""
    return _weights_grad_p.bind(*vary_alike(x, g, start), window=window)


# Without an image, a place or a channel there is nothing to read, and a loop over no
# places cannot be traced: its body takes slices of at least one element.
def _run_sample(x, weights, start, *, on_cpu):
    del on_cpu  # one algorithm for all
    return _sample_loops.sample(x, weights, start)


def _run_image_grad(g, weights, start, *, spatial, on_cpu):
    if g.size == 0:
        return zeros_varying((len(g), *spatial, g.shape[-1]), g.dtype, g)
    return _sample_loops.image_grad(g, weights, start, spatial, on_cpu=on_cpu)


def _run_weights_grad(x, g, start, *, window, on_cpu):
    if g.size == 0:
        return zeros_varying((len(g), *window, g.shape[1]), g.dtype, g)
    return _sample_loops.weights_grad(x, g, start, window, on_cpu=on_cpu)


def _primitive(name: str, run: Callable):
    """A primitive that is `run`, for whatever platform it is lowered on.

    On a mesh with explicit axes the result is cut along the batch, as the operands are.
    """
    primitive = Primitive(name)

    def partitioned(*arrays, **params):
        mesh = jax.sharding.get_abstract_mesh()
        if not mesh.explicit_axes:
            return run(*arrays, **params)
        # Every array has the batch in front; a loop over places would gather it.
        batch = _batch_spec(map(jax.typeof, arrays))
        shares = jax.shard_map(
            partial(run, **params),
            in_specs=batch,
            out_specs=batch,
            axis_names=set(mesh.explicit_axes),
        )
        return shares(*(jax.sharding.reshard(a, batch) for a in arrays))

    def abstract(*avals, **params):
        plain = (jax.ShapeDtypeStruct(a.shape, a.dtype) for a in avals)
        out = jax.eval_shape(partial(run, **params, on_cpu=False), *plain)
        first = avals[0]
        spec = PartitionSpec(*_batch_spec(avals), *(None,) * (out.ndim - 1))
        return first.update(
            shape=out.shape,
            dtype=out.dtype,
            weak_type=False,
            sharding=NamedSharding(mesh_of(*avals), spec),
        )

    # As in `_conv_primitive`: it goes with `jax.disable_jit` and `jax_debug_nans`.
    primitive.def_impl(partial(xla.apply_primitive, primitive))
    primitive.def_abstract_eval(abstract)
    for platform in PLATFORMS:
        lowered = partial(partitioned, on_cpu=platform == "cpu")
        rule = mlir.lower_fun(lowered, multiple_results=False)
        mlir.register_lowering(primitive, rule, platform=platform)
    return primitive


def _batch_spec(avals: Any) -> PartitionSpec:
    """The batch axis cut as that of the first operand that is cut."""
    cuts = (aval.sharding.spec[0] for aval in avals)
    return PartitionSpec(next((cut for cut in cuts if cut is not None), None))


_sample_p = _primitive("jaxnets_sample", _run_sample)
_image_grad_p = _primitive("jaxnets_sample_image_grad", _run_image_grad)
_weights_grad_p = _primitive("jaxnets_sample_weights_grad", _run_weights_grad)


def _define_derivatives(
    primitive: Primitive, to_first: Callable, to_second: Callable
) -> None:
    """Declare a primitive linear in its first two operands, given the transposes.

    Args:
        primitive: one of the three; its third operand are the places.
        to_first: `(cotangent, second, start, shape of the first)` to the cotangent of
            the first operand.
        to_second: `(cotangent, first, start, shape of the second)` to that of the
            second.
    """

    def transpose(ct, a, b, start, **params):
        if type(ct) is ad.Zero:
            return None, None, None
        if ad.is_undefined_primal(a):
            return cut_like(to_first(ct, b, start, a.aval.shape), a), None, None
        return None, cut_like(to_second(ct, a, start, b.aval.shape), b), None

    def along_first(t, a, b, start, **params):
        return primitive.bind(*vary_alike(t, b, start), **params)

    def along_second(t, a, b, start, **params):
        return primitive.bind(*vary_alike(a, t, start), **params)

    ad.defjvp(primitive, along_first, along_second, None)
    ad.primitive_transposes[primitive] = transpose


_define_derivatives(
    _sample_p,
    lambda ct, w, start, shape: image_grad(ct, w, start, shape[1:-1]),
    lambda ct, x, start, shape: weights_grad(x, ct, start, shape[1:-1]),
)
_define_derivatives(
    _image_grad_p,
    lambda ct, w, start, shape: sample(ct, w, start),
    lambda ct, g, start, shape: weights_grad(ct, g, start, shape[1:-1]),
)
_define_derivatives(
    _weights_grad_p,
    lambda ct, g, start, shape: image_grad(g, ct, start, shape[1:-1]),
    lambda ct, x, start, shape: sample(x, ct, start),
)


def _batch_rule(primitive: Primitive) -> Callable:
    """The mapped axis joins the batch; operands without it are repeated."""

    def rule(arrays, dims, **params):
        size = next(
            a.shape[d] for a, d in zip(arrays, dims, strict=True) if d is not None
        )
        every = [
            jnp.broadcast_to(array[None], (size, *array.shape))
            if mapped is None
            else jnp.moveaxis(array, mapped, 0)
            for array, mapped in zip(arrays, dims, strict=True)
        ]
        batch = every[0].shape[1]
        joined = [array.reshape(size * batch, *array.shape[2:]) for array in every]
        y = primitive.bind(*joined, **params)
        return y.reshape(size, batch, *y.shape[1:]), 0

    return rule


for _p in (_sample_p, _image_grad_p, _weights_grad_p):
    batching.primitive_batchers[_p] = _batch_rule(_p)

"""Who runs a layer in `benchmarks.conv_suite`: jaxnets and the libraries next to it.

All get the same arrays, in the layout that is theirs; a training step is the forward
pass and both gradients of a fixed cotangent, and returns all three.
"""

import argparse
import importlib.util
import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks._conv_cases import Layer
from jaxnets.functional import conv
from jaxnets.functional._conv_transpose import conv_transpose

OURS, RELAXED = "jaxnets", "jaxnets, relaxed"
OURS_IN = {"elementwise": OURS, "relaxed": RELAXED}
"""Our name in the reports, by accuracy class."""

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]
Apply = Callable[[jax.Array, jax.Array], jax.Array]


class Contestant(NamedTuple):
    """One who runs a part of a layer.

    Attributes:
        run: what is timed.
        compile_ms: what came before the first call and is needed once a shape.
        to_numpy: the result of `run` as y, or y, dx, dk in the layout of `Layer`.
        temporary_bytes: what the compiled program needs besides operands and results.
    """

    run: Callable[[], Any]
    compile_ms: float = 0.0
    to_numpy: Callable[[Any], tuple[np.ndarray, ...]] = lambda result: tuple(
        np.asarray(one) for one in (result if isinstance(result, tuple) else (result,))
    )
    temporary_bytes: int | None = None


def add_accuracy(parser: argparse.ArgumentParser, default: str) -> None:
    """Add the option `--accuracy`: a class, or both side by side."""
    parser.add_argument(
        "--accuracy",
        choices=(*OURS_IN, "both"),
        default=default,
        help=f"the class in which ours runs; {default} if not given",
    )


def classes_of(accuracy: str) -> tuple[str, ...]:
    """The classes that a value of `--accuracy` means."""
    return tuple(OURS_IN) if accuracy == "both" else (accuracy,)


def threads() -> int:
    """Threads for every library: all cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def missing() -> dict[str, str]:
    """The peers that cannot take part, and why."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    found = {
        name: "not installed"
        for name in ("torch", "keras", "scipy")
        if importlib.util.find_spec(name) is None
    }
    if "keras" not in found and os.environ["KERAS_BACKEND"] != "jax":
        found["keras"] = f"KERAS_BACKEND is {os.environ['KERAS_BACKEND']!r}, not 'jax'"
    return found


def compiled(apply: Apply, part: str, arrays: Arrays) -> Contestant:
    """A JAX function of x and kernel as a contestant; compiled here, timed."""

    def step(x, kernel, g):
        y, backward = jax.vjp(apply, x, kernel)
        return (y, *backward(g))

    x, kernel, g = map(jnp.asarray, arrays)
    operands = (x, kernel) if part == "forward" else (x, kernel, g)
    jax.block_until_ready(operands)
    began = time.perf_counter()
    program = jax.jit(apply if part == "forward" else step).lower(*operands).compile()
    elapsed = (time.perf_counter() - began) * 1e3
    return Contestant(lambda: program(*operands), elapsed)


def jaxnets_apply(layer: Layer, accuracy: str) -> Apply:
    run = conv_transpose if layer.transposed else conv
    return lambda x, kernel: run(
        x,
        kernel,
        strides=layer.stride,
        padding=layer.pads,
        groups=layer.groups,
        accuracy=accuracy,
    )


def lax_apply(layer: Layer) -> Apply:
    letters = "DHW"[-layer.rank :]
    numbers = (f"N{letters}C", f"{letters}IO", f"N{letters}C")
    if layer.transposed:
        return lambda x, kernel: lax.conv_transpose(
            x,
            kernel,
            (layer.stride,) * layer.rank,
            _dilated_pads(layer),
            dimension_numbers=numbers,
            transpose_kernel=True,
        )
    return lambda x, kernel: lax.conv_general_dilated(
        x,
        kernel,
        (layer.stride,) * layer.rank,
        layer.pads,
        dimension_numbers=numbers,
        feature_group_count=layer.groups,
    )


def flax_apply(layer: Layer) -> Apply:
    from flax import nnx

    sizes = (layer.channels, layer.out, layer.window, (layer.stride,) * layer.rank)
    if layer.transposed:
        module = nnx.ConvTranspose(
            *sizes,
            padding=_dilated_pads(layer),
            transpose_kernel=True,
            use_bias=False,
            rngs=nnx.Rngs(0),
        )
    else:
        module = nnx.Conv(
            *sizes,
            padding=layer.pads,
            feature_group_count=layer.groups,
            use_bias=False,
            rngs=nnx.Rngs(0),
        )
    graph, _ = nnx.split(module)
    return lambda x, kernel: nnx.merge(graph, {"kernel": kernel})(x)


def keras_apply(layer: Layer) -> Apply | None:
    """Keras's layer, or None where it has no such padding."""
    import keras

    padding = _keras_padding(layer)
    if padding is None or (layer.transposed and layer.groups > 1):
        return None
    kind = f"Conv{layer.rank}D" + "Transpose" * layer.transposed
    groups = {} if layer.transposed else {"groups": layer.groups}
    module = getattr(keras.layers, kind)(
        layer.out,
        layer.window,
        strides=layer.stride,
        padding=padding,
        use_bias=False,
        **groups,
    )
    module.build(layer.x_shape)
    return lambda x, kernel: module.stateless_call([kernel], [], x)[0]


def _keras_padding(layer: Layer) -> str | None:
    taps = [k - 1 for k in layer.window]
    if all(lo == hi == 0 for lo, hi in layer.pads):
        return "valid"
    if layer.transposed:
        grown = tuple(s * layer.stride for s in layer.spatial)
        return "same" if layer.positions == grown else None
    if layer.stride > 1:
        return None
    pairs = list(zip(layer.pads, taps, strict=True))
    if all(pair == (t // 2, t - t // 2) for pair, t in pairs):
        return "same"
    if layer.rank == 1 and layer.pads[0] == (taps[0], 0):
        return "causal"
    return None


def _dilated_pads(layer: Layer) -> list[tuple[int, int]]:
    """Padding of the data with zeros between, as `lax.conv_transpose` takes it."""
    pairs = zip(layer.window, layer.pads, strict=True)
    return [(k - 1 - lo, k - 1 - hi) for k, (lo, hi) in pairs]


def jax_peers(
    layer: Layer,
    part: str,
    arrays: Arrays,
    frameworks: str,
    classes: tuple[str, ...],
) -> dict[str, Contestant]:
    """Ours first, then what runs on XLA's own convolution.

    `frameworks` says on which layers Flax and Keras take part: none, some or all.
    """
    found = {
        OURS_IN[accuracy]: compiled(jaxnets_apply(layer, accuracy), part, arrays)
        for accuracy in classes
    }
    found["lax"] = compiled(lax_apply(layer), part, arrays)
    if frameworks == "all" or (frameworks == "some" and layer.frameworks):
        found["nnx.Conv"] = compiled(flax_apply(layer), part, arrays)
        apply = None if "keras" in missing() else keras_apply(layer)
        if apply is not None:
            found["Keras on JAX"] = compiled(apply, part, arrays)
    return found

"""Whole networks for `benchmarks.conv_suite --network`: compilation and steps."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax

from benchmarks._conv_mnist import (
    BATCH,
    CLASSES,
    Weights,
    keras_steps,
    make_ours,
    torch_step,
)
from benchmarks._conv_peers import OURS_IN, Contestant, missing
from benchmarks._conv_report import ConvReport, check
from jaxnets.functional import conv, conv_accuracy, lax_compatible_conv

WIDTHS = (32,) * 7 + (64,) * 6 + (128,) * 7
"""Output channels of twenty 3x3 layers; where they grow, the stride is 2."""


def time_networks(report: ConvReport, quick: bool, classes: tuple[str, ...]) -> None:
    rounds, seconds = ((2, 3), 5.0) if quick else ((3, 15), 30.0)
    _deep_network(report, 1 if quick else 3, rounds, seconds, classes)
    _mnist_convnet(report, rounds, seconds, classes)


def _deep_network(
    report: ConvReport,
    compilations: int,
    rounds: tuple[int, int],
    seconds: float,
    classes: tuple[str, ...],
) -> None:
    """Twenty layers, forward, backward and a step down the gradient, by two convs."""
    rng = np.random.default_rng(0)
    sizes = tuple(zip((3, *WIDTHS[:-1]), WIDTHS, strict=True))
    kernels = [
        jnp.asarray(rng.normal(0, (2 / (9 * a)) ** 0.5, (3, 3, a, b)), jnp.float32)
        for a, b in sizes
    ]
    x = jnp.asarray(rng.standard_normal((16, 32, 32, 3), np.float32))

    def loss(kernels: list[jax.Array], x: jax.Array, run: Callable) -> jax.Array:
        for kernel, (a, b) in zip(kernels, sizes, strict=True):
            x = jax.nn.relu(run(x, kernel, 2 if 3 < a < b else 1))
        return jnp.square(x).mean()

    def ours(x: jax.Array, kernel: jax.Array, stride: int, accuracy: str) -> jax.Array:
        return conv(x, kernel, strides=stride, padding=1, accuracy=accuracy)

    def laxs(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
        numbers = ("NHWC", "HWIO", "NHWC")
        pads, strides = ((1, 1),) * 2, (stride,) * 2
        return lax.conv_general_dilated(
            x, kernel, strides, pads, dimension_numbers=numbers
        )

    def compiled(run: Callable) -> tuple[Any, float]:
        def step(kernels: list[jax.Array], x: jax.Array) -> Any:
            value, gradient = jax.value_and_grad(loss)(kernels, x, run)
            moved = jax.tree.map(lambda k, d: k - 0.1 * d, kernels, gradient)
            return (value, *moved)

        began = time.perf_counter()
        program = jax.jit(step).lower(kernels, x).compile()
        return program, (time.perf_counter() - began) * 1e3

    runs: dict[str, Callable] = {
        OURS_IN[accuracy]: partial(ours, accuracy=accuracy) for accuracy in classes
    }
    runs, programs = runs | {"lax": laxs}, {}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(compilations):
        # XLA keeps nothing between two compilations, but JAX keeps what it traced.
        for name, run in runs.items():
            jax.clear_caches()
            programs[name], elapsed = compiled(run)
            times[name].append(elapsed)
    least = {name: min(found) for name, found in times.items()}
    report.summary["compile_20_layers_ms"] = least
    contestants = {
        name: Contestant(partial(program, kernels, x), least[name])
        for name, program in programs.items()
    }
    title = f"{len(WIDTHS)} layers of 3x3 on 16x32x32x3"
    report.meet(title, "training step", contestants, rounds, seconds)
    report.say("", f"Compilation of {title}, training step:")
    report.say(*(f"- {name}: {ms / 1e3:.2f} s" for name, ms in least.items()))
    first = OURS_IN[classes[0]]
    report.say(f"- {first} / lax: {least[first] / least['lax']:.2f}", "")


class Stock(nnx.Module):
    """The MNIST convnet from Flax's own layers."""

    def __init__(self, weights: Weights, **options: Any):
        rngs = nnx.Rngs(0)
        make = partial(
            nnx.Conv, kernel_size=(3, 3), padding="VALID", rngs=rngs, **options
        )
        kernels = [kernel.shape for kernel, _ in weights[:-1]]
        self.convs = nnx.List([make(shape[2], shape[3]) for shape in kernels])
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.dense = nnx.Linear(*weights[-1][0].shape, rngs=rngs)
        for layer, (kernel, bias) in zip(
            (*self.convs, self.dense), weights, strict=True
        ):
            layer.kernel = nnx.Param(jnp.asarray(kernel))
            layer.bias = nnx.Param(jnp.asarray(bias))

    def __call__(self, x: jax.Array) -> jax.Array:
        for place, layer in enumerate(self.convs):
            x = jax.nn.relu(layer(x))
            if place == 1:
                x = nnx.max_pool(x, (2, 2), strides=(2, 2))
        return self.dense(self.dropout(x.mean((1, 2))))


def nnx_step(model: nnx.Module, x: jax.Array, y: jax.Array) -> Callable[[], Any]:
    """One Adam step by `nnx.jit`, the same for our layers and for Flax's."""
    model.train()
    optimizer = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)

    @nnx.jit
    def step(model: Any, optimizer: nnx.Optimizer, x: Any, y: Any) -> jax.Array:
        def loss_fn(model: Any) -> jax.Array:
            loss = optax.softmax_cross_entropy_with_integer_labels(model(x), y)
            return loss.mean()

        loss, gradient = nnx.value_and_grad(loss_fn)(model)
        optimizer.update(model, gradient)
        return loss

    return lambda: (step(model, optimizer, x, y), nnx.state(model, nnx.Param))


def _mnist_convnet(
    report: ConvReport,
    rounds: tuple[int, int],
    seconds: float,
    classes: tuple[str, ...],
) -> None:
    rng = np.random.default_rng(0)
    x = rng.random((BATCH, 28, 28, 1), np.float32)
    y = rng.integers(0, CLASSES, BATCH).astype(np.int32)
    ours, weights = make_ours()
    want = logits(ours, x)
    models: dict[str, nnx.Module] = {
        **{OURS_IN[accuracy]: make_ours()[0] for accuracy in classes},
        "Flax nnx": Stock(weights),
        "Flax nnx, lax_compatible_conv": Stock(
            weights, conv_general_dilated=lax_compatible_conv
        ),
    }
    steps: dict[str, Callable[[], Any]] = {}
    for name, model in models.items():
        try:
            got = logits(model, x)
        except TypeError as error:
            if name in OURS_IN.values():
                raise
            # Some releases of Flax pass options that the hook does not take.
            report.notes.append(f"{name} left out: {error}")
            continue
        check(f"MNIST convnet, {name}", (got,), (want,))
        step = nnx_step(model, jnp.asarray(x), jnp.asarray(y))
        steps[name] = step
        for accuracy in classes:
            if name == OURS_IN[accuracy]:
                steps[name] = partial(_in_class, accuracy, step)
    absent = missing()
    if "keras" not in absent:
        steps |= keras_steps(weights, x, y, want)
    if "torch" not in absent:
        steps["PyTorch"] = torch_step(weights, x, y, want, False)
        steps["PyTorch, channels_last"] = torch_step(weights, x, y, want, True)
    contestants = {
        # Dropout makes every step another one: the logits were compared instead.
        name: Contestant(step, to_numpy=lambda _: ())
        for name, step in steps.items()
    }
    title = f"MNIST convnet, batch {BATCH}"
    report.meet(title, "Adam step", contestants, rounds, seconds)


def _in_class(accuracy: str, step: Callable[[], Any]) -> Any:
    """A step whose convolutions are of a class, wherever it is traced."""
    with conv_accuracy(accuracy):
        return step()


def logits(model: Any, x: np.ndarray) -> np.ndarray:
    model.eval()
    return np.asarray(model(jnp.asarray(x)))

"""How fast are whole networks? jaxnets against Flax, Keras-JAX and PyTorch.

    python -m benchmarks.models [--quick] [--networks NAME ...] [--size N]
        [--accuracy CLASS]

Forward pass and training step (cross-entropy, plain gradient descent, parameters given
back), float32, batches of 1 and 32 images of each network's usual size (28 or 32 rows,
224 for the large ones unless --size says otherwise, a multiple of 32). The peers are
stock layers that follow one recipe a network, with our weights. Logits are compared
before timing, and for networks without dropout the losses of two training steps too.

Ours runs in the relaxed class of accuracy, as layers do, unless `--accuracy` says
otherwise. Also: how long each takes to compile, and compile time and temporary memory
of a deep network as a loop (`scan`) and with its maps computed again (`remat`).
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks._conv_peers import (
    OURS_IN,
    Contestant,
    add_accuracy,
    classes_of,
    missing,
)
from benchmarks._conv_plots import draw_ratios
from benchmarks._conv_report import ConvReport, relative_norm
from benchmarks._model_peers import flax_logits, keras_model
from benchmarks._model_recipes import NETWORKS
from benchmarks._model_summary import summarise
from jaxnets import models
from jaxnets.functional import conv_accuracy

RATE = 1e-3
TOLERANCE = 1e-3
QUICK = ("lenet5_modern", "resnet20_cifar")
# What a deep network can be made with, for compile time and memory.
DEEP: dict[str, dict[str, bool]] = {
    "unrolled": {},
    "scan": {"scan": True},
    "remat": {"remat": True},
    "scan and remat": {"scan": True, "remat": True},
}


class Ours:
    """Our network taken apart, and its weights by path."""

    def __init__(self, model: nnx.Module):
        self.model = model

    def weights(self) -> dict[str, np.ndarray]:
        flat = nnx.to_flat_state(nnx.state(self.model, (nnx.Param, nnx.BatchStat)))
        return {".".join(map(str, p)): np.asarray(v[...]) for p, v in flat}

    def forward(self) -> tuple[Callable, Any]:
        self.model.eval()
        graph, state = nnx.split(self.model)
        return lambda state, x: nnx.merge(graph, state)(x), state

    def training(self) -> tuple[Callable, tuple[Any, Any]]:
        self.model.train()
        graph, *parts = nnx.split(self.model, nnx.Param, ...)
        params, rest = map(nnx.to_pure_dict, parts)

        def step(values: Any, x: Any, y: Any, key: Any) -> Any:
            params, rest = values

            def loss_fn(params: Any) -> Any:
                model = nnx.merge(graph, params, rest)
                loss = loss_of(model(x), y)
                after = nnx.state(model, nnx.Not(nnx.Param))
                return loss, nnx.to_pure_dict(after)

            (loss, rest), gradient = jax.value_and_grad(loss_fn, has_aux=True)(params)
            return loss, (descend(params, gradient), rest)

        return step, (params, rest)


def loss_of(logits: Any, y: Any) -> Any:
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def descend(params: Any, gradient: Any) -> Any:
    return jax.tree.map(lambda p, g: p - RATE * g, params, gradient)


def flax_training(recipe: Any, weights: Any) -> tuple[Callable, tuple[Any, Any]]:
    apply = flax_logits(recipe)
    fixed = {p for p in weights if p.endswith((".mean", ".var"))}

    def step(values: Any, x: Any, y: Any, key: Any) -> Any:
        params, statistics = values

        def loss_fn(params: Any) -> Any:
            logits, after = apply(params | statistics, x, key)
            return loss_of(logits, y), after

        found, gradient = jax.value_and_grad(loss_fn, has_aux=True)(params)
        return found[0], (descend(params, gradient), found[1])

    arrays = {p: jnp.asarray(a) for p, a in weights.items()}
    params = {p: a for p, a in arrays.items() if p not in fixed}
    return step, (params, {p: arrays[p] for p in fixed})


def keras_parts(recipe: Any, weights: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    model = keras_model(recipe, weights, shape)
    learnt, rest = model.trainable_variables, model.non_trainable_variables
    # Copies, as the steps give their buffers away.
    values = tuple([jnp.copy(v.value) for v in part] for part in (learnt, rest))

    def forward(values: Any, x: Any) -> Any:
        return model.stateless_call(*values, x, training=False)[0]

    def step(values: Any, x: Any, y: Any, key: Any) -> Any:
        def loss_fn(learnt: Any) -> Any:
            logits, after = model.stateless_call(learnt, values[1], x, training=True)
            return loss_of(logits, y), after

        found, gradient = jax.value_and_grad(loss_fn, has_aux=True)(values[0])
        return found[0], (descend(values[0], gradient), found[1])

    return {"forward": (forward, values), "training": (step, values)}


def compiled(function: Callable, *operands: Any, donate: bool) -> tuple[Any, float]:
    """The program, and how many milliseconds it took to trace and compile."""
    began = time.perf_counter()
    jitted = jax.jit(function, donate_argnums=0 if donate else ())
    program = jitted.lower(*operands).compile()
    return program, (time.perf_counter() - began) * 1e3


def contestant(part: str, made: tuple[Callable, Any], x: Any, y: Any) -> Contestant:
    """A JAX function of values and data, compiled here; a step's values go on."""
    function, values = made
    if part == "forward":
        program, ms = compiled(function, values, x, donate=False)
        return Contestant(lambda: program(values, x), ms)
    key = jax.random.key(0)
    program, ms = compiled(function, values, x, y, key, donate=True)
    # Training steps take the buffers of their operands: these are the network's own.
    held = [jax.tree.map(jnp.copy, values)]

    def run() -> Any:
        loss, held[0] = program(held[0], x, y, key)
        return loss

    used = program.memory_analysis()
    return Contestant(run, ms, temporary_bytes=used and used.temp_size_in_bytes)


def contestants(
    name: str, part: str, batch: int, size: int, accuracies: tuple[str, ...]
) -> dict[str, Contestant]:
    """Ours first, then every peer that is installed."""
    recipe, _, channels, _ = NETWORKS[name]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, size, size, channels), np.float32)
    ours = Ours(models.create(name, rngs=nnx.Rngs(0)))
    weights = ours.weights()
    classes = weights[max(p for p in weights if p.startswith("head"))].shape
    y = rng.integers(0, classes[-1], batch).astype(np.int32)
    arrays = jnp.asarray(x), jnp.asarray(y)
    found = {}
    for accuracy in accuracies:
        with conv_accuracy(accuracy):
            made = contestant(part, getattr(ours, part)(), *arrays)
        found[OURS_IN[accuracy]] = made
    if part == "forward":
        values = {p: jnp.asarray(a) for p, a in weights.items()}
        flax = (lambda values, x: flax_logits(recipe)(values, x)[0], values)
    else:
        flax = flax_training(recipe, weights)
    found["Flax nnx"] = contestant(part, flax, *arrays)
    if "keras" not in missing():
        made = keras_parts(recipe, weights, x.shape[1:])[part]
        found["Keras on JAX"] = contestant(part, made, *arrays)
    if "torch" not in missing():
        from benchmarks._model_torch import torch_runs

        for title, last in (("PyTorch", False), ("PyTorch, channels_last", True)):
            runs = torch_runs(recipe, weights, x, y, RATE, last=last)
            found[title] = Contestant(runs[part])
    return found


def agree(what: str, found: dict[str, Contestant], steps: int) -> None:
    """Stop where a peer's results, of so many calls, are not ours."""
    for _ in range(steps):
        want = None
        for name, one in found.items():
            got = np.asarray(one.run())
            want = got if want is None else want
            error = relative_norm(got, want)
            if not error <= TOLERANCE:
                raise ValueError(f"{what}: {name} is off by {error:.1e}")


def compare(
    report: ConvReport,
    name: str,
    batch: int,
    size: int,
    quick: bool,
    classes: tuple[str, ...],
) -> None:
    random = NETWORKS[name][3]
    case = f"{name}, {batch}x{size}x{size}"
    for part in ("forward", "training"):
        found = contestants(name, part, batch, size, classes)
        if part == "forward" or not random:
            agree(f"{case}, {part}", found, 1 if part == "forward" else 2)
        # Dropout makes every step another one, and `agree` has compared the rest.
        timed = {n: one._replace(to_numpy=lambda _: ()) for n, one in found.items()}
        rounds, seconds = ((2, 3), 1.0) if quick else ((3, 15), 20.0)
        row = report.meet(case, part, timed, rounds, seconds)
        times = {t.name: t.minimum for t in row.timings}
        report.summary.setdefault("times", {})[f"{case}, {part}"] = times
        compile_ms = {n: c.compile_ms for n, c in found.items() if c.compile_ms}
        report.summary.setdefault("compile_ms", {})[f"{case}, {part}"] = compile_ms


def deep(report: ConvReport, names: tuple[str, ...], batch: int) -> None:
    """Compile time and temporary memory of a training step of deep networks."""
    report.say("", f"| training step, batch {batch} | made | compile s | memory MB |")
    report.say("|---|---|---|---|")
    x = jax.ShapeDtypeStruct((batch, 32, 32, 3), jnp.float32)
    y = jax.ShapeDtypeStruct((batch,), jnp.int32)
    for name in names:
        for title, options in DEEP.items():
            make = partial(models.create, name, **options)
            model = nnx.eval_shape(lambda make=make: make(rngs=nnx.Rngs(0)))
            step, values = Ours(model).training()
            program, ms = compiled(step, values, x, y, None, donate=False)
            used = program.memory_analysis()
            megabytes = used.temp_size_in_bytes / 1e6 if used else float("nan")
            report.say(f"| {name} | {title} | {ms / 1e3:.1f} | {megabytes:.0f} |")
            report.summary.setdefault("deep", []).append(
                {"network": name, "made": title, "ms": ms, "megabytes": megabytes}
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two small networks")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS)
    parser.add_argument("--size", type=int, help="rows and columns instead of 224")
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--no-deep", action="store_true", help="leave ResNet-110 out")
    add_accuracy(parser, "relaxed")
    options = parser.parse_args()
    classes = classes_of(options.accuracy)
    if options.size and options.size % 32:
        parser.error(f"--size must be a multiple of 32; got {options.size}")
    report = ConvReport("models", options.quick)
    report.begin()
    batches = [32] if options.quick else options.batch
    for name in options.networks or (QUICK if options.quick else NETWORKS):
        usual = NETWORKS[name][1]
        size = options.size if options.size and usual == 224 else usual
        for batch in batches:
            compare(report, name, batch, size, options.quick, classes)
    summarise(report, classes)
    if not (options.quick or options.no_deep):
        deep(report, ("resnet110_cifar", "plain110_cifar"), 32)
    report.store(draw_ratios)


if __name__ == "__main__":
    main()

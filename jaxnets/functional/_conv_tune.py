"""Measuring which algorithm is fastest on the running device."""

import math
import os
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxnets.functional import _conv_primitive
from jaxnets.functional._checks import check_integer
from jaxnets.functional._conv_explain import conv_facts
from jaxnets.functional._conv_plan import ConvPlan, make_plan
from jaxnets.functional._conv_plans import (
    TunedPlan,
    canonical_platform,
    load_plans,
    store_plan,
)
from jaxnets.functional._conv_rule import candidates
from jaxnets.functional._shapes import IntOrInts, Padding
from jaxnets.functional.conv_algorithms import PARTS, ConvFacts

HOPELESS = 30
"""Estimated times the best, at which a candidate is not measured at all."""

BEHIND = 3
"""Measured times the best, at which a candidate is not measured any more."""

CHANCES = 5
"""Rounds before a candidate may fall behind: one run that the machine held up is no
reason to give it up."""


def tune_conv(
    x_shape: Sequence[int],
    kernel_shape: Sequence[int],
    *,
    strides: IntOrInts = 1,
    padding: Padding = "SAME",
    dilation: IntOrInts = 1,
    groups: int = 1,
    dtype: Any = "float32",
    precision: Any = None,
    accuracy: str | None = None,
    rounds: int = 7,
    path: str | os.PathLike[str] | None = None,
) -> ConvPlan:
    """Measure the algorithms on JAX's default device; return the fastest of each part.

    Every candidate runs in turn, `rounds` times, and the least time wins. Candidates
    that the rule gives 30 times the seconds of its best are left out, and one that took
    3 times those of the best in every one of five rounds is not run again.

    Accuracy: only algorithms of the class are measured. A stored plan is found for
    either class, and where it names an algorithm that is out the rule decides.

    Args:
        x_shape: `(*batch, *spatial, in)`.
        kernel_shape: `(*window, in // groups, out)`.
        strides: as in `conv`.
        padding: as in `conv`.
        dilation: as in `conv`.
        groups: as in `conv`.
        dtype: floating dtype of x and the kernel.
        precision: as in `conv`.
        accuracy: as in `conv`; algorithms that it rules out are not measured.
        rounds: runs of every candidate, after the one that compiles it.
        path: JSON file to add the plan to, for `use_plans`; None stores nothing.

    Returns:
        A `ConvPlan` for this convolution, to be passed as `conv(algorithm=plan)`.

    Raises:
        TypeError: if an option has the wrong type, or the dtype is not floating.
        ValueError: as `conv` does, or if `path` holds something else.

    Example:
        >>> plan = tune_conv((1, 8, 8, 2), (3, 3, 2, 2), rounds=1)
        >>> plan.facts.window
        (3, 3)

    Source:
        The planner that measures is FFTW's idea, Frigo and Johnson (2005), section V.
    """
    facts = conv_facts(
        "tune_conv",
        x_shape,
        kernel_shape,
        strides,
        padding,
        dilation,
        groups,
        dtype,
        precision,
        accuracy,
    )
    check_integer("tune_conv", "rounds", rounds, minimum=1)
    if 0 in (*x_shape, *kernel_shape):
        raise ValueError(
            "tune_conv: there is nothing to measure in an empty convolution; got "
            f"x_shape={tuple(x_shape)}, kernel_shape={tuple(kernel_shape)}"
        )
    if not jnp.issubdtype(facts.dtype, jnp.floating):
        raise TypeError(f"tune_conv: dtype must be floating; got {facts.dtype}")
    if path is not None:
        _check_store(Path(path))
    platform = canonical_platform(jax.default_backend())
    names = []
    for part in PARTS:
        times = measure(part, facts, platform, rounds)
        names.append(min(times, key=lambda name: times[name]))
    plan = make_plan(names, facts)
    if path is not None:
        store_plan(path, TunedPlan(platform, facts, plan))
    return plan


def _check_store(path: Path) -> None:
    """Find out before the measurements whether the plan can be stored."""
    if not path.parent.is_dir():
        raise ValueError(f"tune_conv: path must be in a folder; {path.parent} is none")
    if path.exists():
        load_plans(path)


def measure(
    part: str,
    facts: ConvFacts,
    platform: str,
    rounds: int,
    names: Sequence[str] | None = None,
) -> dict[str, float]:
    """Least seconds of every candidate for one part, `rounds` times in turn.

    With `names`, of these alone, however long they are expected to take.

    The order changes from round to round: what runs after a large one finds its
    operands in no cache.
    """
    found = [one for one in candidates(part, facts, platform) if one.work is not None]
    worth = HOPELESS * found[0].seconds
    arrays = draw(part, facts)
    runs = {
        one.algorithm: compiled(part, facts, one.algorithm)
        for one in found
        if (one.seconds <= worth if names is None else one.algorithm in names)
    }
    for run in runs.values():
        jax.block_until_ready(run(*arrays))
    order, shuffle = list(runs), random.Random(0).shuffle
    least = dict.fromkeys(runs, math.inf)
    for number in range(rounds):
        shuffle(order)
        for name in order:
            began = time.perf_counter()
            jax.block_until_ready(runs[name](*arrays))
            least[name] = min(least[name], time.perf_counter() - began)
        if number + 1 < CHANCES:
            continue
        limit = BEHIND * min(least.values(), default=0.0)
        order = [name for name in order if least[name] <= limit]
    return least


def compiled(
    part: str, facts: ConvFacts, algorithm: str
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """One part of a convolution by one algorithm, jitted."""
    return partial(_run, part=part, facts=facts, algorithm=algorithm)


@partial(jax.jit, static_argnames=("part", "facts", "algorithm"))
def _run(
    a: jax.Array, b: jax.Array, *, part: str, facts: ConvFacts, algorithm: str
) -> jax.Array:
    plan = make_plan([algorithm] * 3)
    if part == "forward":
        return _conv_primitive.conv(a, b, facts.spec, plan)
    if part == "input_grad":
        return _conv_primitive.input_grad(a, b, facts.spec, facts.spatial, plan)
    return _conv_primitive.kernel_grad(a, b, facts.spec, facts.window, plan)


def draw(part: str, facts: ConvFacts) -> tuple[jax.Array, jax.Array]:
    """Random operands for one part."""
    x = (facts.batch, *facts.spatial, facts.channels)
    kernel = (*facts.window, facts.fan_in, facts.out)
    y = (facts.batch, *facts.positions, facts.out)
    shapes = {"forward": (x, kernel), "input_grad": (y, kernel), "kernel_grad": (x, y)}
    first, second = shapes[part]
    keys = jax.random.split(jax.random.key(0))
    return (
        jax.random.normal(keys[0], first, facts.dtype),
        jax.random.normal(keys[1], second, facts.dtype),
    )

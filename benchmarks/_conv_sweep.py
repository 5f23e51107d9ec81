"""Convolutions drawn at random, and every algorithm measured on them."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jaxnets.functional._conv_plan import describe
from jaxnets.functional._conv_rule import candidates
from jaxnets.functional._conv_tune import compiled, draw, measure
from jaxnets.functional.conv_algorithms import PARTS, ConvFacts, ConvSpec

LEAST, MOST = 1e6, 2e9  # multiply-adds: a fraction of a millisecond to tens of them
MOST_CELLS = 2e7


class Measured(NamedTuple):
    """The least seconds of the algorithms for one part of a convolution."""

    name: str
    part: str
    facts: ConvFacts
    seconds: dict[str, float]


def draw_facts(rng: np.random.Generator) -> ConvFacts:
    """One convolution of the kinds that networks and signals have."""
    while True:
        rank = int(rng.choice([1, 2, 2, 2, 2, 3]))
        longest = {1: 2048, 2: 31, 3: 5}[rank]
        usual = rng.random()
        if usual < 0.45:
            side = 3
        elif usual < 0.6:
            side = int(rng.choice([1, 5, 7]))
        else:
            side = round(_spread(rng, 1, longest))
        largest = {1: 16384, 2: 224, 3: 40}[rank]
        size = round(_spread(rng, 5, largest))
        if rng.random() < 0.05:
            size = side
        channels, out = round(_spread(rng, 1, 600)), round(_spread(rng, 4, 600))
        if rng.random() < 0.8:
            channels, out = _usual(channels), _usual(out)
        if rng.random() < 0.15:
            channels = int(rng.choice([1, 3]))
        groups = 1
        kind = rng.random()
        if kind < 0.2:
            groups = channels = out
        elif kind < 0.35:
            groups = int(rng.choice([2, 4, 8, 32]))
            channels = max(1, channels // groups) * groups
            out = max(1, out // groups) * groups
        batch = round(_spread(rng, 1, 256))
        stride = int(rng.choice([1, 1, 1, 2]))
        if rank == 2 and rng.random() < 0.1:  # the first layer of a network
            groups, channels = 1, int(rng.choice([1, 3]))
            side, stride = int(rng.choice([3, 5, 7, 11])), int(rng.choice([1, 2, 2, 4]))
            size, out = round(_spread(rng, 28, largest)), int(rng.choice([6, 32, 64]))
        pads = ((side // 2, (side - 1) // 2),) * rank
        if rng.random() < 0.25 or size == side:
            pads = ((0, 0),) * rank
        spec = ConvSpec((stride,) * rank, pads, (1,) * rank, groups, None, True)
        facts = ConvFacts(
            batch, (size,) * rank, (side,) * rank, channels, out, spec, "float32"
        )
        cells = batch * size**rank * max(channels, out)
        if LEAST < facts.products < MOST and cells < MOST_CELLS and side <= size:
            return facts


def _spread(rng: np.random.Generator, least: float, most: float) -> float:
    """A number whose logarithm is drawn evenly."""
    return float(np.exp(rng.uniform(np.log(least), np.log(most))))


def _usual(channels: int) -> int:
    """A number of channels as networks have it, which fills vector units."""
    step = 8 if channels < 64 else 32
    return channels if channels < 8 else round(channels / step) * step


def sweep(seed: int, count: int) -> list[ConvFacts]:
    """The first convolutions that a seed gives."""
    rng = np.random.default_rng(seed)
    return [draw_facts(rng) for _ in range(count)]


def measure_all(
    seed: int,
    count: int,
    platform: str,
    rounds: int,
    path: Path,
    only: Collection[tuple[str, str]] = (),
) -> list[Measured]:
    """Measure all parts of a sweep; the results are compared with each other.

    Every line of the file at `path` is one part: its facts, name and seconds. With
    `only`, pairs of an algorithm and a part, no others are measured.
    """
    with path.open("w") as file:
        for number, facts in enumerate(sweep(seed, count)):
            for part in PARTS:
                names = [name for name, what in only if what == part] or None
                if only and names is None:
                    continue
                agree(part, facts, platform, names)
                seconds = measure(part, facts, platform, rounds, names)
                print(json.dumps([facts, part, seconds]), file=file, flush=True)
            print(f"{number + 1}/{count}: {describe(facts)}", flush=True)
            jax.clear_caches()
    return read(path)


def read(path: Path) -> list[Measured]:
    """What `measure_all` wrote."""
    found = []
    for line in path.read_text().splitlines():
        (batch, spatial, window, channels, out, spec, dtype), part, seconds = (
            json.loads(line)
        )
        strides, padding, dilation, groups, *_ = spec
        axes = tuple((lo, hi) for lo, hi in padding)
        spec = ConvSpec(tuple(strides), axes, tuple(dilation), groups, None, True)
        facts = ConvFacts(
            batch, tuple(spatial), tuple(window), channels, out, spec, dtype
        )
        found.append(Measured(describe(facts), part, facts, seconds))
    return found


def agree(
    part: str, facts: ConvFacts, platform: str, names: Collection[str] | None = None
) -> None:
    """Raise if two algorithms that are about to be timed differ."""
    arrays = draw(part, facts)
    able = [
        one.algorithm
        for one in candidates(part, facts, platform)
        if one.work is not None
    ]
    first, *others = able
    others = others[:2] if names is None else [n for n in others if n in names]
    want = np.asarray(compiled(part, facts, first)(*arrays), np.float64)
    for name in others:
        got = np.asarray(compiled(part, facts, name)(*arrays), np.float64)
        error = np.linalg.norm(got - want) / max(np.linalg.norm(want), 1e-30)
        if error > 1e-4:
            raise ValueError(f"{describe(facts)}, {part}: {name} is off by {error}")

"""How often `auto` takes the fastest algorithm: every one that can, timed in turn."""

import time
from collections.abc import Sequence
from typing import Any

import jax

from benchmarks._conv_cases import Layer
from benchmarks._conv_peers import Contestant
from benchmarks._conv_report import ConvReport
from jaxnets.functional._conv_explain import conv_facts
from jaxnets.functional._conv_rule import Target, candidates, choose
from jaxnets.functional._conv_tune import HOPELESS, compiled, draw
from jaxnets.functional.conv_algorithms import PARTS, ConvFacts

NEAR = 1.1
"""Times the fastest up to which a choice is a good one."""

MOST_LINES = 700
"""Lines of StableHLO of the longest program that is compiled, in half a minute or so.

Algorithms whose program grows with the taps reach it with hundreds of them.
"""


def facts_of(layer: Layer, accuracy: str = "relaxed") -> ConvFacts:
    """The layer's convolution; of a transposed layer the one that it transposes."""
    return conv_facts(
        "conv_suite",
        layer.y_shape if layer.transposed else layer.x_shape,
        layer.kernel_shape,
        layer.stride,
        layer.pads,
        1,
        layer.groups,
        "float32",
        None,
        accuracy,
    )


def time_algorithms(
    report: ConvReport,
    layers: Sequence[Layer],
    rounds: tuple[int, int],
    seconds: float,
    accuracy: str = "relaxed",
) -> None:
    """Time all algorithms on each part of the layers; print where `auto` is off."""
    platform = jax.default_backend()
    found: list[dict[str, Any]] = []
    for layer in layers:
        facts = facts_of(layer, accuracy)
        for part in PARTS:
            auto = choose(part, facts, Target(platform))
            able = [c for c in candidates(part, facts, platform) if c.work is not None]
            limit = HOPELESS * able[0].seconds
            left_out = [c.algorithm for c in able if c.seconds > limit]
            names = [c.algorithm for c in able if c.algorithm not in (auto, *left_out)]
            built = {n: one_algorithm(part, facts, n) for n in (auto, *names)}
            left_out += [name for name, one in built.items() if one is None]
            contestants = {n: one for n, one in built.items() if one is not None}
            if auto not in contestants:
                report.notes.append(f"{layer}, {part}: {auto} is too long to compile")
                continue
            row = report.meet(str(layer), part, contestants, rounds, seconds)
            times = {one.name: one.minimum for one in row.timings}
            best = min(times, key=lambda name: times[name])
            found.append(
                {
                    "layer": str(layer),
                    "part": part,
                    "auto": auto,
                    "best": best,
                    "times_best": times[auto] / times[best],
                    "left_out": left_out,
                }
            )
    _say(report, found)


def one_algorithm(
    part: str, facts: ConvFacts, algorithm: str, *, most_lines: int = MOST_LINES
) -> Contestant | None:
    """One part of a convolution by one algorithm; None if it is too long to compile."""
    arrays = draw(part, facts)
    began = time.perf_counter()
    lowered = jax.jit(compiled(part, facts, algorithm)).lower(*arrays)
    if lowered.as_text().count("\n") > most_lines:
        return None
    run = lowered.compile()
    elapsed = (time.perf_counter() - began) * 1e3
    memory = run.memory_analysis()
    return Contestant(
        lambda: run(*arrays),
        elapsed,
        temporary_bytes=memory.temp_size_in_bytes if memory else None,
    )


def _say(report: ConvReport, found: list[dict[str, Any]]) -> None:
    near = [one["times_best"] <= NEAR for one in found]
    share = sum(near) / max(len(near), 1)
    report.summary["auto_near_best"] = share
    report.summary["choices"] = found
    report.say("", f"auto is within 10 % of the fastest algorithm on {share:.1%} of")
    report.say(f"{len(found)} parts of layers. Where it is not:", "")
    report.say("| layer | part | auto | fastest | times the fastest |")
    report.say("|---|---|---|---|---|")
    for one, is_near in zip(found, near, strict=True):
        if not is_near:
            report.say(
                f"| {one['layer']} | {one['part']} | {one['auto']} | {one['best']} "
                f"| {one['times_best']:.2f} |"
            )
    out = sum(len(one["left_out"]) for one in found)
    report.say(
        "",
        f"Left out: {out} candidates, at over {HOPELESS} times auto's estimate or "
        "too long to compile.",
    )

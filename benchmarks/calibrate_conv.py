"""Fit the rates of `algorithm="auto"`: `python -m benchmarks.calibrate_conv`.

Draws convolutions at random (the seed is printed), measures every algorithm on every
part of them on JAX's default device, and fits for each algorithm, kind of work and part

    seconds = flops · a + bytes · b + calls · c,    a, b, c ≥ 0

by least squares of the relative errors. `--write` puts the rates into the file that the
rule reads; without it they are printed. `--check SEED` measures a sweep that was not
used and says how often the rule is within 10 % of the fastest algorithm.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import jax
import numpy as np
from scipy.optimize import nnls

import jaxnets
from benchmarks._conv_sweep import Measured, draw_facts, measure_all
from benchmarks._timing import RESULTS, machine
from jaxnets.functional._conv_plans import canonical_platform
from jaxnets.functional._conv_rule import choose, rates_of_platforms
from jaxnets.functional.conv_algorithms import ALGORITHMS, PARTS

RATES = Path(jaxnets.__file__).parent / "functional" / "_conv_rates.json"
KINDS = ("dense", "grouped", "depthwise", "volume")
WITHIN = 1.1
RELATED = 0.1  # weight of measurements of another kind of work


def fit(measured: list[Measured]) -> dict:
    """Rates by algorithm, kind and part; a kind that never occurred borrows another."""
    rows = defaultdict(list)
    for one in measured:
        for name, seconds in one.seconds.items():
            work = ALGORITHMS[name].work(one.part, one.facts)
            rows[name, work.kind, one.part].append((work[:3], seconds))
    rates: dict = {name: {} for name in ALGORITHMS}
    for (name, kind, part), found in rows.items():
        related = [] if name == "direct" else related_rows(rows, name, kind, part)
        work, seconds = (np.array(c) for c in zip(*found, *related, strict=True))
        trust = np.r_[np.ones(len(found)), np.full(len(related), RELATED)]
        rates[name].setdefault(kind, {})[part] = least_squares(work, seconds, trust)
    for kinds in rates.values():
        parts = {p: r for kind in kinds.values() for p, r in kind.items()}
        for kind in KINDS:
            kinds[kind] = {p: kinds.get(kind, {}).get(p, parts[p]) for p in PARTS}
    return rates


def related_rows(rows: dict, algorithm: str, kind: str, part: str) -> list:
    """The rows of the other kinds, so that a few of one kind are not overfitted."""
    return [
        row
        for (name, other, what), found in rows.items()
        if (name, what) == (algorithm, part) and other != kind
        for row in found
    ]


def least_squares(
    work: np.ndarray, seconds: np.ndarray, trust: np.ndarray
) -> list[float]:
    """Rates of the least relative error, the worst residuals weighed down."""
    scale = work.max(axis=0) + 1e-30
    weight = trust
    for _ in range(10):
        relative = work / scale * (weight / seconds)[:, None]
        solution, _ = nnls(relative, weight)
        error = np.abs(np.log(np.maximum(work / scale @ solution, 1e-12) / seconds))
        weight = trust / np.maximum(error, 0.1)
    return [float(f"{rate:.4g}") for rate in solution / scale]


def check(measured: list[Measured], platform: str) -> None:
    """Say how good the rule's choices are on these measurements."""
    losses = []
    for one in measured:
        taken = choose(one.part, one.facts, platform)
        best = min(one.seconds, key=lambda name: one.seconds[name])
        ratio = one.seconds.get(taken, float("inf")) / one.seconds[best]
        losses.append(ratio)
        if ratio > WITHIN:
            print(f"{ratio:6.2f}  {one.part:<12} took {taken}, best {best}: {one.name}")
    good = np.mean(np.array(losses) <= WITHIN)
    print(
        f"within 10 % of the fastest: {good:.1%} of {len(losses)}; geometric mean of "
        f"the loss {np.exp(np.mean(np.log(losses))):.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="keep the rates")
    parser.add_argument("--check", action="store_true", help="judge, do not fit")
    options = parser.parse_args()
    platform = canonical_platform(jax.default_backend())
    print(f"seed {options.seed}, {options.cases} convolutions, on {platform}")
    rng = np.random.default_rng(options.seed)
    cases = [draw_facts(rng) for _ in range(options.cases)]
    measured = measure_all(cases, platform, options.rounds)
    RESULTS.mkdir(parents=True, exist_ok=True)
    kept = [(one.name, one.part, one.seconds) for one in measured]
    raw = RESULTS / f"calibrate_conv_{options.seed}.json"
    raw.write_text(json.dumps({"machine": machine(), "measured": kept}) + "\n")
    if not options.check:
        rates = fit(measured)
        print(json.dumps(rates, indent=1))
        if options.write:
            content = json.loads(RATES.read_text())
            content["platforms"][platform] = {"measured": True, "rates": rates}
            RATES.write_text(json.dumps(content, indent=1) + "\n")
            rates_of_platforms.cache_clear()
            print(f"written: {RATES}")
    check(measured, platform)


if __name__ == "__main__":
    main()

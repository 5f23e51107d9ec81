"""Fit the rates of `algorithm="auto"`: `python -m benchmarks.calibrate_conv`.

Draws convolutions at random (the seed is printed), measures every algorithm on every
part of them on JAX's default device, and fits what `functional/_conv_cost.py` sums up:
for each algorithm, kind of work and part

    seconds = flops · a + bytes · b + calls · c,    a, b, c ≥ 0

by least squares of the relative errors, and for each algorithm and part a Gaussian
process over the sizes to what is left. How far an algorithm's estimates are off on
convolutions that were left out of a fit, a fifth at a time, is kept too. `--write` puts
all of it into the file that the rule reads. `--only gemm shift:kernel_grad` measures
these algorithms, or parts of them, alone and corrects what is known of them: for when
one was changed. `--check` measures a sweep that was not used and says how often the
rule is within 10 % of the fastest algorithm. What was measured is kept as JSON lines,
and `--from` takes such files up again in place of measuring.
"""

import argparse
import itertools
import json
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from scipy.optimize import nnls

import jaxnets
from benchmarks._conv_sweep import Measured, measure_all, read
from benchmarks._timing import RESULTS
from jaxnets.functional._conv_cost import Costs, costs, kernel, plane, sizes, stored
from jaxnets.functional._conv_plans import canonical_platform
from jaxnets.functional._conv_rule import Target, choose
from jaxnets.functional.conv_algorithms import ALGORITHMS, PARTS

RATES = Path(jaxnets.__file__).parent / "functional" / "_conv_rates.json"
KINDS = ("dense", "grouped", "depthwise", "volume", "transforms")
WITHIN = 1.1
FOLDS = 5
RELATED = 0.1  # weight of measurements of another kind of work
NOISE = 0.1  # variances of log seconds: of what no size explains (78 % right; 0.3: 76),
PLANE = 0.1  # of the plane's coefficients; that of the process itself is 1


def fit(measured: list[Measured]) -> dict:
    """Rates and corrections of a platform, as `_conv_rates.json` keeps them."""
    rates = fit_rates(measured)
    counted = {"measured": True, "rates": rates}
    return counted | {"corrections": fit_corrections(measured, Costs(counted))}


def fit_corrections(measured: list[Measured], known: Costs) -> dict:
    """Gaussian processes for what the estimates that are known leave out."""
    cases = list(dict.fromkeys(one.facts for one in measured))
    places = {facts: i for i, facts in enumerate(cases)}
    left = defaultdict(dict)
    for one in measured:
        basis = known.basis(one.facts)
        if basis is not None:
            basis = basis._replace(distance=0.0)
        for name, seconds in one.seconds.items():
            work = ALGORITHMS[name].work(one.part, one.facts)._replace(fresh=0.0)
            estimate = known.seconds(name, one.part, work, basis)
            left[name, one.part][places[one.facts]] = np.log(seconds / estimate)
    points = np.round([sizes(facts) for facts in cases], 3)
    planes: dict = defaultdict(dict)
    weights: dict = defaultdict(dict)
    for (name, part), residuals in left.items():
        here = list(residuals)
        slope, mixed = gaussian_process(points[here], np.array([*residuals.values()]))
        spread = np.zeros(len(cases))
        spread[here] = mixed
        planes[name][part] = short(slope)
        weights[name][part] = short(spread)
    return {"cases": points.tolist(), "planes": planes, "weights": weights}


def with_spread(
    refit: Callable[[list[Measured]], dict], measured: list[Measured]
) -> dict:
    """A fit, and how far it is off on convolutions it has not seen: five in turn."""
    cases = list(dict.fromkeys(one.facts for one in measured))
    np.random.default_rng(0).shuffle(cases)
    left = defaultdict(list)
    for fold in range(FOLDS):
        unseen = set(cases[fold::FOLDS])
        known = Costs(refit([one for one in measured if one.facts not in unseen]))
        for one in measured:
            if one.facts in unseen:
                basis = known.basis(one.facts)
                for name, seconds in one.seconds.items():
                    work = ALGORITHMS[name].work(one.part, one.facts)
                    work = work._replace(fresh=0.0)
                    estimate = known.seconds(name, one.part, work, basis)
                    left[name].append(np.log(seconds / estimate))
    spread = {name: round(float(np.std(found)), 3) for name, found in left.items()}
    return refit(measured) | {"spread": spread}


def gaussian_process(
    points: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The plane and the weights of the kernels that explain `values` best."""
    planes = plane(points)
    covariance = kernel(points, points) + PLANE * planes @ planes.T
    weights = np.linalg.solve(covariance + NOISE * np.eye(len(points)), values)
    return PLANE * planes.T @ weights, weights


def short(values: np.ndarray) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def fit_rates(measured: list[Measured]) -> dict:
    """Rates by algorithm, kind and part; a kind that never occurred borrows another."""
    rows = defaultdict(list)
    for one in measured:
        for name, seconds in one.seconds.items():
            work = ALGORITHMS[name].work(one.part, one.facts)
            rows[name, work.kind, one.part].append((work[:3], seconds))
    rates: dict = defaultdict(dict)
    for (name, kind, part), found in rows.items():
        related = [] if name == "direct" else related_rows(rows, name, kind, part)
        work, seconds = (np.array(c) for c in zip(*found, *related, strict=True))
        trust = np.r_[np.ones(len(found)), np.full(len(related), RELATED)]
        rates[name].setdefault(kind, {})[part] = least_squares(work, seconds, trust)
    for kinds in rates.values():
        parts = {p: r for kind in kinds.values() for p, r in kind.items()}
        for kind in KINDS:
            kinds[kind] = {p: kinds.get(kind, {}).get(p, r) for p, r in parts.items()}
    return dict(rates)


def corrected(known: dict, measured: list[Measured]) -> dict:
    """What is known of a platform, corrected where measurements say otherwise.

    The new processes are added to the old ones, over the cases of both. An algorithm
    of which nothing is known gets its rates as well.
    """
    if "corrections" not in known:
        raise SystemExit("calibrate_conv: --only needs a platform that was measured")
    known = known | {"rates": fit_rates(measured) | known["rates"], "spread": {}}
    old, new = known["corrections"], fit_corrections(measured, Costs(known))
    cases = old["cases"] + new["cases"]
    planes: dict = defaultdict(dict)
    weights: dict = defaultdict(dict)
    for name, part in itertools.product(known["rates"], PARTS):
        slopes, spread = [[0.0]], []
        for one in (old, new):
            slopes.append(one["planes"].get(name, {}).get(part, [0.0]))
            none = [0.0] * len(one["cases"])
            spread += one["weights"].get(name, {}).get(part, none)
        planes[name][part] = short(np.sum(np.broadcast_arrays(*slopes), axis=0))
        weights[name][part] = spread
    corrections = {"cases": cases, "planes": planes, "weights": weights}
    return known | {"corrections": corrections}


def pairs(names: list[str]) -> list[tuple[str, str]]:
    """`["gemm", "shift:kernel_grad"]` as pairs of an algorithm and a part."""
    found = []
    for name in names:
        algorithm, _, part = name.partition(":")
        if algorithm not in ALGORITHMS or part not in ("", *PARTS):
            raise SystemExit(
                f"calibrate_conv: --only takes {', '.join(ALGORITHMS)}, alone or with "
                f"one of {', '.join(':' + p for p in PARTS)}; got {name!r}"
            )
        found += [(algorithm, p) for p in PARTS if part in ("", p)]
    return found


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
    return short(solution / scale)


def in_lines(content: dict) -> str:
    """JSON with a line for every list of numbers."""
    text = json.dumps(content, indent=1)
    lists = re.compile(r"\[[^][{}]*\]")
    return lists.sub(lambda found: json.dumps(json.loads(found[0])), text) + "\n"


def losses(measured: list[Measured], platform: str) -> np.ndarray:
    """Seconds of what the rule takes over those of the fastest; prints the misses."""
    found = []
    for one in measured:
        taken = choose(one.part, one.facts, Target(platform))
        best = min(one.seconds, key=lambda name: one.seconds[name])
        ratio = one.seconds.get(taken, float("inf")) / one.seconds[best]
        found.append(ratio)
        if ratio > WITHIN:
            print(f"{ratio:6.2f}  {one.part:<12} took {taken}, best {best}: {one.name}")
    return np.array(found)


def report(found: np.ndarray) -> None:
    print(
        f"within 10 % of the fastest: {np.mean(found <= WITHIN):.1%} of {len(found)}; "
        f"geometric mean of the loss {np.exp(np.mean(np.log(found))):.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--from", dest="files", nargs="+", type=Path, default=[])
    parser.add_argument("--write", action="store_true", help="keep what was fitted")
    parser.add_argument("--check", action="store_true", help="judge, do not fit")
    parser.add_argument("--only", nargs="+", default=[], metavar="ALGORITHM[:PART]")
    options = parser.parse_args()
    if options.check and options.only:
        parser.error("--check judges all algorithms: leave --only out")
    only = pairs(options.only)
    platform = canonical_platform(jax.default_backend())
    if options.files:
        measured = [one for path in options.files for one in read(path)]
    else:
        print(f"seed {options.seed}, {options.cases} convolutions, on {platform}")
        RESULTS.mkdir(parents=True, exist_ok=True)
        path = RESULTS / f"calibrate_conv_{options.seed}.jsonl"
        measured = measure_all(
            options.seed, options.cases, platform, options.rounds, path, only
        )
    if only:
        measured = [
            one._replace(
                seconds={n: s for n, s in one.seconds.items() if (n, one.part) in only}
            )
            for one in measured
        ]
    if not options.check:
        known = stored()
        fresh = known.get(platform, {}).get("fresh", 0.0)  # not found by a sweep
        if only:
            before = known[platform]
            fitted = with_spread(lambda some: corrected(before, some), measured)
            fitted["spread"] = before.get("spread", {}) | fitted["spread"]
        else:
            fitted = with_spread(fit, measured) | {"fresh": fresh}
        content = {"platforms": known | {platform: fitted}}
        if options.write:
            RATES.write_text(in_lines(content))
            costs.cache_clear()
            print(f"written: {RATES}")
        else:
            print(in_lines(content))
    if not only:
        report(losses(measured, platform))


if __name__ == "__main__":
    main()

"""How fast is recurrence? jaxnets against Flax, Keras-JAX, Equinox and PyTorch.

    python -m benchmarks.recurrent [--quick]

RNN, LSTM and GRU, forward and training step (sum of squares; gradients of parameters
and inputs), float32, over a grid of batch B, steps T, inputs D and units H; growth in T
and H, lengths, both directions, and the memory of a gradient with and without
`remat_every`. torch's threads spin for a while after each of its calls, so a pause
precedes every timed call. JAX's peers begin from weights of their own: their speed is
compared here, their values in `tests/parity`.
"""

import argparse
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._recurrent_peers import (
    INITS,
    Peer,
    jax_peers,
    jax_runs,
    ours,
    ours_bidirectional,
    torch,
    torch_runs,
)
from benchmarks._timing import Report, Row
from jaxnets import functional as F

# B, T, D, H.
GRID = [
    (1, 128, 64, 128),
    (32, 100, 64, 128),
    (128, 28, 28, 128),
    (64, 128, 256, 256),
    (16, 256, 65, 512),
    (256, 32, 64, 64),
    (32, 512, 28, 64),
    (8, 64, 512, 1024),
]
QUICK = [(32, 50, 64, 64)]
PAUSE = 0.02


def contestants(
    kind: str, cell: tuple[int, int, int, int], lengths: bool
) -> dict[str, dict[str, Callable]]:
    """Ours first, then every peer that can do it."""
    batch, steps, size, units = cell
    rng = np.random.default_rng(0)
    xs = jnp.asarray(rng.normal(size=(batch, steps, size)).astype(np.float32))
    ends = rng.integers(1, steps + 1, batch).astype(np.int32) if lengths else None
    params = INITS[kind](jax.random.key(0), size, units)
    peers: dict[str, Peer] = {"jaxnets": ours(kind, params)}
    peers |= jax_peers(kind, (size, units), lengths)
    given = None if ends is None else jnp.asarray(ends)
    runs = {name: jax_runs(peer, xs, given) for name, peer in peers.items()}
    if torch:
        runs["PyTorch"] = torch_runs(kind, params, xs, ends)
        check(runs["jaxnets"]["forward"](), runs["PyTorch"]["forward"]())
    return runs


def check(got, want) -> None:
    np.testing.assert_allclose(np.asarray(got), want, atol=1e-4)


def compare(
    report: Report, name: str, runs: dict[str, dict[str, Callable]], rounds: int
) -> list[Row]:
    rows = []
    for part in ("forward", "training"):
        calls = {who: run[part] for who, run in runs.items()}
        rows.append(report.compare(name, part, calls, rounds, pause=PAUSE))
    return rows


def summary(rows: list[tuple[str, Row]]) -> None:
    """Geometric means of the training step's ratios, by the minimum of each."""
    print("\n| kind | against | geometric mean | least |\n|---|---|---|---|")
    for kind in INITS:
        own = [row for k, row in rows if k == kind and row.part == "training"]
        for rival in ("best of JAX", "PyTorch"):
            ratios = []
            for row in own:
                times = {t.name: t.minimum for t in row.timings}
                mine = times.pop("jaxnets")
                theirs = times.pop("PyTorch", None)
                best = min(times.values()) if rival == "best of JAX" else theirs
                if best is not None:
                    ratios.append(best / mine)
            if ratios:
                mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
                print(f"| {kind} | {rival} | {mean:.2f} | {min(ratios):.2f} |")


def memory(steps: int, every: int | None) -> float:
    """MB that XLA reserves for a gradient of an LSTM of 64 units, batch 1."""
    params = F.init_lstm(jax.random.key(0), 16, 64)

    def loss(params, xs):
        return jnp.sum(jnp.square(F.lstm(params, xs, remat_every=every)[0].h))

    xs = jax.ShapeDtypeStruct((1, steps, 16), jnp.float32)
    compiled = jax.jit(jax.grad(loss)).lower(params, xs).compile()
    return compiled.memory_analysis().temp_size_in_bytes / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds, one case")
    quick = parser.parse_args().quick
    rounds = 3 if quick else 9
    report = Report("recurrent", quick)
    report.begin()
    rows = []
    for kind in INITS:
        for cell in QUICK if quick else GRID:
            name = f"{kind} B{cell[0]} T{cell[1]} D{cell[2]} H{cell[3]}"
            found = compare(report, name, contestants(kind, cell, False), rounds)
            rows += [(kind, row) for row in found]
    if not quick:
        for kind in INITS:
            name = f"{kind} lengths, B32 T100 D64 H128"
            runs = contestants(kind, (32, 100, 64, 128), lengths=True)
            compare(report, name, runs, rounds)
        both_directions(report, rounds)
        growth(report, rounds)
    report.save()
    summary(rows)
    print("\n| steps | remat_every | MB |\n|---|---|---|")
    for steps in (1_000,) if quick else (1_000, 10_000, 100_000):
        for every in (None, round(steps**0.5)):
            print(f"| {steps} | {every} | {memory(steps, every):.1f} |")


def both_directions(report: Report, rounds: int) -> None:
    """A bidirectional LSTM against torch's."""
    keys = jax.random.split(jax.random.key(0))
    params = tuple(F.init_lstm(key, 64, 128) for key in keys)
    xs = jax.random.normal(jax.random.key(1), (32, 100, 64))
    runs = {"jaxnets": jax_runs(ours_bidirectional("lstm", params), xs, None)}
    if torch:
        runs["PyTorch"] = torch_runs("lstm", params, xs, None, bidirectional=True)
    compare(report, "lstm both directions, B32 T100 D64 H128", runs, rounds)


def growth(report: Report, rounds: int) -> None:
    """Our own times as T and H grow."""
    for steps, units in ((64, 128), (256, 128), (1024, 128), (64, 256), (64, 512)):
        params = F.init_lstm(jax.random.key(0), 64, units)
        xs = jax.random.normal(jax.random.key(1), (16, steps, 64))
        runs = {"jaxnets": jax_runs(ours("lstm", params), xs, None)}
        compare(report, f"lstm growth, B16 T{steps} D64 H{units}", runs, rounds)


if __name__ == "__main__":
    main()

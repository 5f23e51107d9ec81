"""How fast is pooling? jaxnets against `lax.reduce_window` and PyTorch.

    python -m benchmarks.pooling [--quick]

Forward, and a training step (forward and gradient), float32, on the CPU or whatever
device JAX chose (PyTorch runs on the CPU). Every result that is timed is first compared
with the others'.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks._timing import Report
from jaxnets.functional._pool import max_pool
from jaxnets.functional._pool_adaptive import adaptive_avg_pool, adaptive_max_pool
from jaxnets.functional._pool_global import global_avg_pool, global_max_pool
from jaxnets.functional._pool_mean import avg_pool

try:
    import torch
    import torch.nn.functional as torch_functional
except ImportError:
    torch = None

Pool = Callable[[jax.Array], jax.Array]


@dataclass
class Case:
    """One pool: ours, plain XLA's (if there is one) and PyTorch's."""

    name: str
    shape: tuple[int, ...]
    ours: Pool
    lax: Pool | None
    torch: Callable | None


def lax_max(size: int, stride: int) -> Pool:
    window, strides = (1, size, size, 1), (1, stride, stride, 1)
    return lambda x: lax.reduce_window(x, -jnp.inf, lax.max, window, strides, "VALID")


def lax_avg(size: int, stride: int) -> Pool:
    window, strides = (1, size, size, 1), (1, stride, stride, 1)

    def pool(x):
        return lax.reduce_window(x, 0.0, lax.add, window, strides, "VALID") / size**2

    return pool


def cases() -> list[Case]:
    f = torch_functional if torch else None
    digits, images = (128, 24, 24, 64), (16, 56, 56, 64)
    return [
        Case(
            "max 2x2 s2, 128x24x24x64",
            digits,
            lambda x: max_pool(x, (2, 2)),
            lax_max(2, 2),
            f and (lambda x: f.max_pool2d(x, 2)),
        ),
        Case(
            "max 3x3 s2, 16x56x56x64",
            images,
            lambda x: max_pool(x, (3, 3), strides=2),
            lax_max(3, 2),
            f and (lambda x: f.max_pool2d(x, 3, 2)),
        ),
        Case(
            "max 3x3 s1, 16x56x56x64",
            images,
            lambda x: max_pool(x, (3, 3), strides=1),
            lax_max(3, 1),
            f and (lambda x: f.max_pool2d(x, 3, 1)),
        ),
        Case(
            "max 5x5 s1, 16x56x56x64",
            images,
            lambda x: max_pool(x, (5, 5), strides=1),
            lax_max(5, 1),
            f and (lambda x: f.max_pool2d(x, 5, 1)),
        ),
        Case(
            "avg 2x2 s2, 128x24x24x64",
            digits,
            lambda x: avg_pool(x, (2, 2)),
            lax_avg(2, 2),
            f and (lambda x: f.avg_pool2d(x, 2)),
        ),
        Case(
            "avg 3x3 s2, 16x56x56x64",
            images,
            lambda x: avg_pool(x, (3, 3), strides=2),
            lax_avg(3, 2),
            f and (lambda x: f.avg_pool2d(x, 3, 2)),
        ),
        Case(
            "global avg, 16x56x56x64",
            images,
            global_avg_pool,
            lambda x: jnp.mean(x, (1, 2)),
            f and (lambda x: f.adaptive_avg_pool2d(x, 1)[..., 0, 0]),
        ),
        Case(
            "global max, 16x56x56x64",
            images,
            global_max_pool,
            lambda x: jnp.max(x, (1, 2)),
            f and (lambda x: f.adaptive_max_pool2d(x, 1)[..., 0, 0]),
        ),
        Case(
            "adaptive avg to 7x7, 16x56x56x64",
            images,
            lambda x: adaptive_avg_pool(x, (7, 7)),
            None,
            f and (lambda x: f.adaptive_avg_pool2d(x, 7)),
        ),
        Case(
            "adaptive avg to 5x5, 16x56x56x64",
            images,
            lambda x: adaptive_avg_pool(x, (5, 5)),
            None,
            f and (lambda x: f.adaptive_avg_pool2d(x, 5)),
        ),
        Case(
            "adaptive max to 5x5, 16x56x56x64",
            images,
            lambda x: adaptive_max_pool(x, (5, 5)),
            None,
            f and (lambda x: f.adaptive_max_pool2d(x, 5)),
        ),
    ]


def jax_runs(pool: Pool, x: jax.Array, g: jax.Array) -> dict[str, Callable]:
    def step(x, g):
        y, back = jax.vjp(pool, x)
        return y, back(g)[0]

    forward, training = jax.jit(pool), jax.jit(step)
    return {"forward": lambda: (forward(x),), "training": lambda: training(x, g)}


def torch_runs(pool: Callable, x: jax.Array, g: jax.Array) -> dict[str, Callable]:
    def channels_first(a: jax.Array):
        # The memory stays as it is: PyTorch's channels_last format, its fast one here.
        tensor = torch.from_numpy(np.array(a))
        return tensor.movedim(-1, 1)

    x, g = channels_first(x), channels_first(g)

    def forward():
        with torch.no_grad():
            return (pool(x),)

    def training():
        leaf = x.detach().requires_grad_()
        y = pool(leaf)
        return y.detach(), torch.autograd.grad(y, leaf, g)[0]

    return {"forward": forward, "training": training}


def to_numpy(result) -> np.ndarray:
    if isinstance(result, jax.Array):
        return np.asarray(result)
    return result.movedim(1, -1).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds, two cases")
    quick = parser.parse_args().quick
    report = Report("pooling", quick)
    report.begin()
    for case in cases()[: 2 if quick else None]:
        rng = np.random.default_rng(0)
        # Without ties, so that all gradients agree, whatever rule each has for them.
        x = jnp.asarray(rng.standard_normal(case.shape, np.float32))
        shape = jax.eval_shape(case.ours, x).shape
        g = jnp.asarray(rng.standard_normal(shape, np.float32))
        runs = {"jaxnets": jax_runs(case.ours, x, g)}
        if case.lax:
            runs["XLA"] = jax_runs(case.lax, x, g)
        if case.torch:
            runs["PyTorch"] = torch_runs(case.torch, x, g)
        for part in ("forward", "training"):
            expected = runs["jaxnets"][part]()
            for name, run in runs.items():
                for got, want in zip(run[part](), expected, strict=True):
                    np.testing.assert_allclose(
                        to_numpy(got), want, atol=1e-5, err_msg=f"{case.name}: {name}"
                    )
            contestants = {name: run[part] for name, run in runs.items()}
            report.compare(case.name, part, contestants, rounds=7 if quick else 31)
    report.save()


if __name__ == "__main__":
    main()

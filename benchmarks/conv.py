"""Convolution and its gradients by algorithm: `python -m benchmarks.conv [--quick]`.

The rule of `algorithm="auto"` against each algorithm alone and against PyTorch where it
is installed: forward, input gradient and kernel gradient by themselves, float32.
"""

import argparse
import importlib.util
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._timing import Report
from jaxnets.functional import conv
from jaxnets.functional.conv_algorithms import ALGORITHMS


class Case(NamedTuple):
    """Square images and windows, padding of half a window."""

    batch: int
    size: int
    fan_in: int
    out: int
    window: int
    stride: int = 1
    groups: int = 1

    def __str__(self) -> str:
        options = f" s{self.stride}" * (self.stride > 1)
        options += f" g{self.groups}" * (self.groups > 1)
        shape = f"{self.batch}x{self.size}x{self.size}x{self.fan_in}"
        return f"{shape} to {self.out}, {self.window}x{self.window}{options}"


CASES = (
    Case(128, 26, 64, 64, 3),
    Case(128, 10, 128, 128, 3),
    Case(16, 56, 64, 64, 3),
    Case(16, 56, 64, 128, 3, stride=2),
    Case(16, 32, 3, 16, 3),
    Case(8, 64, 16, 16, 7),
    Case(16, 28, 128, 128, 3, groups=4),
    Case(16, 56, 64, 64, 1),
)


def draw(case: Case) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((case.batch, case.size, case.size, case.fan_in), np.float32)
    shape = (case.window, case.window, case.fan_in // case.groups, case.out)
    return x, rng.standard_normal(shape, np.float32)


def jax_runs(case: Case, algorithm: str) -> dict[str, Callable]:
    x, kernel = map(jnp.asarray, draw(case))

    def forward(x, kernel):
        return conv(
            x,
            kernel,
            strides=case.stride,
            padding=case.window // 2,
            groups=case.groups,
            algorithm=algorithm,
        )

    def transposed(argument):
        return jax.jit(
            lambda x, kernel, g: jax.vjp(
                lambda a: forward(a, kernel) if argument == 0 else forward(x, a),
                (x, kernel)[argument],
            )[1](g)[0]
        )

    run, by_input, by_kernel = jax.jit(forward), transposed(0), transposed(1)
    g = run(x, kernel)
    return {
        "forward": lambda: run(x, kernel),
        "input gradient": lambda: by_input(x, kernel, g),
        "kernel gradient": lambda: by_kernel(x, kernel, g),
    }


def torch_runs(case: Case) -> dict[str, Callable]:
    import torch

    x, kernel = draw(case)
    x = torch.from_numpy(x).movedim(-1, 1)  # channels_last in memory, its fast format
    kernel = torch.from_numpy(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)))
    options = {
        "stride": case.stride,
        "padding": case.window // 2,
        "groups": case.groups,
    }

    def forward():
        with torch.no_grad():
            return torch.nn.functional.conv2d(x, kernel, **options)

    g = forward()
    pair = ([case.stride] * 2, [case.window // 2] * 2, [1, 1], False, [0, 0])

    def gradient(which):
        mask = [which == 0, which == 1, False]
        return torch.ops.aten.convolution_backward(
            g, x, kernel, None, *pair, case.groups, mask
        )[which]

    return {
        "forward": forward,
        "input gradient": lambda: gradient(0),
        "kernel gradient": lambda: gradient(1),
    }


def to_numpy(result, part: str) -> np.ndarray:
    if isinstance(result, jax.Array):
        return np.asarray(result)
    if part == "kernel gradient":
        return result.permute(2, 3, 1, 0).numpy()
    return result.movedim(1, -1).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds, two cases")
    quick = parser.parse_args().quick
    report = Report("conv", quick)
    report.begin()
    for case in CASES[1:7:5] if quick else CASES:
        runs = {"auto": jax_runs(case, "auto")}
        runs |= {name: jax_runs(case, name) for name in ALGORITHMS}
        if importlib.util.find_spec("torch"):
            runs["PyTorch"] = torch_runs(case)
        for part in ("forward", "input gradient", "kernel gradient"):
            want = to_numpy(runs["auto"][part](), part)
            for name, run in runs.items():
                error = np.abs(to_numpy(run[part](), part) - want).max()
                if error > 1e-4 * np.abs(want).max():
                    raise ValueError(f"{case}, {part}: {name} is off by {error}")
            contestants = {name: run[part] for name, run in runs.items()}
            report.compare(str(case), part, contestants, rounds=3 if quick else 11)
    report.save()


if __name__ == "__main__":
    main()

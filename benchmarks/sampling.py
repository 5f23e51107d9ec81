"""How fast is sampling at the places of a grid? jaxnets, PyTorch, map_coordinates.

    python -m benchmarks.sampling [--quick]

Forward, and training (forward, gradients to the image and to the grid), float32.
PyTorch runs on the CPU, its image in the faster of its two layouts for each case:
channels last for several channels. `map_coordinates` knows linear and nearest only, and
one channel at a time; it is mapped over batch and channels. kornia is PyTorch's
`grid_sample` underneath, and dm_pix is `map_coordinates`. Every result that is timed is
first compared with the others'. At the end: a training step of a small convnet, with
sampling before it, and with a whole SpatialTransformer.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.scipy.ndimage import map_coordinates

from benchmarks._timing import Report
from jaxnets import nn
from jaxnets.functional import affine_grid, grid_sample, spatial_transform

try:
    import torch
    import torch.nn.functional as torch_functional
except ImportError:
    torch = None


@dataclass
class Case:
    """An image batch that is turned by about 12 degrees."""

    shape: tuple[int, ...]
    mode: str = "bilinear"
    padding_mode: str = "zeros"
    peer: bool = True

    @property
    def name(self) -> str:
        sizes = "x".join(map(str, self.shape))
        return f"{self.mode} {self.padding_mode}, {sizes}"


CASES = [
    Case((32, 64, 64, 16)),
    Case((128, 42, 42, 1)),
    Case((32, 64, 64, 3)),
    Case((8, 64, 64, 64)),
    Case((32, 64, 64, 16), padding_mode="border", peer=False),
    Case((32, 64, 64, 16), padding_mode="reflection", peer=False),
    Case((32, 64, 64, 16), mode="nearest"),
    Case((32, 64, 64, 16), mode="bicubic", peer=False),
    Case((128, 42, 42, 1), mode="bicubic", peer=False),
    Case((4, 24, 24, 24, 8), peer=False),
]


def draw_theta(case: Case) -> jax.Array:
    """Matrices of such turns, each another."""
    rng = np.random.default_rng(0)
    batch, *sizes, _ = case.shape
    rank = len(sizes)
    theta = np.zeros((batch, rank, rank + 1), np.float32)
    theta[:, :, :rank] = 0.9 * np.eye(rank)
    theta[:, 0, 1], theta[:, 1, 0] = 0.2, -0.2
    theta += 0.05 * rng.normal(size=theta.shape).astype(np.float32)
    return jnp.asarray(theta)


def draw(case: Case) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Image, grid and cotangent."""
    rng, theta = np.random.default_rng(1), draw_theta(case)
    x, g = (jnp.asarray(rng.standard_normal(case.shape, np.float32)) for _ in "xg")
    return x, affine_grid(theta, case.shape[1:-1]), g


def by_map_coordinates(case: Case) -> Callable:
    order = 1 if case.mode == "bilinear" else 0

    def one(image, places):
        sizes = jnp.asarray(image.shape[:2], image.dtype)
        places = ((places[..., ::-1] + 1) * sizes - 1) / 2
        coordinates = [places[..., 0], places[..., 1]]
        return jax.vmap(
            lambda channel: map_coordinates(channel, coordinates, order),
            in_axes=-1,
            out_axes=-1,
        )(image)

    return jax.vmap(one)


def jax_runs(function: Callable, *arrays: jax.Array) -> dict[str, Callable]:
    x, grid, g = arrays

    def step(x, grid, g):
        y, back = jax.vjp(function, x, grid)
        return y, *back(g)

    forward, training = jax.jit(function), jax.jit(step)
    return {
        "forward": lambda: (forward(x, grid),),
        "training": lambda: training(x, grid, g),
    }


def torch_runs(case: Case, *arrays: jax.Array) -> dict[str, Callable]:
    x, grid, g = (torch.from_numpy(np.array(a)) for a in arrays)
    x, g = x.movedim(-1, 1), g.movedim(-1, 1)
    options = {
        "mode": case.mode,
        "padding_mode": case.padding_mode,
        "align_corners": False,
    }

    def forward():
        with torch.no_grad():
            return (torch_functional.grid_sample(x, grid, **options).movedim(1, -1),)

    def training():
        leaves = x.detach().requires_grad_(), grid.detach().requires_grad_()
        y = torch_functional.grid_sample(*leaves, **options)
        to_x, to_grid = torch.autograd.grad(y, leaves, g)
        return y.detach().movedim(1, -1), to_x.movedim(1, -1), to_grid

    return {"forward": forward, "training": training}


def classifier(rngs: nnx.Rngs) -> nnx.Sequential:
    """A small convnet for 28 x 28 cells."""
    relu, he = jax.nn.relu, jax.nn.initializers.he_normal()
    options = {"activation": relu, "kernel_init": he, "rngs": rngs}
    return nnx.Sequential(
        nn.Conv(1, 16, (5, 5), **options),
        nn.MaxPool((2, 2)),
        nn.Conv(16, 32, (5, 5), **options),
        nn.MaxPool((2, 2)),
        nn.Flatten(),
        nn.Dense(7 * 7 * 32, 10, rngs=rngs),
    )


def overhead(report: Report, rounds: int) -> None:
    """A training step of a network, with sampling before it, and with the module."""
    rngs = nnx.Rngs(0)
    x = jax.random.uniform(jax.random.key(0), (128, 28, 28, 1))
    labels = jnp.arange(128) % 10
    look = nnx.Sequential(
        nn.AvgPool((2, 2)),
        nn.Conv(1, 8, (5, 5), activation=jax.nn.relu, rngs=rngs),
        nn.MaxPool((2, 2)),
        nn.Flatten(),
        nn.Dense(7 * 7 * 8, 32, activation=jax.nn.relu, rngs=rngs),
    )
    module = nn.SpatialTransformer(look, 32, output_size=(28, 28), rngs=rngs)
    theta = draw_theta(Case(x.shape))

    def step(network: nnx.Module, before: Callable) -> Callable:
        graph, params = nnx.split(network, nnx.Param)

        def loss(params, theta):
            logits = nnx.merge(graph, params)(before(theta))
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.mean()

        # Also to theta, as when a network gives it.
        gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
        return lambda: gradient(params, theta)

    report.compare(
        "convnet on 128x28x28x1",
        "training",
        {
            "without": step(classifier(rngs), lambda _: x),
            "spatial_transform before it": step(
                classifier(rngs),
                lambda theta: spatial_transform(x, theta, output_size=(28, 28)),
            ),
            "SpatialTransformer before it": step(
                nnx.Sequential(module, *classifier(rngs).layers), lambda _: x
            ),
        },
        rounds,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds, two cases")
    quick = parser.parse_args().quick
    report = Report("sampling", quick)
    report.begin()
    rounds = 7 if quick else 15
    for case in CASES[: 2 if quick else None]:
        arrays = draw(case)
        options = {"mode": case.mode, "padding_mode": case.padding_mode}
        runs = {
            "jaxnets": jax_runs(
                lambda x, grid, options=options: grid_sample(x, grid, **options),
                *arrays,
            )
        }
        if torch:
            runs["PyTorch"] = torch_runs(case, *arrays)
        if case.peer:
            runs["map_coordinates"] = jax_runs(by_map_coordinates(case), *arrays)
        for part in ("forward", "training"):
            expected = runs["jaxnets"][part]()
            for name, run in runs.items():
                for got, want in zip(run[part](), expected, strict=True):
                    # Places within rounding of a cell's edge may read the next one.
                    far = np.abs(np.asarray(got) - np.asarray(want)) > 1e-2
                    if far.mean() > 1e-3:
                        raise SystemExit(f"{case.name}: {name} differs in {part}")
            contestants = {name: run[part] for name, run in runs.items()}
            report.compare(case.name, part, contestants, rounds=rounds)
    overhead(report, rounds)
    report.save()


if __name__ == "__main__":
    main()

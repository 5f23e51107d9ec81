"""Rows of the table of cases for grids, sampling and spatial transformers."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxnets import functional as F
from jaxnets import nn
from tests.case_kinds import IMAGE, Case, function, module, normal


def near_identity(rows: int, columns: int, batch: tuple[int, ...] = (4,)):
    """Draws maps close to the identity."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        noise = 0.2 * rng.normal(size=(*batch, rows, columns))
        return (np.eye(rows, columns) + noise).astype(np.float32)

    return draw


def image_and(shape: tuple[int, ...], other):
    """Draws an image batch and what `other` draws."""
    return lambda rng: (*normal(shape)(rng), other(rng))


def uniform(*shape: int):
    """Draws places in and around an image, away from where slopes jump."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        # Slopes jump at multiples of 1/8 for axes of 4 and 8 cells.
        steps = rng.integers(-10, 10, shape)
        return ((steps + 0.5) / 8 + rng.uniform(-0.02, 0.02, shape)).astype(np.float32)

    return draw


def moved(transformer: nn.SpatialTransformer) -> nn.SpatialTransformer:
    """Off the identity, where every place lies on a cell's centre and slopes jump."""
    kernel, bias = transformer.last.kernel, transformer.last.bias
    assert bias is not None
    waves = 0.01 * np.sin(np.arange(kernel.size)).reshape(kernel.shape)
    kernel[...] = jnp.asarray(waves, kernel.dtype)
    bias[...] = 0.9 * bias[...] + 0.03
    return transformer


VOLUME = (4, 4, 4, 8, 2)


def sampling(label: str, shape: tuple[int, ...], output: tuple[int, ...], **options):
    """A row for grid_sample, smooth in both arguments."""
    return function(
        "grid_sample",
        label,
        image_and(shape, uniform(4, *output, len(output))),
        smooth=(0, 1),
        batched=(0, 1),
        # Halves move the places by up to a cell's eighth: other cells are read.
        dtypes=(),
        **options,
    )


def targets(rng: np.random.Generator) -> tuple:
    regular = np.stack(np.meshgrid([-1, 1], [-1, 1]), -1).reshape(4, 2)
    return ((regular + 0.1 * rng.normal(size=(4, 4, 2))).astype(np.float32),)


SPATIAL_CASES = [
    sampling("bilinear", (4, 4, 8, 3), (3, 5)),
    sampling("one channel", (4, 4, 8, 1), (3, 5), padding_mode="border"),
    sampling(
        "bicubic", (4, 4, 8, 3), (2, 3), mode="bicubic", padding_mode="reflection"
    ),
    sampling("trilinear", VOLUME, (2, 1, 3), align_corners=True),
    sampling("1-D", (4, 8, 3), (5,), padding_mode="reflection"),
    Case(
        "functional.grid_sample",
        "nearest",
        lambda x: F.grid_sample(
            x, np.asarray([[[0.3, -0.2], [0.8, 1.4]]], np.float32), mode="nearest"
        ),
        normal((4, 4, 8, 3)),
    ),
    # Grids of half types are float32, which test_spatial_not_finite.py checks.
    function(
        "affine_grid",
        "2-D",
        lambda rng: (near_identity(2, 3)(rng),),
        dtypes=(),
        sizes=((4, 5),),
    ),
    function(
        "projective_grid",
        "2-D",
        lambda rng: (
            (np.eye(3) + 0.1 * rng.normal(size=(4, 3, 3))).astype(np.float32),
        ),
        dtypes=(),
        sizes=((4, 5),),
    ),
    function(
        "thin_plate_spline_grid", "four points", targets, dtypes=(), sizes=((3, 4),)
    ),
    function(
        "spatial_transform",
        "affine",
        image_and(IMAGE, near_identity(2, 3)),
        smooth=(0, 1),
        batched=(0, 1),
        dtypes=(),
        output_size=(3, 4),
        samples=2,
    ),
    function(
        "warp_affine",
        "affine",
        image_and(IMAGE, near_identity(3, 3)),
        smooth=(0, 1),
        batched=(0, 1),
        dtypes=(),
        padding_mode="border",
    ),
    function("rotation", "plane", normal((4,))),
    function("rotation", "axis", normal((4,)), axis=np.asarray([1.0, 2.0, -2.0])),
    function("translation", "2-D", normal((4, 2))),
    function("scaling", "3-D", normal((4, 3))),
    function("shear", "2-D", normal((4,))),
    function("inverse_affine", "2-D", lambda rng: (near_identity(2, 3)(rng),)),
    *(
        module(
            transform,
            lambda rngs, transform=transform: moved(
                nn.SpatialTransformer(
                    nnx.Sequential(nn.Flatten(), nn.Dense(120, 6, rngs=rngs), jnp.tanh),
                    6,
                    transform=transform,
                    output_size=(3, 4),
                    rngs=rngs,
                )
            ),
            6,
            5,
            4,
        )
        for transform in ("affine", "tps")
    ),
    function("inverse_affine", "3-D", lambda rng: (near_identity(4, 4)(rng),)),
]

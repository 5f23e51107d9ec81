"""Grids and sampling against PyTorch: every option, values and all gradients."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.functional import affine_grid, grid_sample
from tests.helpers import assert_close

torch = pytest.importorskip("torch")
F = torch.nn.functional
pytestmark = pytest.mark.torch

DRAWS = 9
SIZES = {2: (4, 8), 3: (2, 4, 8)}
OUTPUTS = {2: (5, 12), 3: (3, 4, 5)}
# Inside, outside, on the border, and on centres of cells in exact arithmetic.
MARKED = (-3, -1.375, -1.125, -1, -0.875, -0.5, 0, 0.125, 0.375, 0.5, 1, 1.125, 2.25)
COMBINATIONS = [
    (rank, mode, padding_mode, align)
    for rank, mode, padding_mode, align in itertools.product(
        (2, 3),
        ("bilinear", "nearest", "bicubic"),
        ("zeros", "border", "reflection"),
        (False, True),
    )
    if (rank, mode) != (3, "bicubic")
]
# The error relative to the largest entry, over sums of a few hundred products.
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}


def draw(seed, rank, dtype):
    """An image, places of which half are marked ones, and a cotangent."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, *SIZES[rank], 3))
    shape = (2, *OUTPUTS[rank], rank)
    grid = rng.uniform(-1.0, 1.0, shape) * rng.choice([0.9, 1.3, 4.0])
    grid = np.where(rng.random(shape) < 0.5, rng.choice(MARKED, shape), grid)
    g = rng.normal(size=(*shape[:-1], 3))
    return [a.astype(dtype) for a in (x, grid, g)]


def theirs(x, grid, g, **options):
    """PyTorch's value and gradients, channels last."""
    x, g = (torch.from_numpy(a).movedim(-1, 1) for a in (x, g))
    x, grid = x.requires_grad_(), torch.from_numpy(grid).requires_grad_()
    y = F.grid_sample(x, grid, **options)
    to_x, to_grid = torch.autograd.grad(y, [x, grid], g)
    return [
        y.detach().movedim(1, -1).numpy(),
        to_x.movedim(1, -1).numpy(),
        to_grid.numpy(),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", COMBINATIONS, ids=lambda c: "-".join(map(str, c)))
def test_grid_sample(case, dtype):
    """9 draws of 30 combinations in 2 dtypes are 540 configurations."""
    rank, mode, padding_mode, align = case
    options = {"mode": mode, "padding_mode": padding_mode, "align_corners": align}
    with jax.enable_x64(dtype == "float64"):

        @jax.jit
        def ours(x, grid, g):
            y, back = jax.vjp(lambda x, grid: grid_sample(x, grid, **options), x, grid)
            return [y, *back(g)]

        for seed in range(DRAWS):
            drawn = draw(seed, rank, dtype)
            expected = theirs(*drawn, **options)
            assert_close(ours(*drawn), expected, tol=TOLERANCE[dtype])


@pytest.mark.slow
@pytest.mark.parametrize("case", COMBINATIONS, ids=lambda c: "-".join(map(str, c)))
def test_what_is_not_finite(case):
    """PyTorch's documented rule; its CPU kernels differ among each other.

    Those for images give NaN for bilinear in zeros, and for bicubic everywhere; that
    for volumes takes NaN for 1 on a border and crosses to the last cell in reflection.
    """
    rank, mode, padding_mode, align = case
    options = {"mode": mode, "padding_mode": padding_mode, "align_corners": align}
    x, _, _ = draw(0, rank, "float32")
    grid = np.full((2, *(1,) * (rank - 1), 6, rank), 0.25, np.float32)
    grid[..., 0] = [np.nan, np.inf, -np.inf, 1e30, -1e30, 3e9]
    y = np.asarray(grid_sample(x, grid, **options))
    assert np.isfinite(y).all()
    slope = jax.grad(lambda grid: jnp.sum(grid_sample(x, grid, **options)))(grid)
    assert not np.asarray(slope)[..., :3, :].any() or padding_mode != "zeros"
    assert np.isfinite(slope).all()
    if padding_mode == "zeros":
        assert not y.any()
        return
    instead = grid.copy()
    high = 1 if padding_mode == "border" else -1
    instead[..., 0] = [-1, high, -1, 1e30, -1e30, 3e9]
    expected = theirs(x, instead, np.zeros_like(y), **options)[0]
    # Which cell a reflected 1e30 comes to rest on is a matter of its rounding.
    shown = slice(0, 3 if padding_mode == "reflection" else None)
    assert_close(y[..., shown, :], expected[..., shown, :], tol=1e-5)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize("padding_mode", ["border", "reflection"])
def test_nan_reads_as_minus_one(mode, padding_mode):
    """Where PyTorch keeps its documented rule, the same numbers."""
    x, _, _ = draw(0, 2, "float32")
    grid = np.full((2, 1, 3, 2), 0.25, np.float32)
    grid[..., 0] = [np.nan, np.inf, -np.inf]
    options = {"mode": mode, "padding_mode": padding_mode, "align_corners": False}
    first = torch.from_numpy(x).movedim(-1, 1)
    expected = F.grid_sample(first, torch.from_numpy(grid), **options)
    assert_close(grid_sample(x, grid, **options), expected.movedim(1, -1).numpy())


@pytest.mark.filterwarnings("ignore:Since version 1.3.0, affine_grid:UserWarning")
@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("sizes", [(4, 5), (1, 3), (2, 3, 4), (3, 1, 1)])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_affine_grid(sizes, align, dtype, rng):
    rank = len(sizes)
    theta = rng.normal(size=(2, rank, rank + 1)).astype(dtype)
    leaf = torch.from_numpy(theta).requires_grad_()
    expected = F.affine_grid(leaf, (2, 1, *sizes), align_corners=align)
    g = rng.normal(size=tuple(expected.shape)).astype(dtype)
    (slope,) = torch.autograd.grad(expected, leaf, torch.from_numpy(g))
    with jax.enable_x64(dtype == "float64"):
        grid, back = jax.vjp(
            lambda theta: affine_grid(theta, sizes, align_corners=align), theta
        )
        got = [grid, back(jnp.asarray(g))[0]]
        assert_close(
            got, [expected.detach().numpy(), slope.numpy()], tol=TOLERANCE[dtype]
        )

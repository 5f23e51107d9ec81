import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.data import random_affine
from jaxnets.data._resample import sample
from tests.data.oracles import pixel_at
from tests.helpers import assert_close

MODES = ["zeros", "replicate", "reflect", "circular"]


def key(seed=0):
    return jax.random.key(seed)


@pytest.mark.parametrize("padding_mode", MODES)
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("shape", [(4, 5, 2), (1, 3, 1)])
def test_sampling_against_loops(rng, mode, padding_mode, shape):
    image = rng.standard_normal(shape).astype(np.float32)
    row = rng.uniform(-9, 12, 60).astype(np.float32)
    column = rng.uniform(-9, 12, 60).astype(np.float32)
    got = sample(
        jnp.asarray(image),
        jnp.asarray(row),
        jnp.asarray(column),
        mode=mode,
        padding_mode=padding_mode,
    )
    expected = [
        pixel_at(image, float(i), float(j), mode, padding_mode)
        for i, j in zip(row, column, strict=True)
    ]
    # A place is rounded at 12 pixels, its share of a pixel by as much: 12 eps.
    assert_close(got, np.array(expected), dtype=np.float32, reduction=16)


def spot(row, column, side=33):
    """A soft spot, whose centre of mass can be followed."""
    i, j = np.mgrid[:side, :side]
    return np.exp(-((i - row) ** 2 + (j - column) ** 2) / 4)[..., None].astype(
        "float32"
    )


def centre(images):
    """Centres of mass, from the middle of the image, (down, right) in pixels."""
    images = np.asarray(images, np.float64)[..., 0]
    side = images.shape[-1]
    place = np.arange(side) - (side - 1) / 2
    mass = images.sum((-2, -1))
    down = (images.sum(-1) * place).sum(-1) / mass
    right = (images.sum(-2) * place).sum(-1) / mass
    return np.stack([down, right], -1), mass


def affine(key, x, **options):
    return jax.jit(partial(random_affine, **options))(key, x)


def many(image, count=400):
    return jnp.tile(jnp.asarray(image), (count, 1, 1, 1))


def test_rotation_turns_about_the_centre_by_angles_up_to_the_greatest():
    # 8 pixels right of the middle.
    y = affine(key(), many(spot(16, 24)), rotation=30)
    place, mass = centre(y)
    angles = np.degrees(np.arctan2(-place[:, 0], place[:, 1]))
    np.testing.assert_allclose(np.hypot(*place.T), 8, atol=0.02)
    np.testing.assert_allclose(mass, mass[0], rtol=0.01)
    assert -30.1 < angles.min() < -28
    assert 28 < angles.max() < 30.1
    # Uniform on ±30: mean 0, standard deviation 30/sqrt(3); five deviations.
    assert abs(angles.mean()) < 5 * 30 / math.sqrt(3 * 400)
    assert abs(angles.std() - 30 / math.sqrt(3)) < 2


@pytest.mark.slow
def test_translation_is_a_share_of_each_side():
    x = many(np.pad(spot(16, 16), ((0, 0), (0, 17), (0, 0))))
    y = affine(key(), x, translation=(0.25, 0.1))
    images = np.asarray(y)[..., 0]
    down = (images.sum(-1) * np.arange(33)).sum(-1) / images.sum((-2, -1)) - 16
    right = (images.sum(-2) * np.arange(50)).sum(-1) / images.sum((-2, -1)) - 16
    for move, reach in ((down, 33 * 0.25), (right, 50 * 0.1)):
        assert np.abs(move).max() < reach + 0.05
        assert move.max() > 0.9 * reach
        assert move.min() < -0.9 * reach
    assert abs(np.corrcoef(down, right)[0, 1]) < 0.25
    one = affine(key(), x, translation=0.1)
    two = affine(key(), x, translation=(0.1, 0.1))
    np.testing.assert_array_equal(one, two)


def test_scale_magnifies_about_the_centre():
    y = affine(key(), many(spot(16, 20)), scale=(0.5, 2))
    place, mass = centre(y)
    factor = place[:, 1] / 4
    np.testing.assert_allclose(place[:, 0], 0, atol=1e-3)
    assert 0.49 < factor.min() < 0.53
    assert 1.94 < factor.max() < 2.01
    # A magnified spot has the factor squared of the mass.
    np.testing.assert_allclose(
        mass / mass.mean(), factor**2 / (factor**2).mean(), rtol=0.1
    )


def test_shear_moves_rows_against_each_other():
    place, _ = centre(affine(key(), many(spot(22, 16)), shear=40))
    # Six pixels below the middle: the row stays, the column moves by 6 tan(angle).
    np.testing.assert_allclose(place[:, 0], 6, atol=0.02)
    angles = np.degrees(np.arctan(place[:, 1] / 6))
    assert -40.2 < angles.min() < -37
    assert 37 < angles.max() < 40.2


@pytest.mark.slow
def test_all_together_is_the_stated_map(rng):
    """Recover each image's map from three spots and see that it has the stated form."""
    spots = [spot(16, 16), spot(22, 16), spot(16, 22)]
    options = {
        "rotation": 20,
        "shear": 15,
        "scale": (0.8, 1.2),
        "translation": 0.05,
    }
    # The same key makes the same draws for each of the three.
    middle, below, beside = (
        centre(affine(key(5), many(image, 50), **options))[0] for image in spots
    )
    columns = np.stack([(below - middle) / 6, (beside - middle) / 6], -1)
    for matrix in columns:
        # s R(a) H(h): the second column is s (−sin a, cos a), the determinant s².
        size = math.hypot(*matrix[:, 1])
        a = math.atan2(-matrix[0, 1], matrix[1, 1])
        turn = np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
        shear = turn.T @ matrix / size
        np.testing.assert_allclose(shear[0], [1, 0], atol=0.02)
        assert 0.79 < size < 1.21
        assert abs(math.degrees(a)) < 20.3
        assert abs(math.degrees(math.atan(shear[1, 0]))) < 16
    assert np.abs(middle).max() < 33 * 0.05 + 0.05


def test_no_amounts_are_no_change(rng):
    x = rng.standard_normal((3, 4, 5, 2)).astype(np.float32)
    for mode in ("bilinear", "nearest"):
        assert_close(affine(key(), x, mode=mode), x)

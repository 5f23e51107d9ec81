import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.data import random_affine, random_crop, random_flip
from jaxnets.data._resample import sample
from tests.data.oracles import crops, pixel_at
from tests.helpers import assert_close

MODES = ["zeros", "replicate", "reflect", "circular"]


def key(seed=0):
    return jax.random.key(seed)


@pytest.mark.parametrize("padding_mode", MODES)
@pytest.mark.parametrize("padding", [(1, 2), (2, 0)])
def test_crops_are_cuts_of_the_padded_image_each_its_own(rng, padding, padding_mode):
    x = rng.standard_normal((60, 3, 4, 2)).astype(np.float32)
    y = random_crop(key(), x, padding=padding, padding_mode=padding_mode)
    assert y.dtype == x.dtype
    chosen = []
    for image, cut in zip(x, np.asarray(y), strict=True):
        options = crops(image, padding, padding_mode)
        found = [i for i, option in enumerate(options) if np.array_equal(option, cut)]
        assert found, "no cut of the padded image"
        chosen.append(found[0])
    # 60 draws leave one of 15 (or 5) places out with probability 0.016^.. at most 20 %
    # for one of them; nearly all must have been met.
    count = (2 * padding[0] + 1) * (2 * padding[1] + 1)
    assert len(set(chosen)) >= count - 3


def test_crop_places_are_uniform():
    x = jnp.arange(1, 10, dtype=jnp.int32).reshape(1, 3, 3, 1)
    x = jnp.tile(x, (5000, 1, 1, 1))
    # The middle pixel of a cut tells its place.
    middle = np.asarray(random_crop(key(3), x, padding=1))[:, 1, 1, 0]
    counts = np.bincount(middle, minlength=10)[1:]
    # Chi-squared with 8 degrees of freedom: 37 is beyond the 99.999th percentile.
    assert ((counts - 5000 / 9) ** 2 / (5000 / 9)).sum() < 37


def test_no_padding_is_no_change(rng):
    x = rng.integers(0, 256, (2, 3, 4, 1)).astype(np.uint8)
    assert_close(random_crop(key(), x, padding=0), x)


@pytest.mark.parametrize(
    ("horizontal", "vertical"), [(True, False), (False, True), (True, True)]
)
def test_flips_mirror_half_of_the_images(rng, horizontal, vertical):
    x = rng.standard_normal((2000, 2, 3, 1)).astype(np.float32)
    y = np.asarray(random_flip(key(1), x, horizontal=horizontal, vertical=vertical))
    options = {
        (h, v): x[:, :: -1 if v else 1, :: -1 if h else 1]
        for h in {False, horizontal}
        for v in {False, vertical}
    }
    equal = {k: (y == option).all((1, 2, 3)) for k, option in options.items()}
    assert (sum(v.astype(int) for v in equal.values()) == 1).all()
    for hits in equal.values():
        share, expected = hits.mean(), 1 / len(options)
        # Five standard deviations.
        assert abs(share - expected) < 5 * math.sqrt(expected * (1 - expected) / 2000)


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


AUGMENTATIONS = {
    "crop": partial(random_crop, padding=2),
    "flip": partial(random_flip, vertical=True),
    "affine": partial(
        random_affine, rotation=20, translation=0.1, scale=(0.9, 1.1), shear=5
    ),
}


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_transforms(rng, name):
    augment = jax.jit(AUGMENTATIONS[name])
    x = jnp.asarray(rng.standard_normal((3, 4, 5, 1)), jnp.float32)
    plain = augment(key(), x)
    assert_close(AUGMENTATIONS[name](key(), x), plain)
    assert not np.array_equal(plain, augment(key(1), x))
    # The same key makes the same change: what a resumed run needs.
    np.testing.assert_array_equal(augment(key(), x), augment(key(), x))
    keys = jax.random.split(key(), 3)
    looped = jnp.stack([augment(one, x) for one in keys])
    assert_close(jax.jit(jax.vmap(augment, (0, None)))(keys, x), looped)
    _, scanned = jax.lax.scan(lambda carry, one: (carry, augment(one, x)), 0, keys)
    assert_close(scanned, looped)
    # Linear in the pixels.
    assert_close(augment(key(), 3 * x), 3 * plain, reduction=4)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_derivatives(rng, name):
    augment = jax.jit(partial(AUGMENTATIONS[name], key()))
    x = jnp.asarray(rng.standard_normal((2, 3, 4, 1)), jnp.float32)
    g = jnp.asarray(rng.standard_normal((2, 3, 4, 1)), jnp.float32)
    # Linear in the pixels: the derivative in a direction is the change of it, and the
    # gradient its adjoint, <g, A x> = <A' g, x>.
    y, tangent = jax.jvp(augment, (x,), (g,))
    assert_close(tangent, augment(g))
    (adjoint,) = jax.vjp(augment, x)[1](g)
    assert_close(jnp.vdot(adjoint, x), jnp.vdot(g, y), reduction=24)
    remat = jax.vjp(jax.checkpoint(augment), x)[1](g)[0]
    assert_close(remat, adjoint)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_batch_axes(rng, name):
    augment = jax.jit(AUGMENTATIONS[name])
    x = rng.standard_normal((6, 5, 4, 1)).astype(np.float32)
    flat = augment(key(), x)
    assert_close(augment(key(), x.reshape(2, 3, 5, 4, 1)), flat.reshape(2, 3, 5, 4, 1))
    assert augment(key(), x[0]).shape == (5, 4, 1)
    assert augment(key(), x[:0]).shape == (0, 5, 4, 1)


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(rng, name, dtype):
    x = jnp.asarray(rng.standard_normal((3, 6, 6, 2)), dtype)
    with jax.numpy_dtype_promotion("strict"):
        got = jax.jit(AUGMENTATIONS[name])(key(), x)
    expected = jax.jit(AUGMENTATIONS[name])(key(), x.astype(jnp.float32))
    assert_close(got, expected, dtype=dtype)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_double_precision_keeps_the_draws(rng, name):
    x = rng.standard_normal((3, 6, 6, 2))
    single = jax.jit(AUGMENTATIONS[name])(key(), x.astype(np.float32))
    with jax.enable_x64(True):
        double = jax.jit(AUGMENTATIONS[name])(key(), x)
        assert double.dtype == np.float64
        # The places are float32 in both, the pixels rounded differently.
        assert_close(
            np.asarray(double).astype(np.float32), np.asarray(single), tol=1e-5
        )


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_sharded_batch_is_changed_alike(rng, name):
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:4]), ("data",))
    spec = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    x = rng.standard_normal((8, 5, 5, 1)).astype(np.float32)
    augment = jax.jit(AUGMENTATIONS[name])
    assert_close(augment(key(), jax.device_put(x, spec)), augment(key(), x))


def test_old_style_keys_serve(rng):
    x = rng.standard_normal((3, 5, 5, 1)).astype(np.float32)
    flip = jax.jit(random_flip)
    np.testing.assert_array_equal(flip(jax.random.PRNGKey(0), x), flip(key(), x))


X = np.zeros((2, 4, 5, 1), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: random_crop(key(), X[0, 0], padding=1),
            ValueError,
            r"random_crop: x must have at least 3 axes, \(\*batch, height, width, ",
        ),
        (
            lambda: random_crop(key(), X, padding=-1),
            ValueError,
            "random_crop: padding must be at least 0; got -1",
        ),
        (
            lambda: random_crop(key(), X, padding=(1, 2, 3)),
            ValueError,
            "random_crop: padding must have 2 entries",
        ),
        (
            lambda: random_crop(key(), X, padding=True),
            TypeError,
            "random_crop: padding must be an integer; got True",
        ),
        (
            lambda: random_crop(key(), X, padding=(4, 1), padding_mode="reflect"),
            ValueError,
            r"random_crop: padding must be smaller than the image to be reflected; "
            r"got \(4, 1\) for 4 x 5 \(or use 'replicate'\)",
        ),
        (
            lambda: random_crop(key(), X, padding=1, padding_mode="wrap"),
            ValueError,
            "random_crop: padding_mode must be one of 'zeros', .*; got 'wrap'",
        ),
        (
            lambda: random_flip(key(), X, horizontal=False),
            ValueError,
            "random_flip: horizontal or vertical must be True; got neither",
        ),
        (
            lambda: random_flip(key(), X[0, 0]),
            ValueError,
            "random_flip: x must have at least 3 axes",
        ),
        (
            lambda: random_affine(key(), X[0, 0]),
            ValueError,
            "random_affine: x must have at least 3 axes",
        ),
        (
            lambda: random_affine(key(), X.astype(np.uint8), rotation=3),
            TypeError,
            r"random_affine: x must be floating; got uint8 \(use scale_images first\)",
        ),
        (
            lambda: random_affine(key(), X, rotation=-3),
            ValueError,
            r"random_affine: rotation must lie in \[0, 180\] degrees; got -3",
        ),
        (
            lambda: random_affine(key(), X, rotation=math.nan),
            ValueError,
            r"rotation must lie in \[0, 180\] degrees; got nan",
        ),
        (
            lambda: random_affine(key(), X, translation=1.5),
            ValueError,
            r"random_affine: translation must be one or two shares in \[0, 1\]; "
            r"got \(1.5, 1.5\)",
        ),
        (
            lambda: random_affine(key(), X, scale=(1.2, 0.8)),
            ValueError,
            r"random_affine: scale must be \(smallest, greatest\) with "
            r"0 < smallest <= greatest; got \(1.2, 0.8\)",
        ),
        (
            lambda: random_affine(key(), X, scale=(0.0, 1.0)),
            ValueError,
            "random_affine: scale must be",
        ),
        (
            lambda: random_affine(key(), X, shear=90),
            ValueError,
            r"random_affine: shear must lie in \[0, 90\) degrees; got 90",
        ),
        (
            lambda: random_affine(key(), X, mode="cubic"),
            ValueError,
            "random_affine: mode must be one of 'bilinear', 'nearest'; got 'cubic'",
        ),
        (
            lambda: random_affine(key(), X, padding_mode="same"),
            ValueError,
            "random_affine: padding_mode must be one of .*; got 'same'",
        ),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()

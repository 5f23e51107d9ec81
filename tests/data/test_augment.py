import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.data import random_affine, random_crop, random_flip
from tests.data.oracles import crops
from tests.helpers import assert_close

MODES = ["zeros", "replicate", "reflect", "circular"]


def key(seed=0):
    return jax.random.key(seed)


@pytest.mark.slow
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
    # A place is missed by all 60 draws with probability (14/15)^60 = 0.016.
    count = (2 * padding[0] + 1) * (2 * padding[1] + 1)
    assert len(set(chosen)) >= count - 3


@pytest.mark.slow
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


AUGMENTATIONS = {
    "crop": partial(random_crop, padding=2),
    "flip": partial(random_flip, vertical=True),
    "affine": partial(
        random_affine, rotation=20, translation=0.1, scale=(0.9, 1.1), shear=5
    ),
}


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_batch_axes(rng, name):
    augment = jax.jit(AUGMENTATIONS[name])
    x = rng.standard_normal((6, 5, 4, 1)).astype(np.float32)
    flat = augment(key(), x)
    assert_close(augment(key(), x.reshape(2, 3, 5, 4, 1)), flat.reshape(2, 3, 5, 4, 1))
    assert augment(key(), x[0]).shape == (5, 4, 1)
    assert augment(key(), x[:0]).shape == (0, 5, 4, 1)


@pytest.mark.slow
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


@pytest.mark.slow
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

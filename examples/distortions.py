"""Distorted digits, made on the device for a whole batch, each image its own way."""

import jax
import jax.numpy as jnp

from jaxnets import functional as F

SIZES = {"r": 28, "rts": 42, "p": 28, "e": 28, "tc": 60}
CLUTTER_PIECES, CLUTTER_SIZE = 6, 8


def distort(key: jax.Array, images: jax.Array, kind: str) -> jax.Array:
    """Distort a batch `(n, 28, 28, 1)`, giving `(n, size, size, 1)`.

    Kinds: "r" rotation by up to 90 degrees; "rts" rotation by up to 45 degrees, scale
    0.7 to 1.2 and a place on a canvas of 42; "p" projective; "e" elastic (a spline with
    16 points that jump by 0.15 on average); "tc" a place on a canvas of 60 among six
    pieces of other digits.
    """
    size, n = SIZES[kind], len(images)
    keys = jax.random.split(key, 4)
    if kind == "r":
        angle = _uniform(keys[0], n, -90, 90)
        return F.warp_affine(images, F.rotation(jnp.deg2rad(angle)))
    if kind == "rts":
        scale = _uniform(keys[1], n, 0.7, 1.2)
        turn = F.rotation(jnp.deg2rad(_uniform(keys[0], n, -45, 45)))
        turn = turn @ F.scaling(jnp.stack([scale, scale], axis=-1))
        move = F.translation(_uniform(keys[2], (n, 2), -7, 7))
        return F.warp_affine(images, move @ turn, output_size=(size, size))
    if kind == "p":
        noise = jax.random.normal(keys[0], (n, 3, 3))
        spread = jnp.asarray([[0.15, 0.15, 0.1], [0.15, 0.15, 0.1], [0.15, 0.15, 0.0]])
        theta = 1.2 * jnp.eye(3).at[2, 2].set(1 / 1.2)
        return F.spatial_transform(images, theta[None] + spread[None] * noise)
    if kind == "e":
        axis = jnp.linspace(-1, 1, 4)
        points = jnp.stack(jnp.meshgrid(axis, axis), axis=-1).reshape(1, 16, 2)
        targets = points + 0.12 * jax.random.normal(keys[0], (n, 16, 2))
        return F.grid_sample(images, F.thin_plate_spline_grid(targets, (28, 28)))
    move = F.translation(jnp.round(_uniform(keys[0], (n, 2), -16, 16)))
    canvas = F.warp_affine(images, move, output_size=(size, size))
    return jnp.maximum(canvas, _clutter(keys[1], images, size))


def _clutter(key: jax.Array, images: jax.Array, size: int) -> jax.Array:
    """Pieces of other images of the batch, at random places."""
    n, side = len(images), CLUTTER_SIZE
    keys = jax.random.split(key, 3)
    shape = (n, CLUTTER_PIECES)
    who = jax.random.randint(keys[0], shape, 0, n)
    # From the middle of a digit, where there is ink.
    source = jax.random.randint(keys[1], (*shape, 2), 6, 28 - side - 5)
    target = jax.random.randint(keys[2], (*shape, 2), 0, size - side + 1)

    def one(who, source, target):
        canvas = jnp.zeros((size, size, 1))
        for i in range(CLUTTER_PIECES):
            first = (who[i], source[i, 0], source[i, 1], 0)
            piece = jax.lax.dynamic_slice(images, first, (1, side, side, 1))[0]
            there = (target[i, 0], target[i, 1], 0)
            canvas = jax.lax.dynamic_update_slice(canvas, piece, there)
        return canvas

    return jax.vmap(one)(who, source, target)


def _uniform(key: jax.Array, shape, low: float, high: float) -> jax.Array:
    shape = shape if isinstance(shape, tuple) else (shape,)
    return jax.random.uniform(key, shape, minval=low, maxval=high)

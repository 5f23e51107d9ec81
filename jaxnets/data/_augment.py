"""Random changes of images on the device, inside the step, each example its own."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jax.typing import ArrayLike

from jaxnets.data._resample import PADDING_MODES, PIXEL_MODES, sample
from jaxnets.functional._checks import check_choice, check_integers, check_min_rank

# What a type checker takes `float` to mean, spelt out for checks at run time.
Real = int | float


def random_crop(
    key: ArrayLike,
    x: ArrayLike,
    *,
    padding: int | Sequence[int],
    padding_mode: str = "zeros",
) -> jax.Array:
    """Pad every image and cut its old size out of it at a random place.

    y[b, i, j] = padded x[b, i + r_b, j + c_b] with r_b uniform on 0 ... 2 padding_0 and
    c_b uniform on 0 ... 2 padding_1.

    Args:
        key: a random key.
        x: `(*batch, height, width, channels)`, any dtype.
        padding: pixels added on every side, or `(vertical, horizontal)`.
        padding_mode: what is added: "zeros", "replicate", "reflect" or "circular".

    Returns:
        The shape and dtype of `x`.

    Raises:
        TypeError: if `padding` is not made of integers.
        ValueError: if `x` has fewer than 3 axes, `padding` is negative or reaches
            beyond a reflected image, or `padding_mode` is unknown.

    Example:
        >>> x = jnp.arange(1, 10).reshape(3, 3, 1)
        >>> random_crop(jax.random.key(0), x, padding=1)[..., 0]
        Array([[2, 3, 0],
               [5, 6, 0],
               [8, 9, 0]], dtype=int32)

    Source:
        He et al. 2016, "Deep residual learning for image recognition", section 4.2.
    """
    x = _images("random_crop", x)
    rows, columns = check_integers(
        "random_crop", "padding", padding, length=2, minimum=0
    )
    check_choice("random_crop", "padding_mode", padding_mode, PADDING_MODES)
    height, width, channels = x.shape[-3:]
    if padding_mode == "reflect" and (rows >= height or columns >= width):
        raise ValueError(
            f"random_crop: padding must be smaller than the image to be reflected; "
            f"got {(rows, columns)} for {height} x {width} (or use 'replicate')"
        )
    widths = [(0, 0)] * (x.ndim - 3) + [(rows, rows), (columns, columns), (0, 0)]
    padded = jnp.pad(x, widths, mode=PADDING_MODES[padding_mode])

    def crop(key: jax.Array, image: jax.Array) -> jax.Array:
        # int32 in every mode: the same key cuts the same place with x64 on and off.
        last = jnp.array([2 * rows, 2 * columns, 0], jnp.int32)
        start = jax.random.randint(key, (3,), 0, last + 1, jnp.int32)
        return jax.lax.dynamic_slice(image, start, (height, width, channels))

    return _each(crop, key, padded)


def random_flip(
    key: ArrayLike, x: ArrayLike, *, horizontal: bool = True, vertical: bool = False
) -> jax.Array:
    """Mirror every image with probability 1/2 in each direction that is asked for.

    Args:
        key: a random key.
        x: `(*batch, height, width, channels)`, any dtype.
        horizontal: swap left and right.
        vertical: swap top and bottom.

    Returns:
        The shape and dtype of `x`.

    Raises:
        ValueError: if `x` has fewer than 3 axes, or no direction is asked for.

    Example:
        >>> x = jnp.tile(jnp.arange(3).reshape(1, 3, 1), (4, 1, 1, 1))
        >>> random_flip(jax.random.key(0), x)[:, 0, :, 0]
        Array([[0, 1, 2],
               [2, 1, 0],
               [0, 1, 2],
               [2, 1, 0]], dtype=int32)

    """
    x = _images("random_flip", x)
    if not (horizontal or vertical):
        raise ValueError(
            "random_flip: horizontal or vertical must be True; got neither"
        )

    def flip(key: jax.Array, image: jax.Array) -> jax.Array:
        swap = jax.random.bernoulli(key, jnp.float32(0.5), (2,))
        if horizontal:
            image = jnp.where(swap[0], image[:, ::-1], image)
        if vertical:
            image = jnp.where(swap[1], image[::-1], image)
        return image

    return _each(flip, key, x)


def random_affine(
    key: ArrayLike,
    x: ArrayLike,
    *,
    rotation: Real = 0,
    translation: Real | tuple[Real, Real] = 0,
    scale: tuple[Real, Real] = (1, 1),
    shear: Real = 0,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
) -> jax.Array:
    """Rotate, shear, enlarge and move every image about its centre by random amounts.

    The content at p, counted from the centre in pixels, (down, right), moves to
    s R(a) H(h) p + t with R(a) = [[cos a, −sin a], [sin a, cos a]] and
    H(h) = [[1, 0], [tan h, 1]]. Uniform draws for every image: a on ±rotation
    (positive turns anticlockwise as seen), h on ±shear, s on `scale`, t on
    ±translation · (height, width).

    Args:
        key: a random key.
        x: `(*batch, height, width, channels)`, floating.
        rotation: the greatest angle in degrees.
        translation: the greatest move as a share of the side, or one for
            `(height, width)`.
        scale: the smallest and the greatest magnification.
        shear: the greatest angle in degrees, below 90.
        mode: "bilinear" or "nearest".
        padding_mode: what lies outside: "zeros", "replicate", "reflect" or "circular".

    Returns:
        The shape and dtype of `x`; half precision is interpolated in float32.

    Raises:
        TypeError: if `x` holds integers.
        ValueError: if `x` has fewer than 3 axes, an option is out of range or unknown.

    Example:
        >>> x = jnp.eye(5)[..., None]
        >>> y = random_affine(jax.random.key(0), x, rotation=15, scale=(0.9, 1.1))
        >>> y.shape, bool((y == x).all())
        ((5, 5, 1), False)
    """
    x = _images("random_affine", x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(
            f"random_affine: x must be floating; got {x.dtype} (use scale_images first)"
        )
    check_choice("random_affine", "mode", mode, PIXEL_MODES)
    check_choice("random_affine", "padding_mode", padding_mode, PADDING_MODES)
    moves = translation if isinstance(translation, tuple) else (translation,) * 2
    _check_amounts(rotation, moves, scale, shear)
    height, width = x.shape[-3:-1]
    middle = (height - 1) / 2, (width - 1) / 2
    rows = jnp.arange(height, dtype=jnp.float32)[:, None] - middle[0]
    columns = jnp.arange(width, dtype=jnp.float32)[None, :] - middle[1]

    def transform(key: jax.Array, image: jax.Array) -> jax.Array:
        keys = jax.random.split(key, 5)
        a = _uniform(keys[0], -math.radians(rotation), math.radians(rotation))
        h = _uniform(keys[1], -math.radians(shear), math.radians(shear))
        s = _uniform(keys[2], *scale)
        # Where the content of row q, column r comes from: p = H(−h) R(−a) (q − t) / s.
        q = (rows - height * _uniform(keys[3], -moves[0], moves[0])) / s
        r = (columns - width * _uniform(keys[4], -moves[1], moves[1])) / s
        down = jnp.cos(a) * q + jnp.sin(a) * r
        right = jnp.cos(a) * r - jnp.sin(a) * q - jnp.tan(h) * down
        return sample(
            image,
            down + middle[0],
            right + middle[1],
            mode=mode,
            padding_mode=padding_mode,
        )

    return _each(transform, key, x)


def _images(function: str, x: ArrayLike) -> jax.Array:
    x = jnp.asarray(x)
    check_min_rank(function, "x", x.shape, 3, "(*batch, height, width, channels)")
    return x


def _each(
    change: Callable[[jax.Array, jax.Array], jax.Array], key: ArrayLike, x: jax.Array
) -> jax.Array:
    """Apply `change(key, image)` to every image, each with a key of its own."""
    batch = x.shape[:-3]
    flat = x.reshape(math.prod(batch), *x.shape[-3:])
    keys = jax.random.split(jnp.asarray(key), len(flat))
    cut = jax.typeof(flat).sharding.spec[0]
    if cut is not None:
        # On a mesh with explicit axes, `vmap` wants keys and images cut alike.
        keys = jax.sharding.reshard(keys, PartitionSpec(cut))
    y = jax.vmap(change)(keys, flat)
    return y.reshape(*batch, *y.shape[1:])


def _uniform(key: jax.Array, low: Real, high: Real) -> jax.Array:
    # float32 in every mode: the same key moves an image alike with x64 on and off.
    return jax.random.uniform(key, (), jnp.float32, jnp.float32(low), jnp.float32(high))


def _check_amounts(
    rotation: Real, moves: tuple[Real, ...], scale: tuple[Real, Real], shear: Real
) -> None:
    if not 0 <= rotation <= 180:
        raise ValueError(
            f"random_affine: rotation must lie in [0, 180] degrees; got {rotation}"
        )
    if len(moves) != 2 or not all(0 <= move <= 1 for move in moves):
        raise ValueError(
            "random_affine: translation must be one or two shares in [0, 1]; "
            f"got {moves}"
        )
    if not 0 < scale[0] <= scale[1] < math.inf:
        raise ValueError(
            "random_affine: scale must be (smallest, greatest) with "
            f"0 < smallest <= greatest; got {scale}"
        )
    if not 0 <= shear < 90:
        raise ValueError(
            f"random_affine: shear must lie in [0, 90) degrees; got {shear}"
        )

"""How much of a model's accuracy is left when its input is moved."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxnets.functional._affine_matrices import rotation, scaling, translation
from jaxnets.functional._checks import check_choice, check_integer
from jaxnets.functional._spatial_transform import warp_affine

MOVES = {
    "rotation": lambda degrees: rotation(jnp.deg2rad(degrees)),
    "shift": lambda pixels: translation(jnp.stack([pixels, jnp.zeros_like(pixels)])),
    "scale": lambda factor: scaling(jnp.stack([factor, factor])),
}


def robustness_curve(
    predict: Callable[[jax.Array], jax.Array],
    images: ArrayLike,
    labels: ArrayLike,
    transform: str,
    values: Sequence[int | float],
    *,
    batch_size: int = 256,
    padding_mode: str = "zeros",
) -> np.ndarray:
    """Accuracy of a model on images that are all moved by the same amount.

    Args:
        predict: from images `(n, height, width, channels)` to logits `(n, classes)`: a
            model in evaluation mode, or `Trainer.predict`. A function that JAX can
            trace is compiled; any other is called with arrays.
        images: `(n, height, width, channels)`, floating.
        labels: `(n,)`, integers.
        transform: `"rotation"` in degrees (clockwise as seen), `"shift"` in pixels to
            the right, or `"scale"`, the magnification.
        values: the amounts.
        batch_size: images a call; a ragged last batch is padded.
        padding_mode: what comes in from outside, as in `grid_sample`.

    Returns:
        `(len(values),)`, the share of right answers at each amount, float64.

    Raises:
        ValueError: if `transform` is unknown, or images and labels do not match.

    Example:
        >>> images = jnp.zeros((2, 2, 2, 1)).at[0, :, 1].set(1.0).at[1, :, 0].set(1.0)
        >>> def side(x):
        ...     return x.sum((1, 3))[:, ::-1]
        >>> robustness_curve(side, images, jnp.asarray([0, 1]), "rotation", (0, 180))
        array([1., 0.])
    """
    name = "robustness_curve"
    check_choice(name, "transform", transform, MOVES)
    size = check_integer(name, "batch_size", batch_size, minimum=1)
    images, labels = np.asarray(images), np.asarray(labels)
    if images.ndim != 4 or labels.shape != images.shape[:1] or not len(labels):
        raise ValueError(
            f"{name}: images must be (n, height, width, channels) and labels (n,) with "
            f"n at least 1; got {images.shape} and {labels.shape}"
        )

    @jax.jit
    def move(x: jax.Array, value: jax.Array) -> jax.Array:
        return warp_affine(x, MOVES[transform](value), padding_mode=padding_mode)

    batch = jax.ShapeDtypeStruct((size, *images.shape[1:]), images.dtype)
    moved = jax.eval_shape(move, batch, jnp.float32(0))
    classify = jax.jit(lambda x: predict(x)) if _traces(predict, moved) else predict
    right = np.zeros(len(values))
    for start in range(0, len(labels), size):
        x, y = images[start : start + size], labels[start : start + size]
        missing = size - len(y)
        x = np.pad(x, [(0, missing), (0, 0), (0, 0), (0, 0)])
        y = np.pad(y, (0, missing), constant_values=-1)
        for i, value in enumerate(values):
            logits = np.asarray(classify(move(x, jnp.float32(value))))
            right[i] += int(np.sum(logits.argmax(axis=-1) == y))
    return right / len(labels)


def _traces(predict: Callable[[jax.Array], jax.Array], x: Any) -> bool:
    """Whether JAX can trace a function; False if it needs the values of its input."""
    try:
        jax.eval_shape(lambda x: predict(x), x)
    except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError):
        return False
    return True

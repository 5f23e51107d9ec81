"""Every message of convolve, correlate and polynomial_product, read."""

import jax.numpy as jnp
import pytest

from jaxnets.functional._convolve import convolve, correlate, polynomial_product
from jaxnets.functional.conv_algorithms import ALGORITHMS

ROWS, IMAGE = jnp.zeros((2, 7)), jnp.zeros((3, 4))


@pytest.mark.parametrize(
    ("a", "b", "options", "message"),
    [
        (
            ROWS[0],
            IMAGE,
            {},
            r"convolve: a and b must have the same number of axes; got 1 and 2 \(add "
            r"axes of size 1; a.shape=\(7,\), b.shape=\(3, 4\)\)",
        ),
        (ROWS[0, 0], ROWS[0, 0], {}, "a and b must have an axis; got scalars"),
        (ROWS, IMAGE, {"axes": ()}, r"axes must name an axis; got \(\)"),
        (ROWS, IMAGE, {"axes": (1, -1)}, r"axes must differ; got \(1, -1\) for 2"),
        (ROWS, IMAGE, {"axes": 2}, "axes must be below 2, the number of axes; got 2"),
        (ROWS, IMAGE, {"axes": -3}, "convolve: axes must be at least -2; got -3"),
        (
            ROWS,
            IMAGE,
            {"axes": 1},
            r"axes that are not convolved must be equal or 1; got 2 and 3 on axis 0 "
            r"\(axes=\(1,\), a.shape=\(2, 7\), b.shape=\(3, 4\)\)",
        ),
        (ROWS, IMAGE[:, :0], {}, "there is nothing to sum over along axis 1; got a.sh"),
        (
            ROWS,
            IMAGE,
            {"mode": "valid"},
            "mode='valid' needs one array to be at least as large as the other along "
            "every convolved axis; got a larger on axis 1 and b larger on axis 0",
        ),
        (ROWS, IMAGE, {"mode": "SAME"}, "mode must be one of 'full', 'same', 'valid';"),
        (ROWS, IMAGE, {"algorithm": "magic"}, "algorithm must be one of 'auto', 'dir"),
    ],
)
def test_bad_shapes_and_choices(a, b, options, message):
    with pytest.raises(ValueError, match=message):
        convolve(a, b, **options)


def test_the_message_names_the_function():
    with pytest.raises(ValueError, match="correlate: mode must be one of"):
        correlate(ROWS, IMAGE, "center")
    with pytest.raises(ValueError, match="polynomial_product: axes that are not conv"):
        polynomial_product(ROWS, IMAGE)
    with pytest.raises(ValueError, match="polynomial_product: b must have at least 1"):
        polynomial_product(ROWS, ROWS[0, 0])


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ("0", "axes must be an integer, several or None; got '0'"),
        (1.0, "axes must be an integer, several or None; got 1.0"),
        ((0, 1.0), "axes must be an integer; got 1.0"),
    ],
)
def test_axes_that_are_no_integers(axes, message):
    with pytest.raises(TypeError, match=f"convolve: {message}"):
        convolve(ROWS, IMAGE, axes=axes)


def test_booleans_are_not_numbers():
    with pytest.raises(TypeError, match="a and b must be numbers; got booleans"):
        convolve(ROWS > 0, IMAGE > 0)


@pytest.mark.parametrize("algorithm", ["fft", "overlap_add"])
def test_transforms_of_integers_say_what_to_do(algorithm):
    if algorithm not in ALGORITHMS:
        pytest.skip(f"no algorithm of the name {algorithm!r}")
    message = rf"'{algorithm}' computes in floating point; got int32 \(take .*'direct'"
    with pytest.raises(TypeError, match=message):
        convolve(jnp.arange(5), jnp.arange(3), algorithm=algorithm)

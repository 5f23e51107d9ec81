"""Residual connections: values, the derivative's extra term, messages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.functional import pad_shortcut, residual
from tests.helpers import assert_close


def test_the_shortcut_adds_its_gradient_to_the_branch(rng):
    """∂(f(g(x)) + g(x))/∂x = ∂f/∂g · ∂g/∂x + ∂g/∂x, for g = a·x and f = sin(b·g)."""
    a, b, x = 1.5, 0.7, rng.normal(size=7).astype(np.float32)
    slope = jax.grad(lambda x: jnp.sum(residual(a * x, lambda g: jnp.sin(b * g))))
    assert_close(slope(x), (b * np.cos(b * a * x) * a + a).astype(np.float32))


def test_a_branch_of_zero_is_the_shortcut(rng):
    x = rng.normal(size=(2, 5)).astype(np.float32)
    assert_close(residual(x, lambda x: 0 * x), x)
    assert_close(residual(x, lambda x: 0 * x, shortcut=lambda x: 2 * x), 2 * x)


@pytest.mark.parametrize(("size", "strides"), [((7, 5), 2), ((8, 6), 2), ((7, 9), 3)])
def test_pad_shortcut_keeps_every_so_many_cells(size, strides, rng):
    x = rng.normal(size=(2, *size, 3)).astype(np.float32)
    y = np.zeros((2, -(-size[0] // strides), -(-size[1] // strides), 8), np.float32)
    y[..., 2:5] = x[:, ::strides, ::strides]
    assert_close(pad_shortcut(x, 8, strides=strides), y)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: residual(x, lambda x: x[..., :2]),
            r"residual: the branch gives shape \(4, 4, 2\) but x itself has \(4, 4, 3\)"
            r".*give a shortcut",
        ),
        (
            lambda x: residual(x, lambda x: x, shortcut=lambda x: x[:2]),
            r"the branch gives shape \(4, 4, 3\) but the shortcut has \(2, 4, 3\)",
        ),
        (
            lambda x: pad_shortcut(x, 2),
            r"features must be at least the 3 channels of x; got 2 \(project",
        ),
        (lambda x: pad_shortcut(x, 4, strides=0), r"strides must be at least 1; got 0"),
        (
            lambda x: pad_shortcut(x[0, 0], 4),
            r"x must have 2 spatial axes and channels; got shape \(3,\)",
        ),
    ],
)
def test_messages(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.ones((4, 4, 3)))

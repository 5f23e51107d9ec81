"""What commutes with shifts, rotations and reflections, and what does not."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.functional import conv, global_max_pool, max_pool
from jaxnets.functional._equivariance import (
    equivariance_error,
    reflect_action,
    rotate_action,
    shift_action,
)

ROUNDING = 1e-5


@pytest.fixture
def x(rng):
    return jnp.asarray(rng.normal(size=(2, 8, 8, 3)), jnp.float32)


@pytest.fixture
def kernel(rng):
    return jnp.asarray(rng.normal(size=(3, 3, 3, 4)), jnp.float32)


def test_the_error_is_the_greatest_difference_over_the_greatest_entry():
    weights = jnp.array([[1.0], [2.0], [4.0]])
    x = jnp.array([[1.0], [1.0], [-5.0]])
    # f(g(x)) = (-5, 2, 4) and g(f(x)) = (-20, 1, 2)
    error = equivariance_error(lambda x: weights * x, shift_action((1,)), x)
    assert error == 15 / 20
    assert equivariance_error(lambda x: 0 * x, shift_action((1,)), x) == 0
    one_side = equivariance_error(
        lambda x: x, lambda x: x, x, action_out=lambda x: 0 * x
    )
    assert one_side == 5


def test_actions_do_what_numpy_does(x):
    image = np.asarray(x)
    np.testing.assert_array_equal(
        shift_action((2, -3))(x), np.roll(image, (2, -3), (1, 2))
    )
    np.testing.assert_array_equal(
        shift_action((3,), axes=(1,))(x), np.roll(image, 3, 1)
    )
    np.testing.assert_array_equal(rotate_action(-1)(x), np.rot90(image, 3, (1, 2)))
    np.testing.assert_array_equal(
        rotate_action(1, axes=(0, 3))(x), np.rot90(image, 1, (0, 3))
    )
    np.testing.assert_array_equal(reflect_action()(x), image[:, :, ::-1])
    np.testing.assert_array_equal(reflect_action(axis=1)(x), image[:, ::-1])


@pytest.mark.parametrize("offsets", [(1, 0), (3, -2), (8, 8)])
def test_circular_convolution_commutes_with_shifts(x, kernel, offsets):
    def layer(x):
        return conv(x, kernel, padding_mode="circular")

    assert equivariance_error(layer, shift_action(offsets), x) < ROUNDING


def test_zero_padding_breaks_it_at_the_border(x, kernel):
    def layer(x):
        return conv(x, kernel)

    assert equivariance_error(layer, shift_action((1, 1)), x) > 0.1


@pytest.mark.parametrize(
    "action", [rotate_action(1), rotate_action(2), reflect_action()]
)
def test_only_a_symmetric_kernel_commutes_with_rotations(x, kernel, action):
    turned = [jnp.rot90(kernel, turns, (0, 1)) for turns in range(4)]
    symmetric = sum(turned) + jnp.flip(sum(turned), 1)
    assert equivariance_error(lambda x: conv(x, kernel), action, x) > 0.1
    assert equivariance_error(lambda x: conv(x, symmetric), action, x) < ROUNDING


def test_pooling_commutes_with_shifts_by_its_stride(x):
    def layer(x):
        return max_pool(x, (2, 2))

    by_two, by_one = shift_action((2, -4)), shift_action((1, -2))
    assert equivariance_error(layer, by_two, x, action_out=by_one) == 0
    assert equivariance_error(layer, by_one, x, action_out=by_one) > 0.1


def test_a_global_maximum_is_invariant(x):
    def same(y):
        return y

    for action in (shift_action((1, 3)), rotate_action(1), reflect_action()):
        assert equivariance_error(global_max_pool, action, x, action_out=same) == 0


def test_two_sides_of_different_shapes(x):
    message = r"must have one shape; got \(2, 3\) and \(2, 1, 3\) \(give action_out"
    with pytest.raises(ValueError, match=message):
        equivariance_error(
            lambda x: x[:, 0, 0],
            lambda x: x,
            x,
            action_out=lambda y: y[:, None],
        )


def test_messages_of_the_actions():
    with pytest.raises(ValueError, match="got 1 axes and 2 offsets"):
        shift_action((1, 2), axes=(0,))


@pytest.mark.usefixtures("untyped")
def test_actions_take_integers():
    with pytest.raises(TypeError, match=r"offsets must be an integer; got 0\.5"):
        shift_action((0.5,))
    with pytest.raises(TypeError, match=r"quarter_turns must be an integer; got 1\.5"):
        rotate_action(1.5)
    with pytest.raises(TypeError, match="reflect_action: axis must be an integer"):
        reflect_action(axis="left")

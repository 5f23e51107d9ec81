"""Blocks of layers: their laws, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnets import nn
from tests.helpers import assert_close

BLOCKS = {
    "residual": lambda **o: nn.ResidualBlock(8, 8, rngs=nnx.Rngs(0), **o),
    "bottleneck": lambda **o: nn.BottleneckBlock(8, 8, width=8, rngs=nnx.Rngs(0), **o),
}
each = pytest.mark.parametrize("make", BLOCKS.values(), ids=BLOCKS)


@pytest.fixture
def x(rng):
    return jnp.asarray(rng.normal(size=(3, 6, 5, 8)), jnp.float32)


@pytest.mark.slow
@each
def test_zero_init_begins_as_the_shortcut(make, x):
    assert_close(make(zero_init=True)(x), np.maximum(np.asarray(x), 0))


@pytest.mark.slow
@each
def test_a_gradient_passes_a_branch_of_zero(make, x):
    """Without a shortcut nothing passes."""
    x = jnp.abs(x) + 0.1
    options = {"zero_init": True, "norm": nnx.LayerNorm}
    slope = jax.grad(lambda x: jnp.sum(make(**options)(x)))(x)
    assert_close(slope, np.ones(x.shape, np.float32))
    plain = make(shortcut="none", **options)
    slope = jax.grad(lambda x: jnp.sum(plain(x) ** 2))(x)
    assert_close(slope, np.zeros(x.shape, np.float32))


@each
def test_preactivation_leaves_the_shortcut_clean(make, x):
    """What is added to x is the branch alone, however large x is."""
    block = make(preactivation=True, norm=nnx.LayerNorm)
    near, far = block(x) - x, block(x + 4) - (x + 4)
    # LayerNorm takes a shift of all channels away, but for digits of its variance.
    assert_close(far, np.asarray(near), tol=1e-4)


@each
def test_stochastic_depth_takes_whole_examples(make, rng):
    block = make(keep_prob=0.5, norm=nnx.LayerNorm)
    x = jnp.asarray(rng.normal(size=(64, 4, 4, 8)), jnp.float32)
    full = make(norm=nnx.LayerNorm)
    branch, drawn = np.asarray(full.branch(x)), np.asarray(block.branch(x))
    kept = np.abs(drawn).max((1, 2, 3)) > 0
    assert 10 < kept.sum() < 54
    assert_close(drawn[kept], 2 * branch[kept])
    block.eval()
    assert_close(np.asarray(block.branch(x)), branch)


@pytest.mark.slow
def test_where_the_shape_stays_only_always_projects():
    shortcuts = ("pad", "projection", "always", "none")
    blocks = {s: BLOCKS["residual"](shortcut=s) for s in shortcuts}
    assert {s for s in shortcuts if blocks[s].project is not None} == {"always"}
    wider = {s: nn.ResidualBlock(8, 12, shortcut=s, rngs=nnx.Rngs(0)) for s in blocks}
    projecting = {s for s in shortcuts if wider[s].project is not None}
    assert projecting == {"projection", "always"}


@pytest.mark.slow
def test_conv_block_in_every_order(rng):
    x = jnp.asarray(rng.normal(size=(2, 6, 6, 3)), jnp.float32)

    def make(order):
        block = nn.ConvBlock(
            3, 4, (3, 3), order=order, norm=nnx.LayerNorm, rngs=nnx.Rngs(0)
        )
        return block, block.conv, block.norm

    block, conv, norm = make("conv-norm-activation")
    assert conv.bias is None
    assert_close(block(x), jax.nn.relu(norm(conv(x))))
    block, conv, norm = make("norm-activation-conv")
    assert conv.bias is not None
    assert_close(block(x), conv(jax.nn.relu(norm(x))))
    block, conv, norm = make("conv-activation-norm")
    assert_close(block(x), norm(jax.nn.relu(conv(x))))


@pytest.mark.slow
def test_squeeze_excitation_weighs_channels_by_their_means(rng):
    layer = nn.SqueezeExcitation(8, reduction=4, rngs=nnx.Rngs(0))
    x = rng.normal(size=(2, 5, 4, 8)).astype(np.float32)
    w1, b1 = np.asarray(layer.reduce.kernel[...]), np.asarray(layer.reduce.bias[...])
    w2, b2 = np.asarray(layer.expand.kernel[...]), np.asarray(layer.expand.bias[...])
    hidden = np.maximum(x.mean((1, 2)) @ w1 + b1, 0) @ w2 + b2
    wanted = x / (1 + np.exp(-hidden))[:, None, None]
    assert_close(layer(jnp.asarray(x)), wanted, reduction=20)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [1, 3])
def test_any_rank(rank, rng):
    x = jnp.asarray(rng.normal(size=(2, *(4,) * rank, 4)), jnp.float32)
    window = (3,) * rank
    block = nn.BottleneckBlock(
        4, 8, kernel_size=window, strides=2, squeeze=2, rngs=nnx.Rngs(0)
    )
    assert block(x).shape == (2, *(2,) * rank, 8)
    inception = nn.InceptionBlock(
        4, 2, ((3, 2, 3), (5, 1, 2)), 1, spatial_ndim=rank, rngs=nnx.Rngs(0)
    )
    y = inception(x)
    assert y.shape == (*x.shape[:-1], 8)
    # Each branch by itself: the first two channels are those of the 1x1 window.
    assert_close(y[..., :2], jax.nn.relu(inception.branches[0][0].conv(x)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"shortcut": "identity"},
            r"Block: shortcut must be one of 'pad', .*'identity'",
        ),
        ({"keep_prob": 0.0}, r"Block: keep_prob must lie in \(0, 1\]; got 0.0"),
        ({"zero_init": True, "preactivation": True}, "zero_init needs .*choose one"),
    ],
)
@each
def test_messages(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


@pytest.mark.slow
def test_a_shortcut_that_cannot_pad_says_so():
    block = nn.ResidualBlock(8, 4, shortcut="pad", rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="features must be at least the 8 channels"):
        block(jnp.ones((1, 4, 4, 8)))
    with pytest.raises(ValueError, match=r"ConvBlock: order must be one of .*'norm'"):
        nn.ConvBlock(3, 4, (3, 3), order="norm", rngs=nnx.Rngs(0))

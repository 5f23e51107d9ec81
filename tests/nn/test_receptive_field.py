"""Receptive fields: laws, gradients of linear networks, published figures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnets import functional as F
from jaxnets import models, nn

SIZES = {1: 48, 2: 26, 3: 13}


def positive(key, shape, dtype=jnp.float32):
    return jax.random.uniform(key, shape, dtype, 0.5, 1.5)


@st.composite
def stacks(draw):
    """Linear layers of one rank and how to apply them: convolutions and means."""
    rank = draw(st.sampled_from([1, 1, 2, 2, 3]))
    each = st.tuples(*[st.integers(1, 3)] * rank)
    small = st.tuples(*[st.integers(1, 2)] * rank)
    layers = []
    for number in range(draw(st.integers(1, 4 if rank < 3 else 2))):
        kind = draw(st.sampled_from(["conv", "conv", "pool", "transposed"]))
        window, strides, dilation = draw(each), draw(small), draw(small)
        padding = draw(st.sampled_from(["VALID", "SAME", 1]))
        if kind == "conv":
            kernel = positive(jax.random.key(number), (*window, 1, 1))
            options = {"strides": strides, "dilation": dilation, "padding": padding}
            layers.append(lambda x, k=kernel, o=options: F.conv(x, k, **o))
        elif kind == "pool":
            padding = "VALID" if padding == 1 else padding
            options = {"strides": strides, "padding": padding}
            layers.append(lambda x, w=window, o=options: F.avg_pool(x, w, **o))
        else:
            kernel = positive(jax.random.key(number), (*window, 1, 1))
            layers.append(
                lambda x, k=kernel, s=strides: F.conv_transpose(
                    x, k, strides=s, padding="VALID"
                )
            )
    return rank, layers


def support(function, shape, position):
    """The first and the last cell along each axis that the gradient reaches."""

    def unit(x):
        return function(x)[(0, *position, 0)]

    slope = np.asarray(jax.grad(unit)(jnp.ones((1, *shape))))[0, ..., 0]
    where = np.argwhere(slope)
    if not len(where):
        return None
    return tuple(map(tuple, np.stack([where.min(0), where.max(0)], -1).tolist()))


def check_against_the_gradient(layers, shape):
    def function(x):
        for layer in layers:
            x = layer(x)
        return x

    field = nn.receptive_field(layers, shape)
    sizes = jax.eval_shape(function, jnp.ones((1, *shape))).shape[1:-1]
    position = tuple(size // 2 for size in sizes)
    cells = field.cells(position)
    found = support(function, shape, position)
    if any(low > high for low, high in cells):
        # Between the windows of a transposed convolution with gaps.
        assert found is None
        return False
    axes = list(zip(cells, shape[:-1], strict=True))
    # At a border the ends of the field may be gaps of a dilated window.
    inside = all(low > 0 and high < size - 1 for (low, high), size in axes)
    if inside:
        assert cells == found
    return inside


@pytest.mark.slow
def test_the_gradient_of_linear_networks_fills_the_field_exactly():
    """It must also have been inside the borders often enough to mean something."""
    inside = []

    @settings(max_examples=25)
    @given(stacks())
    def law(drawn):
        rank, layers = drawn
        inside.append(check_against_the_gradient(layers, (*[SIZES[rank]] * rank, 1)))

    law()
    assert sum(inside) > len(inside) // 2


@pytest.mark.slow
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_gradient_of_one_linear_network_of_each_rank(rank):
    kernel = positive(jax.random.key(0), (3,) * rank + (1, 1))
    layers = [
        lambda x: F.conv(x, kernel, strides=2, padding=1),
        lambda x: F.avg_pool(x, (2,) * rank, strides=1),
        lambda x: F.conv(x, kernel[:2], dilation=2, padding="SAME"),
    ]
    assert check_against_the_gradient(layers, (*[20] * rank, 1))


@pytest.mark.slow
@pytest.mark.parametrize(("window", "stride"), [(4, 2), (3, 2), (2, 3), (5, 3)])
def test_every_output_of_a_transposed_convolution(window, stride):
    """Its outputs see windows of unequal size, or nothing."""
    first = positive(jax.random.key(0), (3, 1, 1))
    second = positive(jax.random.key(1), (window, 1, 1))

    def function(x):
        x = F.conv(x, first, strides=2, padding="VALID")
        return F.conv_transpose(x, second, strides=stride, padding="VALID")

    field = nn.receptive_field(function, (15, 1))
    x = jnp.ones((1, 15, 1))
    matrix = np.asarray(jax.jacobian(lambda x: function(x)[0, :, 0])(x))[:, 0, :, 0]
    seen = 0
    # Inside: at the ends the field counts cells of the padding too.
    for k in range(window, len(matrix) - window):
        ((low, high),) = field.cells((k,))
        found = np.flatnonzero(matrix[k])
        assert list(range(low, high + 1))[:: max(high - low, 1)] == list(
            found[:: max(len(found) - 1, 1)]
        )
        seen = max(seen, len(found))
    assert field.size == (seen,)
    assert field.jump == (2 / stride,)


def arithmetic(*layers):
    """Size, jump and start of a chain of (window, stride, padding) by the recursion."""
    size, jump, start = 1, 1, 0.0
    for window, stride, padding in layers:
        start += ((window - 1) / 2 - padding) * jump
        size += (window - 1) * jump
        jump *= stride
    return size, jump, start


def field_of(name, size, channels=3, stage=-1, **options):
    model = nnx.eval_shape(lambda: models.create(name, rngs=nnx.Rngs(0), **options))
    return nn.receptive_field(
        model, (size, size, channels), method=lambda m, x: m.features(x)[stage]
    )


def vgg(*depths):
    return [layer for depth in depths for layer in [(3, 1, 1)] * depth + [(2, 2, 0)]]


def bottlenecks(depths, *, stride_first):
    layers = [(7, 2, 3), (3, 2, 1)]
    for stage, depth in enumerate(depths):
        for place in range(depth):
            stride = 2 if stage and not place else 1
            first, middle = (stride, 1) if stride_first else (1, stride)
            layers += [(1, first, 0), (3, middle, 1), (1, 1, 0)]
    return layers


def small_residual(n):
    strides = [1] * n + ([2] + [1] * (n - 1)) * 2
    return [(3, 1, 1)] + [step for s in strides for step in ((3, s, 1), (3, 1, 1))]


INCEPTION = [(5, 1, 2)]
LOWER = [(3, 2, 0)]
ALEXNET = [(11, 4, 2), *LOWER, (5, 1, 2), *LOWER, *[(3, 1, 1)] * 3, *LOWER]
GOOGLENET = [
    (7, 2, 3), *LOWER, (1, 1, 0), (3, 1, 1), *LOWER, *INCEPTION * 2, *LOWER,
    *INCEPTION * 5, *LOWER, *INCEPTION * 2,
]  # fmt: skip
# Araujo et al. 2019 (Distill) list 212, 195, 483 and 1027 for the first ones; those
# behind them, with torchvision's strides, stand on the recursion alone.
FIRST = {"stride_first": True}
CHAINS = [
    ("vgg16", 212, vgg(2, 2, 3, 3, 3), {}),
    ("alexnet", 195, ALEXNET, {}),
    ("resnet50", 483, bottlenecks((3, 4, 6, 3), **FIRST), FIRST),
    ("resnet101", 1027, bottlenecks((3, 4, 23, 3), **FIRST), FIRST),
    ("resnet50", 427, bottlenecks((3, 4, 6, 3), stride_first=False), {}),
    ("googlenet_2014", 715, GOOGLENET, {}),
    ("resnet20_cifar", 81, small_residual(3), {}),
    ("plain20_cifar", 81, small_residual(3), {}),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "chain", "options"),
    [pytest.param(*row, marks=[pytest.mark.slow] * (row[1] > 1000)) for row in CHAINS],
    ids=[f"{name}-{size}" for name, size, *_ in CHAINS],
)
def test_networks(name, size, chain, options):
    field = field_of(name, 32 if name.endswith("cifar") else 224, **options)
    assert arithmetic(*chain)[0] == size
    figures = (field.size, field.jump, field.start)
    assert figures == tuple((figure, figure) for figure in arithmetic(*chain))


def test_vgg16_before_its_last_pool():
    model = nnx.eval_shape(lambda: models.create("vgg16", rngs=nnx.Rngs(0)))
    lines = {f.path: f for f in nn.receptive_field(model, (224, 224, 3)).layers}
    assert lines["stages/4/2"].size == (196, 196)
    assert lines["stages/4/2"].jump == (16.0, 16.0)
    # Behind the flatten and a dense layer every unit sees the whole image.
    assert lines["head/out"].size == (224, 224)
    assert lines["head/out"].jump == (0.0, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("remat", [False, True])
def test_loops_and_recomputation_change_nothing(remat):
    plain = field_of("resnet20_cifar", 32)
    looped = field_of("resnet20_cifar", 32, scan=True, remat=remat)
    assert (looped.size, looped.jump, looped.start) == (
        plain.size, plain.jump, plain.start
    )  # fmt: skip


RNGS = nnx.Rngs(0)
BRANCHES = [
    ("residual", nn.ResidualBlock(4, 4, strides=2, shortcut="pad", rngs=RNGS), 7, 2),
    ("inception", nn.InceptionBlock(4, 2, ((3, 2, 2), (7, 2, 2)), 1, rngs=RNGS), 7, 1),
    ("max pool", nn.MaxPool((3, 2), strides=2), (3, 2), 2),
    ("ceil mode", lambda x: F.max_pool(x, (3, 3), strides=2, ceil_mode=True), 3, 2),
    ("lax", nnx.Conv(4, 2, (3, 3), kernel_dilation=(2, 1), rngs=RNGS), (5, 3), 1),
    ("flax's pool", lambda x: nnx.avg_pool(x, (3, 3), (2, 2)), 3, 2),
    ("reflected", lambda x: F.conv(x, jnp.ones((3, 3, 4, 1)), padding_mode="reflect"),
     3, 1),
    ("flipped", lambda x: x[:, ::-1], 1, (-1, 1)),
    ("turned twice", lambda x: jnp.swapaxes(jnp.swapaxes(x, 1, 2), 1, 2), 1, 1),
    ("blocks", lambda x: x.reshape(1, 6, 2, 6, 2, 4).max((2, 4)), 2, 2),
    ("a channel sum", lambda x: jnp.einsum("nhwc,cd->nhwd", x, jnp.ones((4, 2))), 1, 1),
    ("unequal paces", lambda x: x + jnp.repeat(x[:, ::2], 2, axis=1), (12, 1), (0, 1)),
    ("global pool", nn.GlobalAvgPool(), 12, 0),
    ("weights of channels", nn.SqueezeExcitation(4, reduction=2, rngs=RNGS), 12, 0),
    ("unequal windows", lambda x: F.adaptive_avg_pool(x, (5, 6)), (12, 2), (0, 2)),
    ("sorted", lambda x: jnp.sort(x, axis=1), 12, 0),
    ("flat", lambda x: x.reshape(1, -1)[..., None], 12, 0),
    ("constant", lambda x: jnp.ones((1, 3, 3, 1)), 0, 0),
]  # fmt: skip


@pytest.mark.parametrize(
    ("layer", "size", "jump"),
    [row[1:] for row in BRANCHES],
    ids=[row[0].replace(" ", "_") for row in BRANCHES],
)
def test_operations(layer, size, jump):
    field = nn.receptive_field(layer, (12, 12, 4))
    both = [f if isinstance(f, tuple) else (f, f) for f in (size, jump)]
    assert [field.size, field.jump] == both


@pytest.mark.slow
def test_lists_and_functions_and_the_table():
    layers = [nn.Conv(1, 2, (5,), strides=3, rngs=RNGS), jnp.tanh, nn.AvgPool((2,))]
    field = nn.receptive_field(layers, (30, 1))
    assert [line.kind for line in field.layers] == ["Sequential", "Conv", "AvgPool"]
    assert (field.size, field.jump, field.input_size) == ((8,), (6.0,), (30,))
    assert "layers/2   AvgPool         8      6" in str(field)
    composed = nn.receptive_field(lambda x: layers[2](layers[0](x)), (30, 1))
    assert (composed.size, composed.start) == (field.size, field.start)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.receptive_field([], (3,)), ValueError,
         r"input_shape must be .* at least one spatial axis; got \(3,\)"),
        (lambda: nn.receptive_field([], (0, 3)), ValueError, "input_shape must be"),
        (lambda: nn.receptive_field(3, (4, 3)), TypeError,
         "model must be a module, a list of modules and functions.*got 3"),
        (lambda: nn.receptive_field(lambda x: (x, x), (4, 3)), TypeError,
         "must give one array; got tuple .choose with method"),
        (lambda: nn.receptive_field([], (4, 3)).cells((1, 2)), ValueError,
         r"cells: position must have 1 entries.*got \(1, 2\)"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("untyped")
def test_messages(call, error, message):
    with pytest.raises(error, match=message):
        call()

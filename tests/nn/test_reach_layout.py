"""Receptive fields of tiled layers, and of layers with the channels first."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnets import nn

FIRST = {"data_format": "channels_first", "rngs": nnx.Rngs(0)}
TILED = [
    {"kernel_size": (3, 3), "tiles": (2, 2)},
    {"kernel_size": (3, 2), "tiles": (1, 3), "strides": (1, 2)},
    {"kernel_size": (2, 3), "tiles": (4, 1), "kernel_dilation": 2},
    {"kernel_size": (3, 5), "tiles": (3, 3), "strides": 2},
    {"kernel_size": (3,), "tiles": 3},
    {"kernel_size": (3,), "tiles": 5, "strides": 3},
]


@pytest.mark.parametrize("options", TILED)
def test_a_tiled_layer_sees_what_its_window_spans(options):
    """Size = d (k − 1) + 1 and jump = s, whatever the number of tiles."""
    rank = len(options["kernel_size"])
    layer = nn.TiledConv(3, 4, rngs=nnx.Rngs(0), **options)
    field = nn.receptive_field(layer, (24,) * rank + (3,))
    stride, dilation = (
        np.broadcast_to(options.get(name, 1), rank)
        for name in ("strides", "kernel_dilation")
    )
    window = np.asarray(options["kernel_size"])
    assert field.size == tuple(dilation * (window - 1) + 1)
    assert field.jump == tuple(stride)


def test_tiled_layers_in_turn_by_gradients():
    layers = [
        nn.TiledConv(1, 2, (3,), 3, strides=2, rngs=nnx.Rngs(0)),
        nn.TiledConv(2, 1, (2,), 2, rngs=nnx.Rngs(1)),
    ]
    field = nn.receptive_field(layers, (24, 1))
    x = jnp.ones((1, 24, 1))
    slope = jax.jacobian(lambda x: nnx.Sequential(*layers)(x)[0, :, 0])(x)[:, 0, :, 0]
    for k in range(len(slope)):
        seen = np.flatnonzero(slope[k])
        assert field.cells((k,)) == ((seen[0], seen[-1]),)


def channels_first() -> list:
    return [
        nn.Conv(3, 4, (3, 3), **FIRST),
        nn.MaxPool((2, 2), data_format="channels_first"),
        nn.Conv(4, 4, (3, 5), **FIRST),
    ]


def test_an_input_with_the_channels_first():
    field = nn.receptive_field(
        channels_first(), (3, 12, 10), data_format="channels_first"
    )
    assert field.size == (8, 12)  # 3 + 1 + 2 · 2 and 3 + 1 + 4 · 2
    assert field.jump == (2, 2)
    assert field.input_size == (12, 10)
    measured = nn.effective_receptive_field(
        jax.random.key(0), channels_first(), (3, 12, 10), data_format="channels_first"
    )
    rows, columns = field.cells((3, 2))
    inside = np.zeros((12, 10), bool)
    inside[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1] = True
    np.testing.assert_array_equal(measured > 0, inside)


def test_a_model_that_moves_the_channels_itself():
    layers = [
        lambda x: jnp.moveaxis(x, -1, 1),
        *channels_first(),
        lambda x: jnp.moveaxis(x, 1, -1),
    ]
    assert nn.receptive_field(layers, (12, 10, 3)).size == (8, 12)


@pytest.mark.parametrize("analysis", ["receptive_field", "effective_receptive_field"])
def test_a_layer_that_takes_a_spatial_axis_for_channels_is_named(analysis):
    def analyse(layers, shape, **options):
        key = (jax.random.key(0),) if analysis.startswith("effective") else ()
        getattr(nn, analysis)(*key, layers, shape, **options)

    message = (
        rf"{analysis}: Conv layers/0 is channels_first and takes a spatial axis .*"
        r"data_format='channels_first' and input_shape=\(channels, \*spatial\)"
    )
    with pytest.raises(ValueError, match=message):
        analyse(channels_first(), (3, 12, 12))
    last = [nn.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0))]
    message = rf"{analysis}: Conv layers/0 is channels_last and takes .*_last' and"
    with pytest.raises(ValueError, match=message):
        analyse(last, (12, 12, 3), data_format="channels_first")
    with pytest.raises(ValueError, match=r"input_shape must be \(channels, \*spat"):
        analyse(last, (3,), data_format="channels_first")
    with pytest.raises(ValueError, match="data_format must be one of"):
        analyse(last, (12, 3), data_format="NCHW")


@pytest.mark.parametrize(
    "pool",
    [
        lambda: nn.AvgPool((2, 2), data_format="channels_first"),
        lambda: nn.ConvTranspose(3, 4, (3, 3), **FIRST),
        lambda: nn.SeparableConv(3, 4, (3, 3), **FIRST),
        lambda: nn.TiledConv(3, 4, (3, 3), 2, **FIRST),
        lambda: nn.LocalConv(3, 4, (3, 3), (12, 12), **FIRST),
        lambda: nn.GlobalAvgPool(data_format="channels_first"),
        lambda: nn.AdaptiveAvgPool((4, 4), data_format="channels_first"),
    ],
)
def test_every_kind_of_layer_is_asked(pool):
    with pytest.raises(ValueError, match="takes a spatial axis of the input for its"):
        nn.receptive_field([pool()], (3, 12, 12))


def test_exchanged_axes_of_a_layer_with_the_channels_last_are_no_error():
    """A layer that mixes positions, as a mixer does, sees them all."""
    mixer = [
        lambda x: jnp.swapaxes(x, 1, 2),
        nn.Conv(9, 9, (1,), rngs=nnx.Rngs(0)),
    ]
    assert nn.receptive_field(mixer, (9, 4)).size == (9,)


def test_a_stack_of_parts_that_are_evenly_spaced():
    """Even and odd cells side by side, and put back in their order, see one cell."""

    def halves(x, axis):
        even, odd = x[:, ::2], x[:, 1::2]
        return jnp.stack([even, odd], axis)

    def back(x):
        return halves(x, 2).reshape(x.shape)

    def apart(x):
        return halves(x, 1).reshape(x.shape)

    for function, size in itertools.product((back, apart), (8, 12)):
        field = nn.receptive_field(function, (size, 1))
        assert field.size == ((1,) if function is back else (size,))

"""Counts of parameters and connections against textbook figures and explicit loops."""

import itertools

import pytest

from jaxnets.functional import conv_output_shape
from jaxnets.functional._connections import LayerCounts, connection_counts
from tests.oracles import pad_widths, per_axis


def test_the_edge_detector_of_the_textbook():
    counts = connection_counts((280, 320, 1), (1, 2, 1, 1), padding="VALID")
    outputs = 280 * 319
    assert counts.dense.parameters == 280 * 320 * outputs > 8e9
    assert counts.dense.parameters / counts.shared.parameters > 4e9
    # Two products and one sum a pixel; the dense layer adds once less too.
    flops = 2 * counts.shared.connections - outputs
    assert flops == 267_960
    assert round((2 * counts.dense.connections - outputs) / flops, -4) == 60_000


def test_each_kind_of_layer():
    counts = connection_counts((5, 1), (3, 1, 2), tile=2)
    assert counts.dense == LayerCounts(5 * 10, 5 * 10)
    assert counts.local == LayerCounts(5 * 3 * 2, 13 * 2)
    assert counts.tiled == LayerCounts(2 * 3 * 2, 13 * 2)
    assert counts.shared == LayerCounts(3 * 2, 13 * 2)


def met(size, taps, stride, dilation, padding, positions):
    """Pairs of a position and a tap that stand on a cell, along one axis."""
    lo, _ = pad_widths(padding, size, taps, stride, dilation)
    pairs = itertools.product(range(positions), range(taps))
    return sum(0 <= p * stride + t * dilation - lo < size for p, t in pairs)


@pytest.mark.parametrize(
    ("shape", "kernel", "options"),
    [
        ((7, 6, 4), (3, 2, 2, 6), {"strides": (2, 1), "groups": 2}),
        ((7, 6, 2), (3, 4, 2, 3), {"dilation": (2, 1), "padding": "FULL"}),
        ((9, 1), (3, 1, 2), {"padding": "CAUSAL", "strides": 3}),
        ((4, 3, 5, 1), (2, 3, 2, 1, 2), {"padding": "SAME_LOWER"}),
        ((3, 2), (7, 2, 1), {"padding": 5, "strides": 2}),
    ],
)
def test_connections_equal_the_pairs_counted_one_by_one(shape, kernel, options):
    rank = len(kernel) - 2
    *positions, out = conv_output_shape(shape, kernel, **options)
    expected = kernel[-2] * out
    for axis in range(rank):
        stride = per_axis(options.get("strides", 1), rank)[axis]
        dilation = per_axis(options.get("dilation", 1), rank)[axis]
        padding = per_axis(options.get("padding", "SAME"), rank)[axis]
        expected *= met(
            shape[axis], kernel[axis], stride, dilation, padding, positions[axis]
        )
    counts = connection_counts(shape, kernel, **options)
    assert counts.shared.connections == expected
    assert counts.local.connections == counts.tiled.connections == expected


def test_tiles_of_one_share_and_tiles_of_the_width_do_not():
    shape, kernel = (6, 5, 2), (3, 3, 2, 4)
    one = connection_counts(shape, kernel, tile=1)
    width = connection_counts(shape, kernel, tile=(6, 5))
    wider = connection_counts(shape, kernel, tile=99)
    assert one.tiled == one.shared
    assert width.tiled == width.local == wider.tiled
    between = connection_counts(shape, kernel, tile=(2, 3)).tiled.parameters
    assert between == 6 * one.shared.parameters


def test_messages():
    with pytest.raises(ValueError, match="connection_counts: input_shape must have 2"):
        connection_counts((1, 5, 2), (3, 2, 4))
    with pytest.raises(ValueError, match="connection_counts: tile must be at least 1"):
        connection_counts((5, 2), (3, 2, 4), tile=0)
    with pytest.raises(ValueError, match="kernel has 3 input channels but x has 2"):
        connection_counts((5, 2), (3, 3, 4))

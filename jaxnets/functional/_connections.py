"""How many parameters and connections the four kinds of layers have."""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from jaxnets.functional._checks import check_integers
from jaxnets.functional._conv_matrix import matrix_output_shape
from jaxnets.functional._shapes import IntOrInts, Padding, canonical_padding


class LayerCounts(NamedTuple):
    """What one kind of layer needs.

    Attributes:
        parameters: weights that it holds, biases not counted.
        connections: pairs of an output and an input that meet in a product; a forward
            pass multiplies and adds as often.
    """

    parameters: int
    connections: int


class ConnectionCounts(NamedTuple):
    """The counts of the four kinds of layers between the same input and output.

    Attributes:
        dense: every output sees every input with a weight of its own.
        local: every output sees its window, with weights of its own.
        tiled: as local, but the weights repeat after so many positions.
        shared: every output sees its window with the same weights: a convolution.
    """

    dense: LayerCounts
    local: LayerCounts
    tiled: LayerCounts
    shared: LayerCounts


def connection_counts(
    input_shape: Sequence[int],
    kernel_shape: Sequence[int],
    *,
    strides: IntOrInts = 1,
    padding: Padding = "SAME",
    dilation: IntOrInts = 1,
    groups: int = 1,
    tile: IntOrInts = 2,
) -> ConnectionCounts:
    """Count the weights and the products of dense, local, tiled and shared layers.

        dense     parameters m · n                      connections m · n
        local     parameters positions · window · in · out / groups
        tiled     parameters tile · window · in · out / groups
        shared    parameters window · in · out / groups

    with m inputs and n outputs. The last three have the same connections, at most
    window · in / groups for each output. Parameters count the arrays as the layers
    hold them, so also the weights of a local layer that meet only padding;
    connections do not count products with padding, whatever its content.

    Args:
        input_shape: `(*spatial, in)`, without a batch.
        kernel_shape: `(*window, in // groups, out)`.
        strides: as in `conv`.
        padding: as in `conv`.
        dilation: as in `conv`.
        groups: as in `conv`.
        tile: positions after which the weights of the tiled layer repeat, for all
            axes or one an axis; more than there are counts as all of them.

    Returns:
        `ConnectionCounts(dense, local, tiled, shared)`, each a
        `LayerCounts(parameters, connections)` of Python ints.

    Raises:
        TypeError: as `conv` does.
        ValueError: as `conv` does, or if `input_shape` has a batch.

    Example:
        Edges of an image of 280 by 320 pixels by the difference of two neighbours:

        >>> counts = connection_counts((280, 320, 1), (1, 2, 1, 1), padding="VALID")
        >>> counts.shared
        LayerCounts(parameters=2, connections=178640)
        >>> counts.dense.parameters
        8003072000

    Source:
        Goodfellow, Bengio, Courville, Deep Learning (2016), section 9.2, figure 9.6.
    """
    *positions, out = matrix_output_shape(
        "connection_counts",
        input_shape,
        kernel_shape,
        strides=strides,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )
    spatial, window = tuple(input_shape[:-1]), tuple(kernel_shape[:-2])
    rank = len(window)
    strides = check_integers("conv", "strides", strides, length=rank, minimum=1)
    dilation = check_integers("conv", "dilation", dilation, length=rank, minimum=1)
    tile = check_integers("connection_counts", "tile", tile, length=rank, minimum=1)
    pads = canonical_padding("conv", padding, spatial, window, strides, dilation)

    met = 1
    for axis, size in enumerate(spatial):
        first = range(-pads[axis][0], size + pads[axis][1], strides[axis])
        met *= sum(
            0 <= cell + tap * dilation[axis] < size
            for cell in first[: positions[axis]]
            for tap in range(window[axis])
        )
    connections = met * prod(kernel_shape[-2:])
    kernel = prod(kernel_shape)
    tiles = prod(map(min, tile, positions))
    dense = prod(input_shape) * prod(positions) * out
    return ConnectionCounts(
        dense=LayerCounts(dense, dense),
        local=LayerCounts(prod(positions) * kernel, connections),
        tiled=LayerCounts(tiles * kernel, connections),
        shared=LayerCounts(kernel, connections),
    )

"""LocalConv and TiledConv: layers whose kernels change from position to position."""

from collections.abc import Sequence
from typing import Any

from jaxnets.functional._checks import check_integers
from jaxnets.functional._conv_local import local_conv, tiled_conv
from jaxnets.functional._pool_geometry import pool_geometry
from jaxnets.functional._shapes import IntOrInts, Padding
from jaxnets.nn._conv_sizes import window_of
from jaxnets.nn._conv_unshared import UnsharedConv


class LocalConv(UnsharedConv):
    """A locally connected layer: a kernel and a bias of its own at every position.

    `x (*batch, *input_size, in_features)` gives `y (*batch, *positions, out_features)`;
    `kernel` is `(*positions, *kernel_size, in_features // groups, out_features)`.
    Weights begin as large as those of `Conv`: the fan-in is that of a window.

    Accuracy: `"relaxed"` by default, errors relative to the largest values; see
    `jaxnets.functional.conv_accuracy`.

    Args:
        in_features: channels of `x`.
        out_features: channels of `y`.
        kernel_size: cells of the window, one entry a spatial axis; an int means one
            axis.
        input_size: spatial sizes of `x`, which fix how many kernels there are.
        padding: as in `jaxnets.functional.conv`.
        options: the further arguments of `UnsharedConv`, `rngs` among them.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> layer = LocalConv(3, 8, (3, 3), (10, 10), rngs=nnx.Rngs(0))
        >>> layer.kernel.shape, layer(jnp.ones((2, 10, 10, 3))).shape
        ((8, 8, 3, 3, 3, 8), (2, 8, 8, 8))

    Source:
        Goodfellow, Bengio, Courville, Deep Learning (2016), equation 9.9.
    """

    function = staticmethod(local_conv)

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: IntOrInts,
        input_size: Sequence[int],
        *,
        padding: Padding = "VALID",
        **options: Any,
    ):
        window = window_of("LocalConv", kernel_size)
        sizes = check_integers(
            "LocalConv", "input_size", input_size, length=None, minimum=1
        )
        if len(sizes) != len(window):
            raise ValueError(
                "LocalConv: input_size must have one entry an axis of kernel_size; got "
                f"{sizes} for {window}"
            )
        geometry = pool_geometry(
            "LocalConv",
            (*sizes, 1),
            window,
            strides=options.get("strides", 1),
            padding=padding,
            dilation=options.get("kernel_dilation", 1),
            ceil_mode=False,
            data_format="channels_last",
        )
        self.input_size = sizes
        counts = tuple(a.outputs for a in geometry)
        super().__init__(
            in_features, out_features, window, counts, padding=padding, **options
        )


class TiledConv(UnsharedConv):
    """A tiled layer: a few kernels, applied in turn from position to position.

    `x (*batch, *spatial, in_features)` gives `y (*batch, *positions, out_features)`;
    `kernel` is `(*tiles, *kernel_size, in_features // groups, out_features)`.

    Accuracy: `"relaxed"` by default, errors relative to the largest values; see
    `jaxnets.functional.conv_accuracy`.

    Args:
        in_features: channels of `x`.
        out_features: channels of `y`.
        kernel_size: cells of the window, one entry a spatial axis; an int means one
            axis.
        tiles: kernels along every axis, for all axes or one an axis.
        padding: as in `jaxnets.functional.conv`.
        options: the further arguments of `UnsharedConv`, `rngs` among them.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> layer = TiledConv(3, 8, (3, 3), 2, rngs=nnx.Rngs(0))
        >>> layer.kernel.shape, layer(jnp.ones((2, 10, 10, 3))).shape
        ((2, 2, 3, 3, 3, 8), (2, 10, 10, 8))

    Source:
        Goodfellow, Bengio, Courville, Deep Learning (2016), equation 9.10.
    """

    function = staticmethod(tiled_conv)

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: IntOrInts,
        tiles: IntOrInts,
        *,
        padding: Padding = "SAME",
        **options: Any,
    ):
        window = window_of("TiledConv", kernel_size)
        counts = check_integers(
            "TiledConv", "tiles", tiles, length=len(window), minimum=1
        )
        self.tiles = counts
        super().__init__(
            in_features, out_features, window, counts, padding=padding, **options
        )

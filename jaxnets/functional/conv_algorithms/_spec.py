"""The static facts of a convolution, as every algorithm and primitive takes them."""

from typing import Any, NamedTuple

from jaxnets.functional._shapes import Pairs, output_size


class ConvSpec(NamedTuple):
    """What a convolution does besides its arrays, in canonical form.

    The arrays that go with it: x `(batch, *spatial, in)`, kernel
    `(*window, in // groups, out)` and y `(batch, *positions, out)`, with
    y[p] = Σ_t x[strides · p + dilation · t − lo] kernel[t] and zeros outside x.
    """

    strides: tuple[int, ...]
    padding: Pairs
    dilation: tuple[int, ...]
    groups: int
    precision: Any

    def positions(
        self, spatial: tuple[int, ...], window: tuple[int, ...]
    ) -> tuple[int, ...]:
        """Spatial sizes of the output."""
        axes = zip(
            spatial, window, self.strides, self.dilation, self.padding, strict=True
        )
        return tuple(output_size(*axis) for axis in axes)

"""The static facts of a convolution, as every algorithm and primitive takes them."""

from math import prod
from typing import Any, NamedTuple

from jax import lax

from jaxnets.functional._shapes import Pairs, output_size

CACHE_LINE = 64
PARTS = ("forward", "input_grad", "kernel_grad")

_HIGHEST = (
    lax.Precision.HIGHEST,
    lax.DotAlgorithmPreset.F32_F32_F32,
    "highest",
    "float32",
    "F32_F32_F32",
)


class ConvSpec(NamedTuple):
    """What a convolution does besides its arrays, in canonical form.

    The arrays that go with it: x `(batch, *spatial, in)`, kernel
    `(*window, in // groups, out)` and y `(batch, *positions, out)`, with
    y[p] = Σ_t x[strides · p + dilation · t − lo] kernel[t] and zeros outside x.

    `relaxed` permits rounding errors relative to the largest values of the arrays.
    Without it the error of every element is bounded relative to its own terms.
    """

    strides: tuple[int, ...]
    padding: Pairs
    dilation: tuple[int, ...]
    groups: int
    precision: Any
    relaxed: bool = False

    def positions(
        self, spatial: tuple[int, ...], window: tuple[int, ...]
    ) -> tuple[int, ...]:
        """Spatial sizes of the output."""
        axes = zip(
            spatial, window, self.strides, self.dilation, self.padding, strict=True
        )
        return tuple(output_size(*axis) for axis in axes)


class ConvFacts(NamedTuple):
    """All that is known of a convolution before it runs: sizes, spec and dtype."""

    batch: int
    spatial: tuple[int, ...]
    window: tuple[int, ...]
    channels: int
    out: int
    spec: ConvSpec
    dtype: str

    @property
    def positions(self) -> tuple[int, ...]:
        """Spatial sizes of the output."""
        return self.spec.positions(self.spatial, self.window)

    @property
    def fan_in(self) -> int:
        """Input channels of one group."""
        return self.channels // self.spec.groups

    @property
    def fan_out(self) -> int:
        """Output channels of one group."""
        return self.out // self.spec.groups

    @property
    def products(self) -> int:
        """Multiplications that the sums written out would take."""
        return (
            self.batch
            * prod(self.positions)
            * prod(self.window)
            * (self.fan_in * self.out)
        )

    @property
    def kernel_cells(self) -> int:
        """Numbers in the kernel: with many channels more than in a small image."""
        return prod(self.window) * self.fan_in * self.out

    @property
    def every_cell_products(self) -> float:
        """Multiplications of an input gradient, phase by phase.

        Every cell of x meets its taps, even where they lie outside g: many more than
        `products` where a large window leaves few positions.
        """
        taps = prod(self.window) / prod(self.spec.strides)
        return self.batch * prod(self.spatial) * taps * self.fan_in * self.out


class Work(NamedTuple):
    """What an algorithm has to do for one part of a convolution.

    Attributes:
        flops: additions and multiplications.
        bytes: bytes read from and written to memory beyond the caches.
        calls: kernels that the platform launches, one after the other.
        kind: which rates of the platform hold for it.
        fresh: bytes of temporary arrays that a call alone finds in memory and the
            program of a network, which has more of them, gets from the system.
    """

    flops: float
    bytes: float
    calls: float
    kind: str = "dense"
    fresh: float = 0.0


def copied_bytes(runs: int, channels: int, itemsize: int) -> int:
    """Bytes that copying `runs` runs of channels takes: a cache line each, at least."""
    return runs * max(CACHE_LINE, channels * itemsize)


def is_exact(precision: Any) -> bool:
    """Whether a precision forbids algorithms that round more than sums do."""
    parts = precision if isinstance(precision, tuple) else (precision,)
    return any(part in _HIGHEST for part in parts)

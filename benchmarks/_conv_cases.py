"""The layers of `benchmarks.conv_suite`, as data: real networks, batches for a CPU.

Batches are such that a training step of one layer has 1 to 20 Gflop, 10 to 300 ms for
PyTorch on two cores.
"""

from math import prod
from typing import NamedTuple

import numpy as np

KINDS = (
    "dense 3x3",
    "dense, other windows",
    "1x1",
    "strided",
    "grouped",
    "depthwise",
    "long kernels",
    "3-D",
    "transposed",
)


class Layer(NamedTuple):
    """A convolution in a network: x `(batch, *spatial, channels)` to `out` channels.

    Attributes:
        name: the network and where in it.
        kind: one of `KINDS`; a layer is of one kind only.
        batch: images or signals.
        spatial: spatial sizes of x.
        channels: channels of x.
        out: channels of y.
        window: taps along every axis.
        stride: the same along every axis.
        padding: cells on both sides of every axis, or a pair (lo, hi).
        groups: the channels are cut into this many groups.
        transposed: whether the layer is the transpose of a convolution, PyTorch's
            `ConvTranspose`; stride and padding are those of that convolution.
        quick: whether it is in the third that `--quick` runs.
        frameworks: whether nnx.Conv and Keras run it without `--all`.
    """

    name: str
    kind: str
    batch: int
    spatial: tuple[int, ...]
    channels: int
    out: int
    window: tuple[int, ...]
    stride: int = 1
    padding: int | tuple[int, int] = 0
    groups: int = 1
    transposed: bool = False
    quick: bool = False
    frameworks: bool = False

    @property
    def rank(self) -> int:
        return len(self.window)

    @property
    def pads(self) -> tuple[tuple[int, int], ...]:
        one = self.padding
        pair = (one, one) if isinstance(one, int) else one
        return (pair,) * self.rank

    @property
    def positions(self) -> tuple[int, ...]:
        axes = tuple(zip(self.spatial, self.window, self.pads, strict=True))
        if self.transposed:
            return tuple((s - 1) * self.stride + k - lo - hi for s, k, (lo, hi) in axes)
        return tuple((s + lo + hi - k) // self.stride + 1 for s, k, (lo, hi) in axes)

    @property
    def x_shape(self) -> tuple[int, ...]:
        return (self.batch, *self.spatial, self.channels)

    @property
    def y_shape(self) -> tuple[int, ...]:
        return (self.batch, *self.positions, self.out)

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        if self.transposed:
            return (*self.window, self.out // self.groups, self.channels)
        return (*self.window, self.channels // self.groups, self.out)

    @property
    def gigaflops(self) -> float:
        """Of the forward pass as sums, multiplications and additions."""
        places = prod(self.spatial if self.transposed else self.positions)
        return 2e-9 * self.batch * places * prod(self.kernel_shape)

    def __str__(self) -> str:
        """Name and sizes in a line."""
        options = f" s{self.stride}" * (self.stride > 1)
        options += f" g{self.groups}" * (self.groups > 1)
        options += " transposed" * self.transposed
        shape = "x".join(map(str, self.x_shape))
        window = "x".join(map(str, self.window))
        return f"{self.name}: {shape} to {self.out}, {window}{options}"

    def draw(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, kernel and the cotangent of y; the kernel keeps the variance."""
        rng = np.random.default_rng(0)
        x, kernel, g = (
            rng.standard_normal(shape, np.float32)
            for shape in (self.x_shape, self.kernel_shape, self.y_shape)
        )
        return x, kernel / np.float32(prod(self.kernel_shape[:-1]) ** 0.5), g


def _flat(
    name: str,
    kind: str,
    batch: int,
    size: int,
    channels: int,
    out: int,
    window: int,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
    **marks: bool,
) -> Layer:
    """A layer on square images."""
    sizes = (batch, (size,) * 2, channels, out, (window,) * 2)
    return Layer(name, kind, *sizes, stride, padding, groups, **marks)


def _wise(
    name: str,
    batch: int,
    size: int,
    channels: int,
    window: int,
    stride: int = 1,
    **marks: bool,
) -> Layer:
    """A depthwise layer on square images, padding half a window."""
    kind = "long kernels" if window >= 15 else "depthwise"
    sizes = (batch, size, channels, channels, window, stride, window // 2, channels)
    return _flat(name, kind, *sizes, **marks)


Q, F = {"quick": True}, {"frameworks": True}
D3, OTHER, LONG = KINDS[0], KINDS[1], KINDS[6]

LAYERS: tuple[Layer, ...] = (
    _flat("MNIST convnet 1", D3, 128, 28, 1, 64, 3, **F),
    _flat("MNIST convnet 2", D3, 128, 26, 64, 64, 3, **Q, **F),
    _flat("MNIST convnet 3", D3, 128, 12, 64, 128, 3, **F),
    _flat("MNIST convnet 4", D3, 128, 10, 128, 128, 3, **F),
    _flat("VGG-A 1", D3, 2, 224, 3, 64, 3, 1, 1),
    _flat("VGG-A 2", D3, 2, 112, 64, 128, 3, 1, 1),
    _flat("VGG-A 3", D3, 2, 56, 128, 256, 3, 1, 1),
    _flat("VGG-A 5", D3, 2, 28, 256, 512, 3, 1, 1, **Q),
    _flat("VGG-A 7", D3, 4, 14, 512, 512, 3, 1, 1),
    _flat("AlexNet 3", D3, 16, 13, 256, 384, 3, 1, 1),
    _flat("GoogLeNet 3a, 3x3 branch", D3, 8, 28, 96, 128, 3, 1, 1),
    _flat("ResNet-18 stage 1", D3, 8, 56, 64, 64, 3, 1, 1, **Q),
    _flat("ResNet-18 stage 2", D3, 8, 28, 128, 128, 3, 1, 1),
    _flat("ResNet-18 stage 3", D3, 16, 14, 256, 256, 3, 1, 1),
    _flat("ResNet-18 stage 4", D3, 16, 7, 512, 512, 3, 1, 1),
    _flat("LeNet-5 C1", OTHER, 256, 32, 1, 6, 5),
    _flat("LeNet-5 C3", OTHER, 256, 14, 6, 16, 5, **Q, **F),
    _flat("LeNet-5 C5", OTHER, 1024, 5, 16, 120, 5),
    _flat("GoogLeNet 3a, 5x5 branch", OTHER, 16, 28, 16, 32, 5, 1, 2),
    _flat("GoogLeNet 5b, 5x5 branch", OTHER, 32, 7, 48, 128, 5, 1, 2),
    _flat("GoogLeNet 3a, reduction", "1x1", 16, 28, 192, 96, 1, **Q),
    _flat("GoogLeNet 5b, reduction", "1x1", 32, 7, 832, 192, 1),
    _flat("ResNet-50 stage 1, expansion", "1x1", 8, 56, 64, 256, 1, **F),
    _flat("ResNet-50 stage 3, reduction", "1x1", 16, 14, 1024, 256, 1, **Q),
    _flat("AlexNet 1", "strided", 8, 227, 3, 96, 11, 4),
    _flat("GoogLeNet stem", "strided", 2, 224, 3, 64, 7, 2, 3),
    _flat("ResNet stem", "strided", 8, 224, 3, 64, 7, 2, 3, **Q, **F),
    _flat("ResNet-18 stage 2, entry", "strided", 8, 56, 64, 128, 3, 2, 1),
    _flat("ResNet-18 stage 4, entry", "strided", 16, 14, 256, 512, 3, 2, 1),
    _flat("ResNet-50 stage 2, shortcut", "strided", 8, 56, 256, 512, 1, 2, **Q),
    _flat("AlexNet 2", "grouped", 8, 27, 96, 256, 5, 1, 2, 2),
    _flat("grouped, 2", "grouped", 8, 28, 128, 128, 3, 1, 1, 2),
    _flat("grouped, 4", "grouped", 16, 28, 128, 128, 3, 1, 1, 4, **Q, **F),
    _flat("grouped, 8", "grouped", 16, 28, 128, 128, 3, 1, 1, 8, **Q),
    _flat("ResNeXt-50 stage 1", "grouped", 8, 56, 128, 128, 3, 1, 1, 32),
    _flat("ResNeXt-50 stage 3", "grouped", 8, 14, 512, 512, 3, 1, 1, 32),
    _wise("MobileNet 56", 16, 56, 128, 3, **Q, **F),
    _wise("MobileNet 56, stride 2", 16, 56, 128, 3, 2, **Q),
    _wise("MobileNet 112, stride 2", 8, 112, 64, 3, 2),
    _wise("MobileNet 14", 32, 14, 512, 3),
    _wise("ConvNeXt stage 1", 4, 56, 96, 7, **Q),
    _wise("ConvNeXt stage 3", 8, 14, 384, 7),
    _wise("RepLKNet stage 2", 1, 28, 256, 31),
    _wise("RepLKNet stage 3", 2, 14, 512, 27),
    _flat("dense 15x15", LONG, 8, 64, 16, 16, 15, 1, 7, **Q),
    _flat("dense 31x31", LONG, 4, 64, 16, 16, 31, 1, 15),
    Layer(
        "audio, depthwise causal",
        LONG,
        4,
        (8192,),
        32,
        32,
        (1024,),
        padding=(1023, 0),
        groups=32,
        frameworks=True,
    ),
    Layer(
        "audio, dense", LONG, 4, (8192,), 4, 4, (1024,), padding=(511, 512), quick=True
    ),
    Layer("audio, dense, short", LONG, 4, (4096,), 8, 8, (256,), padding=(127, 128)),
    Layer("Hyena", LONG, 2, (4096,), 32, 32, (4096,), padding=(4095, 0), groups=32),
    Layer("C3D 1", "3-D", 2, (16, 56, 56), 3, 64, (3, 3, 3), padding=1),
    Layer(
        "R3D-18 stage 1",
        "3-D",
        2,
        (8, 28, 28),
        64,
        64,
        (3, 3, 3),
        padding=1,
        frameworks=True,
    ),
    Layer(
        "R3D-18 stage 2", "3-D", 4, (4, 14, 14), 128, 128, (3, 3, 3), 1, 1, quick=True
    ),
    _flat("U-Net up 1", "transposed", 2, 28, 512, 256, 2, 2, transposed=True),
    _flat("U-Net up 4", "transposed", 2, 112, 128, 64, 2, 2, transposed=True, **Q, **F),
    _flat("U-Net up, 4x4", "transposed", 4, 32, 128, 64, 4, 2, 1, transposed=True),
)


def select(quick: bool, pattern: str | None) -> list[Layer]:
    """The layers of a run; the pattern is looked for in a layer's line and kind."""
    wanted = (pattern or "").lower()
    return [
        layer
        for layer in LAYERS
        if (layer.quick or not quick) and wanted in f"{layer} {layer.kind}".lower()
    ]

"""Which algorithm `algorithm="auto"` takes: a pure rule of static facts.

| platform | forward, input gradient | kernel gradient |
|---|---|---|
| CPU | `direct` | `gemm` with groups, or with at most 9 taps and 32 output channels or more; else `direct` |
| others | `direct` | `direct` |

XLA on CPU forms the kernel gradient as a convolution with an image-sized kernel;
patches and one matrix product are 2 to 7 times faster where the products are wide
enough, and 50 times with groups. Small products and large windows lose to `direct`.
"""  # noqa: E501

from math import prod

from jaxnets.functional.conv_algorithms import ConvSpec

MOST_TAPS = 9
LEAST_OUT = 32


def forward_algorithm(platform: str) -> str:
    """The algorithm for the convolution itself and for its input gradient."""
    del platform
    return "direct"


def kernel_grad_algorithm(
    platform: str, spec: ConvSpec, window: tuple[int, ...], out: int
) -> str:
    """The algorithm for the kernel gradient of `out` output channels."""
    if platform != "cpu":
        return "direct"
    wide = prod(window) <= MOST_TAPS and out >= LEAST_OUT
    return "gemm" if spec.groups > 1 or wide else "direct"

"""Which algorithm `algorithm="auto"` takes: a pure rule of static facts.

| on CPU | `gemm` | `direct` |
|---|---|---|
| forward | with groups | else |
| input gradient | with 4 groups or more, at stride 1 | else |
| kernel gradient | with groups, or at most 9 taps and at least 32 outputs | else |

Elsewhere it is `direct`, which no measurement has questioned yet.

XLA on CPU forms the kernel gradient as a convolution with an image-sized kernel.
Patches and one matrix product are 2 to 7 times faster where the products are wide
enough, and 20 to 200 times with groups. Forward, they are 2 times faster with groups.
Small products and large windows lose to `direct` (`python -m benchmarks.conv`).
"""

from math import prod

from jaxnets.functional.conv_algorithms import ConvSpec

MOST_TAPS = 9
LEAST_OUT = 32
LEAST_GROUPS = 4


def forward_algorithm(platform: str, spec: ConvSpec) -> str:
    """The algorithm for the convolution itself."""
    return "gemm" if platform == "cpu" and spec.groups > 1 else "direct"


def input_grad_algorithm(platform: str, spec: ConvSpec) -> str:
    """The algorithm for the input gradient; `gemm` would multiply zeros at a stride."""
    dense = spec.groups >= LEAST_GROUPS and max(spec.strides) == 1
    return "gemm" if platform == "cpu" and dense else "direct"


def kernel_grad_algorithm(
    platform: str, spec: ConvSpec, window: tuple[int, ...], out: int
) -> str:
    """The algorithm for the kernel gradient of `out` output channels."""
    wide = prod(window) <= MOST_TAPS and out >= LEAST_OUT
    return "gemm" if platform == "cpu" and (spec.groups > 1 or wide) else "direct"

"""One file an algorithm; each has `forward`, `input_grad` and `kernel_grad`.

The three functions of every algorithm take the same arguments: arrays in canonical
form and a `ConvSpec`. An algorithm that cannot honour a spec raises, naming what it
lacks; it never falls back silently.
"""

from types import ModuleType

from jaxnets.functional.conv_algorithms import (
    direct,
    fft,
    gemm,
    native,
    overlap_add,
    shift,
    winograd,
)
from jaxnets.functional.conv_algorithms._spec import PARTS as PARTS
from jaxnets.functional.conv_algorithms._spec import ConvFacts as ConvFacts
from jaxnets.functional.conv_algorithms._spec import ConvSpec as ConvSpec
from jaxnets.functional.conv_algorithms._spec import Work as Work
from jaxnets.functional.conv_algorithms._spec import is_exact as is_exact

ALGORITHMS: dict[str, ModuleType] = {
    "direct": direct,
    "native": native,
    "gemm": gemm,
    "shift": shift,
    "winograd": winograd,
    "fft": fft,
    "overlap_add": overlap_add,
}

"""One file an algorithm; each has `forward`, `input_grad` and `kernel_grad`.

The three functions of every algorithm take the same arguments: arrays in canonical
form and a `ConvSpec`. An algorithm that cannot honour a spec raises, naming what it
lacks; it never falls back silently.
"""

from types import ModuleType

from jaxnets.functional.conv_algorithms import direct, gemm
from jaxnets.functional.conv_algorithms._spec import ConvSpec as ConvSpec

ALGORITHMS: dict[str, ModuleType] = {"direct": direct, "gemm": gemm}

"""Convolution kernels in C++ for CPU, called by XLA.

    src/kernels.cc      inner loops, compiled for each instruction set
    src/correlate.cc    the convolution and its input gradient
    src/fold.cc         the latter towards few channels
    src/mirror.cc       the former towards few channels, by the same
    src/kernel_grad.cc  its kernel gradient
    src/fft.cc          depthwise convolution by transforms
    src/fft_cover.h     which results transforms are accurate enough for
    src/repairs.cc      the other results, by sums
    src/grad_check.cc   whether a kernel gradient may go by transforms
    src/exact.cc        whether sums have no rounding error at all
    src/ffi.cc          the three as XLA calls them
    build.py            compiles them, as installing from source and
                        `python -m jaxnets.native` do

Without the library everything works, slower: `algorithm="native"` is then refused and
`"auto"` takes another. `JAXNETS_NATIVE=0` in the environment leaves it out.
"""

import ctypes
import os
from functools import cache

import jax

from jaxnets.native.build import LIBRARY, fingerprint

PARTS = ("forward", "input_grad", "kernel_grad")


@cache
def missing() -> str | None:
    """Why the kernels cannot be called, or None; the first call loads them."""
    if os.environ.get("JAXNETS_NATIVE") == "0":
        return "is switched off by JAXNETS_NATIVE=0"
    if not LIBRARY.exists():
        return "needs compiled kernels: python -m jaxnets.native makes them"
    try:
        library = ctypes.CDLL(str(LIBRARY))
        if _text(library, "jaxnets_sources") != fingerprint():
            return "has kernels of other sources: python -m jaxnets.native makes new"
        for part in PARTS:
            jax.ffi.register_ffi_target(
                f"jaxnets_conv_{part}",
                jax.ffi.pycapsule(getattr(library, f"jaxnets_conv_{part}")),
                platform="cpu",
            )
    except (OSError, AttributeError, RuntimeError, ValueError) as error:
        again = "python -m jaxnets.native makes them anew"
        return f"could not load its kernels ({error}): {again}"
    return None


def instructions() -> str:
    """The instruction set that the kernels take here: avx512, avx2 or generic.

    Raises:
        RuntimeError: if they are not there.
    """
    reason = missing()
    if reason is not None:
        raise RuntimeError(f"jaxnets.native {reason}")
    return _text(ctypes.CDLL(str(LIBRARY)), "jaxnets_instructions")


def _text(library: ctypes.CDLL, name: str) -> str:
    function = getattr(library, name)
    function.restype = ctypes.c_char_p
    return function().decode()

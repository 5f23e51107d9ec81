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

XLA finds the kernels by name. Importing `jaxnets.functional` registers the names, and
so does `register`. A program that was compiled or exported elsewhere needs one of the
two before it runs.

The kernels refuse to run in a process that was forked after they had run, because a
forked process has none of JAX's threads.
"""

import ctypes
import os
from functools import cache
from pathlib import Path

import jax

from jaxnets.native.build import LIBRARY, damage, fingerprint

PARTS = ("forward", "input_grad", "kernel_grad")


@cache
def missing() -> str | None:
    """Why the kernels cannot be called, or None; the first call loads them."""
    if os.environ.get("JAXNETS_NATIVE") == "0":
        return "is switched off by JAXNETS_NATIVE=0"
    if not LIBRARY.exists():
        return "needs compiled kernels: python -m jaxnets.native makes them"
    try:
        reason = damage(LIBRARY)
        if reason is None:
            library = _library(LIBRARY)
            if _text(library, "jaxnets_sources") != fingerprint():
                return (
                    "has kernels of other sources: python -m jaxnets.native makes new"
                )
            for part in PARTS:
                jax.ffi.register_ffi_target(
                    f"jaxnets_conv_{part}",
                    jax.ffi.pycapsule(getattr(library, f"jaxnets_conv_{part}")),
                    platform="cpu",
                )
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=library.jaxnets_after_fork)
            return None
    except (OSError, AttributeError, RuntimeError, ValueError) as error:
        reason = str(error)
    again = "python -m jaxnets.native makes them anew"
    return f"could not load its kernels ({reason}): {again}"


def register() -> None:
    """Register the kernels with XLA, for programs that were compiled elsewhere.

    Importing `jaxnets.functional` does it too. Further calls do nothing.

    Raises:
        RuntimeError: if the kernels are not there; the message says why.
    """
    reason = missing()
    if reason is not None:
        raise RuntimeError(f"jaxnets.native {reason}")


def instructions() -> str:
    """The instruction set that the kernels take here: avx512, avx2 or generic.

    Raises:
        RuntimeError: if they are not there.
    """
    register()
    return _text(_library(LIBRARY), "jaxnets_instructions")


def check_process() -> None:
    """Raise unless the kernels can run in this process.

    Raises:
        RuntimeError: if the process was forked after they had run.
    """
    if missing() is None:
        reason = _text(_library(LIBRARY), "jaxnets_refusal")
        if reason:
            raise RuntimeError(reason)


@cache
def _library(path: Path) -> ctypes.CDLL:
    # The open library is kept: the file may since have been replaced by a new build.
    return ctypes.CDLL(str(path))


def _text(library: ctypes.CDLL, name: str) -> str:
    function = getattr(library, name)
    function.restype = ctypes.c_char_p
    return (function() or b"").decode()

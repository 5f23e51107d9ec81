"""Compile the native kernels into this folder: `python -m jaxnets.native` does.

Installing jaxnets from source runs this; a wheel for a platform has the library in it.
It needs a C++20 compiler (`$CXX`, else `c++`, `g++` or `clang++`) and the headers that
jaxlib brings. Nothing of jaxnets is imported, so that a build hook can load this file
by its path.
"""

import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FOLDER = Path(__file__).parent
SOURCES = FOLDER / "src"
LIBRARY = FOLDER / "libjaxnets.so"

FLAGS = ("-O3", "-std=c++20", "-fPIC", "-fvisibility=hidden", "-w")
DRIVERS = (
    "correlate",
    "dense",
    "lanes",
    "depthwise",
    "kernel_grad",
    "grad_dense",
    "grad_lanes",
    "grad_depthwise",
    "ffi",
)
INSTRUCTIONS = {
    "generic": ("kGeneric", ()),
    "avx2": ("kAvx2", ("-march=x86-64-v3",)),
    "avx512": ("kAvx512", ("-march=x86-64-v4", "-mprefer-vector-width=512")),
}


class BuildError(RuntimeError):
    """The library could not be compiled; says what was missing or failed."""


def build() -> Path:
    """Compile the library, in a few seconds; return its path.

    The kernels are compiled once for each instruction set that the processor's family
    has, and the best one that is there is taken when the program runs.

    Raises:
        BuildError: without a compiler or jaxlib's headers, or if compiling fails.
    """
    if sys.platform == "win32":
        raise BuildError("the native kernels are for Linux and macOS")
    command, headers = compiler(), _headers()
    common = [*command, *FLAGS, "-I", str(headers), "-I", str(SOURCES)]
    with tempfile.TemporaryDirectory() as folder:
        jobs = [
            [*common, "-c", str(SOURCES / f"{name}.cc"), "-o", f"{folder}/{name}.o"]
            for name in DRIVERS
        ]
        for name in _instruction_sets():
            table, flags = INSTRUCTIONS[name]
            named = [f"-DJAXNETS_KERNELS={table}", f'-DJAXNETS_NAME="{name}"']
            source = str(SOURCES / "kernels.cc")
            output = f"{folder}/{table}.o"
            jobs.append([*common, *flags, *named, "-c", source, "-o", output])
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(_run, jobs))
        objects = [job[-1] for job in jobs]
        fresh = f"{folder}/{LIBRARY.name}"
        _run([*command, "-shared", *objects, "-o", fresh])
        # A program that has the old library open keeps it.
        beside = LIBRARY.with_suffix(".new")
        shutil.copyfile(fresh, beside)
        os.replace(beside, LIBRARY)
    return LIBRARY


def compiler() -> list[str]:
    """The command of the C++ compiler."""
    named = shlex.split(os.environ.get("CXX", ""))
    for command in ([named] if named else [["c++"], ["g++"], ["clang++"]]):
        if shutil.which(command[0]):
            return command
    raise BuildError("there is no C++ compiler: install g++ or clang++, or set CXX")


def _headers() -> Path:
    """The folder of XLA's foreign-function headers."""
    found = importlib.util.find_spec("jaxlib")
    places = [] if found is None else found.submodule_search_locations or []
    for place in places:
        if (Path(place) / "include" / "xla" / "ffi" / "api" / "ffi.h").exists():
            return Path(place) / "include"
    raise BuildError("jaxlib with its headers is not installed: pip install jaxlib")


def _instruction_sets() -> tuple[str, ...]:
    if platform.machine().lower() in ("x86_64", "amd64"):
        return tuple(INSTRUCTIONS)
    return ("generic",)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{shlex.join(command)} failed:\n{done.stderr[-2000:]}")


"""Compile the native kernels into this folder: `python -m jaxnets.native` does.

Installing jaxnets from source runs this; a wheel for a platform has the library in it.
It needs a C++20 compiler (`$CXX`, else `c++`, `g++` or `clang++`) and the headers that
jaxlib brings. Nothing of jaxnets is imported, so that a build hook can load this file
by its path.
"""

import hashlib
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
# Written behind the library, where loaders of ELF files do not look. macOS verifies
# the signature of every library itself, and its format allows nothing behind it.
SEAL = b"\njaxnets sha256 "
SEALED = sys.platform != "darwin"

FLAGS = ("-O3", "-std=c++20", "-fPIC", "-fvisibility=hidden", "-w")
KERNELS = SOURCES / "kernels.cc"
INSTRUCTIONS = {
    "generic": ("kGeneric", ()),
    "avx2": ("kAvx2", ("-march=x86-64-v3",)),
    "avx512": ("kAvx512", ("-march=x86-64-v4", "-mprefer-vector-width=512")),
}


class BuildError(RuntimeError):
    """The library could not be compiled; says why, and what helps."""


class ToolsMissingError(BuildError):
    """There is nothing here to compile with, as opposed to sources that are wrong."""


def build(library: Path = LIBRARY) -> Path:
    """Compile the library, in a few seconds; return its path.

    The kernels are compiled once for each instruction set that the processor's family
    has, and the best one that is there is taken when the program runs.

    Args:
        library: the file to make; a program that has an older one open keeps that.

    Raises:
        ToolsMissingError: without a C++20 compiler or jaxlib's headers.
        BuildError: if compiling fails, or the library cannot be written.
    """
    if sys.platform == "win32":
        raise ToolsMissingError("the native kernels are for Linux and macOS")
    if not os.access(library.parent, os.W_OK):
        raise BuildError(f"{library.parent} cannot be written to")
    command, headers = compiler(), _headers()
    common = [*command, *FLAGS, "-I", str(headers), "-I", str(SOURCES)]
    common.append(f'-DJAXNETS_SOURCES="{fingerprint()}"')
    with tempfile.TemporaryDirectory() as folder:
        jobs = []
        for name in _instruction_sets():
            table, flags = INSTRUCTIONS[name]
            named = [f"-DJAXNETS_KERNELS={table}", f'-DJAXNETS_NAME="{name}"']
            output = f"{folder}/{table}.o"
            jobs.append([*common, *flags, *named, "-c", str(KERNELS), "-o", output])
        for source in sorted(set(SOURCES.glob("*.cc")) - {KERNELS}):
            jobs.append([*common, "-c", str(source), "-o", f"{folder}/{source.stem}.o"])
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(_run, jobs))
        objects = [job[-1] for job in jobs]
        # Beside the library, where replacing is one step; two builds do not meet.
        fresh = library.with_suffix(f".{os.getpid()}.new")
        try:
            _run([*command, "-shared", *objects, "-o", str(fresh)])
            if SEALED:
                content = fresh.read_bytes()
                fresh.write_bytes(content + _seal(content))
            fresh.replace(library)
        finally:
            fresh.unlink(missing_ok=True)
    return library


def damage(library: Path) -> str | None:
    """Why a library must not be opened, or None if it is whole.

    The pages of a library are mapped before they are read, so that opening a truncated
    one ends the process with SIGBUS. Its last bytes are a SHA-256 of all before them;
    `strip` removes them, so the library must be stripped by the linker (`-s`) or not
    at all.

    Args:
        library: the file.

    Returns:
        The reason, for a message.

    Raises:
        OSError: if the file cannot be read.
    """
    content = library.read_bytes()
    if not SEALED:
        return None
    body, marker, digest = content.rpartition(SEAL)
    if not marker:
        return f"{library.name} does not end with its SHA-256: it is truncated or older"
    if marker + digest != _seal(body):
        return f"{library.name} does not have the SHA-256 at its end: it is damaged"
    return None


def _seal(content: bytes) -> bytes:
    return SEAL + hashlib.sha256(content).hexdigest().encode()


def fingerprint() -> str:
    """What a library of these sources says of itself, to be told from older ones."""
    found = hashlib.sha256()
    for source in sorted([*SOURCES.glob("*.cc"), *SOURCES.glob("*.h")]):
        found.update(source.name.encode() + b"\n" + source.read_bytes())
    return found.hexdigest()[:16]


def compiler() -> list[str]:
    """The command of the C++ compiler, tried on what the sources need of it.

    Raises:
        ToolsMissingError: if there is none, or none that is new enough.
    """
    named = shlex.split(os.environ.get("CXX", ""))
    for command in [named] if named else [["c++"], ["g++"], ["clang++"]]:
        if shutil.which(command[0]):
            _try(command)
            return command
    if named:
        raise ToolsMissingError(f"CXX names {named[0]!r}, which is not there")
    raise ToolsMissingError(
        "there is no C++ compiler: install g++ or clang++, or name one in CXX"
    )


def _try(command: list[str]) -> None:
    flags = INSTRUCTIONS[_instruction_sets()[-1]][1]
    check = [*command, *FLAGS, *flags, "-fsyntax-only", "-x", "c++", "-"]
    try:
        _run(check, "#include <atomic>\nvoid f(std::atomic<long>& a) { a.wait(0); }\n")
    except BuildError as error:
        raise ToolsMissingError(
            f"a C++20 compiler is needed, GCC 11 or Clang 12 or newer; {error}"
        ) from None


def _headers() -> Path:
    """The folder of XLA's foreign-function headers."""
    found = importlib.util.find_spec("jaxlib")
    places = [] if found is None else found.submodule_search_locations or []
    for place in places:
        if (Path(place) / "include" / "xla" / "ffi" / "api" / "ffi.h").exists():
            return Path(place) / "include"
    raise ToolsMissingError(
        "jaxlib with its headers is not installed: pip install jaxlib"
    )


def _instruction_sets() -> tuple[str, ...]:
    if platform.machine().lower() in ("x86_64", "amd64"):
        return tuple(INSTRUCTIONS)
    return ("generic",)


def _run(command: list[str], text: str = "") -> None:
    try:
        done = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise ToolsMissingError(f"{command[0]} cannot be run: {error}") from None
    if done.returncode:
        # The first of its messages is the cause of the others.
        raise BuildError(f"{shlex.join(command)} failed:\n{done.stderr[:2000]}")

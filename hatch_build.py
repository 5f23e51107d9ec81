"""Compile the native kernels when a wheel is built; hatchling runs this.

Installing never fails for want of them: the wheel is then one for every platform, and
`jaxnets.native.missing()` says how to get them later. `JAXNETS_NATIVE=0` in the
environment leaves them out.
"""

import importlib.util
import os
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import platform_tags


class NativeKernels(BuildHookInterface):
    """Puts the compiled kernels into the wheel, or says why they are not in it."""

    scratch: tempfile.TemporaryDirectory | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile: beside the sources if they are what is installed."""
        if os.environ.get("JAXNETS_NATIVE") == "0":
            self.app.display_info("JAXNETS_NATIVE=0: the native kernels are left out")
            return
        native = _builder(Path(self.root, "jaxnets", "native", "build.py"))
        try:
            if version == "editable":
                native.build()
                return
            # A wheel of this platform must not change the tree that it is made from.
            self.scratch = tempfile.TemporaryDirectory()
            library = native.build(Path(self.scratch.name, native.LIBRARY.name))
        except native.BuildError as error:
            self.app.display_warning(
                f"jaxnets is installed without its native kernels: {error}\n"
                "Convolution on CPU works without them, by slower algorithms. To get "
                "them later: python -m jaxnets.native"
            )
            return
        build_data["force_include"][str(library)] = f"jaxnets/native/{library.name}"
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{_platform()}"

    def finalize(
        self, version: str, build_data: dict[str, Any], artifact_path: str
    ) -> None:
        """Remove what was compiled; the wheel has it."""
        if self.scratch is not None:
            self.scratch.cleanup()


def _builder(path: Path) -> ModuleType:
    """The module at a path; jaxnets itself cannot be imported where JAX is not."""
    spec = importlib.util.spec_from_file_location("jaxnets_native_build", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no Python module at {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _platform() -> str:
    """This platform's tag; that the library runs on other Linuxes is not promised."""
    promises = ("manylinux", "musllinux")
    return next(tag for tag in platform_tags() if not tag.startswith(promises))

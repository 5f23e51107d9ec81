"""Making the native kernels, and doing without them."""

import hashlib
import importlib.util
import re
import sys
from pathlib import Path

import pytest

from jaxnets import native
from jaxnets.native import build
from tests.native.processes import ROOT, run

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="the native kernels are for Linux and macOS"
)


@pytest.fixture
def needs_compiler():
    try:
        build.compiler()
    except build.BuildError as error:
        pytest.skip(str(error))


@pytest.fixture
def warnings():
    """What the build hook warned of."""
    return []


@pytest.fixture
def hook(monkeypatch, warnings):
    pytest.importorskip("hatchling")
    monkeypatch.delenv("JAXNETS_NATIVE", raising=False)
    spec = importlib.util.spec_from_file_location("hook", ROOT / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    hook = module.NativeKernels(str(ROOT), {}, None, None, "", "wheel")
    hook.app.display_warning = warnings.append
    return hook


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def sealed(content: bytes) -> bytes:
    """A file with its SHA-256 at its end, as it is documented."""
    return content + b"\njaxnets sha256 " + hashlib.sha256(content).hexdigest().encode()


def test_a_named_compiler_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "/nowhere/c++ -m64")
    with pytest.raises(build.ToolsMissingError, match="CXX names '/nowhere/c\\+\\+'"):
        build.build(tmp_path / "library.so")


def test_without_any_compiler_the_remedy_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    with pytest.raises(build.ToolsMissingError, match=r"install g\+\+ or clang\+\+"):
        build.build(tmp_path / "library.so")


def test_a_compiler_that_is_too_old_is_told_from_wrong_sources(monkeypatch, tmp_path):
    old = script(tmp_path / "old", "echo unrecognized option -std=c++20 >&2; exit 1")
    monkeypatch.setenv("CXX", old)
    wanted = "(?s)C\\+\\+20.*GCC 11 or Clang 12.*unrecognized option"
    with pytest.raises(build.ToolsMissingError, match=wanted):
        build.build(tmp_path / "library.so")


def test_without_the_headers_the_remedy_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", script(tmp_path / "any", "exit 0"))
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(build.ToolsMissingError, match="pip install jaxlib"):
        build.build(tmp_path / "library.so")


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    with pytest.raises(build.BuildError, match="nowhere cannot be written to"):
        build.build(tmp_path / "nowhere" / "library.so")


@pytest.mark.usefixtures("needs_compiler")
def test_what_the_compiler_says_is_reported(monkeypatch, tmp_path):
    broken = tmp_path / "kernels.cc"
    broken.write_text("int f() { return misspelt; }\n")
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    monkeypatch.setattr(build, "KERNELS", broken)
    library = tmp_path / "library.so"
    library.write_text("the old one")
    with pytest.raises(build.BuildError, match=r"(?s)kernels.cc.*misspelt") as caught:
        build.build(library)
    assert not isinstance(caught.value, build.ToolsMissingError)
    assert library.read_text() == "the old one"
    assert set(tmp_path.iterdir()) == {broken, library}


def test_a_wheel_without_a_compiler_is_pure_and_warns(monkeypatch, hook, warnings):
    monkeypatch.setenv("CXX", "/nowhere/c++")
    for version in ("standard", "editable"):
        data = {"force_include": {}}
        hook.initialize(version, data)
        hook.finalize(version, data, "")
        assert data == {"force_include": {}}
        message = warnings.pop()
        assert "without its native kernels: CXX names '/nowhere/c++'" in message
        assert "python -m jaxnets.native" in message


def test_a_wheel_can_leave_the_kernels_out(monkeypatch, hook, warnings):
    monkeypatch.setenv("JAXNETS_NATIVE", "0")
    monkeypatch.setenv("CXX", "/nowhere/c++")
    data = {"force_include": {}}
    hook.initialize("standard", data)
    assert data == {"force_include": {}}
    assert not warnings


@pytest.mark.slow
@pytest.mark.usefixtures("needs_compiler")
def test_a_wheel_of_this_platform_has_kernels_that_load(hook, warnings):
    data = {"force_include": {}}
    hook.initialize("standard", data)
    assert not warnings
    assert not data["pure_python"]
    assert data["tag"].startswith("py3-none-")
    assert "manylinux" not in data["tag"]
    ((library, place),) = data["force_include"].items()
    assert place == f"jaxnets/native/{build.LIBRARY.name}"
    # In a process of its own, without `jaxnets.functional`, which loads the kernels of
    # this tree: XLA takes one function for a name.
    load = """
        import pathlib, sys, types
        package = sys.modules["jaxnets"] = types.ModuleType("jaxnets")
        package.__path__ = ["jaxnets"]
        from jaxnets import native
        native.LIBRARY = pathlib.Path(sys.argv[1])
        print(native.missing(), native.instructions())
        """
    missing, instructions = run(load, library, JAXNETS_NATIVE="1").split()
    assert missing == "None"
    assert instructions in build.INSTRUCTIONS
    hook.finalize("standard", data, "")
    assert not Path(library).exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "needs compiled kernels: python -m jaxnets.native makes them"),
        (b"damaged", "could not load its kernels .*python -m jaxnets.native .* anew"),
        (sealed(b"text"), "could not load its kernels .*jaxnets.native makes them an"),
    ],
    ids=["no library", "a damaged library", "no library at all"],
)
def test_why_the_kernels_are_missing(monkeypatch, tmp_path, content, reason):
    monkeypatch.delenv("JAXNETS_NATIVE", raising=False)
    monkeypatch.setattr(native, "LIBRARY", tmp_path / "library.so")
    if content is not None:
        native.LIBRARY.write_bytes(content)
    look = native.missing.__wrapped__  # past what is remembered of the real one
    assert re.search(reason, look())
    monkeypatch.setattr(native, "missing", look)
    with pytest.raises(RuntimeError, match=rf"jaxnets\.native {reason}"):
        native.instructions()


def test_a_library_of_other_sources_is_not_called(monkeypatch):
    """As after an upgrade over a library that was made by hand."""
    if native.missing():
        pytest.skip(f"native {native.missing()}")
    monkeypatch.setattr(native, "fingerprint", lambda: "0" * 16)
    reason = "has kernels of other sources: python -m jaxnets.native makes new"
    assert native.missing.__wrapped__() == reason


@pytest.mark.slow
def test_switched_off_other_algorithms_do_the_work():
    code = """
        import numpy as np
        from jaxnets import native, functional as F
        from tests import oracles
        x = np.arange(2 * 5 * 6 * 3, dtype=np.float32).reshape(2, 5, 6, 3) % 7
        kernel = np.arange(3 * 3 * 3 * 4, dtype=np.float32).reshape(3, 3, 3, 4) % 5
        np.testing.assert_allclose(
            F.conv(x, kernel, padding="SAME"),
            oracles.conv(x, kernel, padding="SAME"),
            rtol=1e-5,
        )
        print(native.missing())
        try:
            F.conv(x, kernel, algorithm="native")
        except ValueError as error:
            print(error)
        """
    reason, error = run(code, JAXNETS_NATIVE="0").splitlines()
    assert reason == "is switched off by JAXNETS_NATIVE=0"
    assert f"algorithm 'native' {reason}" in error

"""The dependency rule: native ← functional ← nn ← models ← interop; two beside."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import jaxnets

PACKAGE = Path(jaxnets.__file__).parent

# The rooms that each room may import; itself always.
MAY_IMPORT = {
    "native": set(),
    "functional": {"native"},
    "nn": {"functional"},
    "models": {"functional", "nn"},
    "data": {"functional"},
    "train": {"functional", "nn", "data"},
    "interop": {"functional", "nn", "models"},
}
FLAX_ROOMS = {"nn", "models", "train", "interop"}


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_every_room_is_named_here():
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert rooms == set(MAY_IMPORT)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_rooms_import_only_what_they_may(room):
    for path in (PACKAGE / room).rglob("*.py"):
        for name in imports(path):
            top, *rest = name.split(".")
            if top == "jaxnets":
                assert rest and rest[0] in MAY_IMPORT[room] | {room}, f"{path}: {name}"
            if top == "flax":
                assert room in FLAX_ROOMS, f"{path}: {name}"


@pytest.mark.slow
def test_the_package_needs_no_optional_dependency():
    """Importing jaxnets must not import what only the extras bring."""
    extras = ["matplotlib", "tyro", "torch", "keras", "grain", "hypothesis", "beartype"]
    extras += ["safetensors", "h5py", "huggingface_hub"]
    code = (
        "import sys, jaxnets; "
        f"print([name for name in {extras} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"

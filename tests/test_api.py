"""The conventions of the public surface, checked on every public name."""

import inspect
import re
from pathlib import Path

import pytest
from flax import nnx

import jaxnets
from tests.test_public_names import ROOMS

PACKAGE = Path(jaxnets.__file__).parent

# Arrays that an operation can do without; they stay positional.
OPTIONAL_ARRAYS = {"bias", "scale"}

# Positional arguments with defaults elsewhere than in `functional`, and why.
POSITIONAL = {
    "functional.convolve": "the mode, as in SciPy",
    "functional.correlate": "the mode, as in SciPy",
    "functional.lax_compatible_conv": "the signature of lax",
    "nn.ConvTranspose": "strides, as in nnx.ConvTranspose",
    "nn.Conv": "strides, as in nnx.Conv",
    "train.EarlyStopping": "the figure to watch, as in every peer",
}


def public(room: str) -> list[tuple[str, object]]:
    """The classes and functions of a room, by name."""
    return [
        (f"{room}.{name}", value)
        for name, value in vars(getattr(jaxnets, room)).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
    ]


EVERYTHING = [pair for room in ROOMS for pair in public(room)]
FUNCTIONS = [pair for pair in EVERYTHING if inspect.isfunction(pair[1])]


def every(pairs):
    """Run a test for every one of these (name, value)."""
    ids = [name for name, _ in pairs]
    return pytest.mark.parametrize(("name", "value"), pairs, ids=ids)


every_function = every(FUNCTIONS)
every_name = every(EVERYTHING)


def parameters(value) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(value).parameters.values())
    except ValueError:
        return []


def has_positional_default(parameter: inspect.Parameter) -> bool:
    positional = parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    return positional and parameter.default is not inspect.Parameter.empty


@every_function
def test_options_are_keyword_only(name, value):
    found = {p.name for p in parameters(value) if has_positional_default(p)}
    if name not in POSITIONAL:
        assert found <= OPTIONAL_ARRAYS, f"{name}: {found} must be keyword-only"


@every(public("nn") + public("train"))
def test_options_of_classes_are_keyword_only(name, value):
    if not inspect.isclass(value) or issubclass(value, (tuple, Exception)):
        pytest.skip("no constructor of ours")
    found = {p.name for p in parameters(value) if has_positional_default(p)}
    assert not found or name in POSITIONAL, f"{name}: {found} must be keyword-only"


@every_function
def test_randomness_is_a_key_and_comes_first(name, value):
    names = [p.name for p in parameters(value)]
    assert not {"rng", "prng", "prng_key", "random_key"} & set(names)
    if "key" in names:
        assert names[0] == "key", f"{name}: key must be the first argument"


@every_name
def test_every_name_has_a_docstring_in_one_line_first(name, value):
    first, *rest = (inspect.getdoc(value) or "").splitlines()
    assert first.endswith("."), f"{name}: the first line is no sentence: {first!r}"
    assert not rest or rest[0] == ""


@every_function
def test_docstrings_have_their_sections(name, value):
    text = inspect.getdoc(value) or ""
    returns = inspect.signature(value).return_annotation
    wanted = [] if returns is None else ["Returns:"]
    if parameters(value):
        wanted.append("Args:")
    if name.startswith("functional."):
        wanted += ["Raises:", "Example", "Source:"]
    missing = [section for section in wanted if f"\n{section}" not in text]
    if "Yields:" in text and "Returns:" in missing:
        missing.remove("Returns:")
    assert not missing, f"{name}: no section {missing}"


@every_function
def test_every_argument_is_described(name, value):
    text = inspect.getdoc(value) or ""
    for parameter in parameters(value):
        pattern = rf"^ +(.*, )?\**{parameter.name}(, .*)?: "
        assert re.search(pattern, text, re.MULTILINE), f"{name}: {parameter.name}"


@every(public("functional") + public("nn"))
def test_functions_and_modules_show_an_example_that_runs(name, value):
    if inspect.isclass(value) and not issubclass(value, nnx.Module):
        pytest.skip("no module")
    assert ">>> " in (inspect.getdoc(value) or ""), f"{name}: no doctest"


def test_no_list_of_names_is_kept_by_hand():
    for path in PACKAGE.rglob("*.py"):
        assert "__all__" not in path.read_text(), path


def test_no_file_is_longer_than_one_topic():
    root = PACKAGE.parent
    folders = (PACKAGE, root / "tests", root / "benchmarks", root / "examples")
    lengths = {
        str(path.relative_to(root)): len(path.read_text().splitlines())
        for folder in folders
        for path in folder.rglob("*.py")
    }
    long = {path: lines for path, lines in lengths.items() if lines > 300}
    assert not long

"""The examples as modules, and a folder of images for one of them."""

import importlib
from pathlib import Path

import pytest

from tests.examples.images import write_images

ROOT = Path(__file__).parents[2]


@pytest.fixture
def example(monkeypatch):
    """Imports an example by name, as the interpreter finds what lies beside it."""
    pytest.importorskip("grain")
    monkeypatch.syspath_prepend(ROOT / "examples")
    return importlib.import_module


@pytest.fixture
def files(example):
    return example("image_files")


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"), {"train": 7, "val": 3})

"""Weights by their name on Hugging Face: huggingface_hub fetches, offline says why."""

import json
from functools import partial

import numpy as np
import pytest

from jaxnets import models
from jaxnets.interop import _stored, load_safetensors, save_safetensors
from tests.weights_helpers import blank, draw, values

files = pytest.importorskip("safetensors.numpy")
hub = pytest.importorskip("huggingface_hub")

make = partial(models.ResNet, (1,), width=4, stem="small", num_classes=3)
INDEX = "model.safetensors.index.json"


@pytest.fixture
def repository(rng, tmp_path, monkeypatch):
    """A folder in place of owner/name, and what was asked of it."""
    asked = []

    def download(name, file, *, revision=None):
        asked.append((name, file, revision))
        if not (tmp_path / file).exists():
            raise hub.errors.EntryNotFoundError(f"no {file}")
        return str(tmp_path / file)

    monkeypatch.setattr(hub, "hf_hub_download", download)
    save_safetensors(draw(blank(make), rng), tmp_path / "model.safetensors")
    return tmp_path, asked


def test_one_file(repository):
    folder, asked = repository
    model = blank(make)
    report = load_safetensors(model, "owner/some.net", source="jaxnets", revision="v1")
    assert report.file.startswith("Hugging Face owner/some.net")
    assert ("owner/some.net", "model.safetensors", "v1") in asked
    wanted = files.load_file(folder / "model.safetensors")
    for name, value in values(model).items():
        np.testing.assert_array_equal(value, wanted[name])


def test_shards(repository):
    folder, asked = repository
    arrays = files.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    (folder / INDEX).write_text(
        json.dumps({"weight_map": dict.fromkeys(arrays, "a.safetensors")})
    )
    load_safetensors(blank(make), "owner/net", source="jaxnets")
    assert "a.safetensors" in [file for _, file, _ in asked]
    (folder / INDEX).write_text(json.dumps({"weight_map": {"a": "../../secret"}}))
    with pytest.raises(ValueError, match="a shard must be"):
        load_safetensors(blank(make), "owner/net", source="jaxnets")
    assert "../../secret" not in [file for _, file, _ in asked]


def test_a_repository_without_safetensors(repository):
    (repository[0] / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="has neither"):
        load_safetensors(blank(make), "owner/net")


def test_a_shard_that_the_repository_lacks(repository):
    folder, _ = repository
    (folder / "model.safetensors").unlink()
    (folder / INDEX).write_text('{"weight_map": {"a": "gone.safetensors"}}')
    with pytest.raises(FileNotFoundError, match=r"gone.safetensors', which is not"):
        load_safetensors(blank(make), "owner/net", source="jaxnets")


def test_a_file_that_is_not_there_is_not_looked_for_elsewhere(repository):
    """A slip in a relative path has the form of owner/name."""
    with pytest.raises(FileNotFoundError, match="no file or folder runs"):
        load_safetensors(blank(make), "runs/a.h5", source="jaxnets")
    assert not repository[1]


def test_offline(tmp_path, monkeypatch):
    """The package itself, told that there is no network, with an empty cache."""
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    model = blank(make)
    with pytest.raises(FileNotFoundError, match="Hugging Face cannot be reached"):
        load_safetensors(model, "owner/net")
    assert all(np.isnan(value).all() for value in values(model).values())


@pytest.mark.parametrize("sharded", [False, True])
def test_offline_with_what_the_cache_has(repository, monkeypatch, sharded):
    """The package's own cache, which keeps a revision as links to its files."""
    folder, _ = repository
    monkeypatch.undo()
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(folder / "cache"))
    cache = folder / "cache" / "models--owner--net"
    snapshot = cache / "snapshots" / ("0" * 40)
    for made in (snapshot, cache / "refs", cache / "blobs"):
        made.mkdir(parents=True)
    (cache / "refs" / "main").write_text("0" * 40)
    arrays = files.load_file(folder / "model.safetensors")
    name = "part.safetensors" if sharded else "model.safetensors"
    (folder / "model.safetensors").rename(cache / "blobs" / "1")
    (snapshot / name).symlink_to("../../blobs/1")
    if sharded:
        text = json.dumps({"weight_map": dict.fromkeys(arrays, name)})
        (cache / "blobs" / "2").write_text(text)
        (snapshot / INDEX).symlink_to("../../blobs/2")
    model = blank(make)
    load_safetensors(model, "owner/net", source="jaxnets")
    np.testing.assert_array_equal(values(model)["head.bias"], arrays["head.bias"])
    (snapshot / name).unlink()
    with pytest.raises(FileNotFoundError, match="Hugging Face cannot be reached"):
        load_safetensors(model, "owner/net", source="jaxnets")


def test_what_the_extra_brings_is_named(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(_stored.importlib, "import_module", missing)
    message = r"needs the package huggingface_hub \(pip install 'jaxnets\[weights\]'\)"
    with pytest.raises(ModuleNotFoundError, match=message):
        load_safetensors(blank(make), "owner/net")
    with pytest.raises(ModuleNotFoundError, match=r"torch \(pip install torch\)"):
        _stored.optional_package("torch")

"""Damaged weight files: what they say is read, or an error names the file."""

import json
import shutil
from functools import partial

import numpy as np
import pytest

from jaxnets import models
from jaxnets.interop import load_safetensors, save_safetensors
from tests.mutations import mutants, zip_mutants
from tests.weights_helpers import blank, draw, refused, values

files = pytest.importorskip("safetensors.numpy")

resnet = partial(models.ResNet, (1,), width=4, stem="small", num_classes=3)
vgg = partial(models.VGG, (1,), (4,), hidden=6, pooled=2, num_classes=3)
COUNT = 54
"""Mutants of a format; six of each kind of damage."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One model in a file of each format."""
    folder = tmp_path_factory.mktemp("whole")
    model = draw(blank(resnet), np.random.default_rng(0))
    save_safetensors(model, folder / "a.safetensors", source="torchvision")
    names = files.load_file(folder / "a.safetensors")
    index = {"weight_map": dict.fromkeys(names, "a.safetensors")}
    (folder / "a.safetensors.index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture(scope="module")
def torch_files(folder):
    torch = pytest.importorskip("torch")
    arrays = files.load_file(folder / "a.safetensors")
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    torch.save(tensors, folder / "a.pth")
    torch.save(tensors, folder / "old.pth", _use_new_zipfile_serialization=False)
    return folder


@pytest.fixture(scope="module")
def h5_files(folder):
    h5py = pytest.importorskip("h5py")
    model = draw(blank(vgg), np.random.default_rng(0))
    save_safetensors(model, folder / "a.h5", source="keras")
    checked = {"compression": "gzip", "shuffle": True, "fletcher32": True}
    with (
        h5py.File(folder / "a.h5") as plain,
        h5py.File(folder / "packed.h5", "w", libver="latest") as packed,
    ):
        copy = {}
        plain.visititems(lambda name, item: copy.update({name: item}))
        for name, item in copy.items():
            if isinstance(item, h5py.Dataset):
                packed.create_dataset(name, data=item[()], chunks=item.shape, **checked)
    return folder


def check(whole, damaged, make, source):
    """Load damaged copies; how many were read, and the models of those."""
    model, read = blank(make), []
    for number, content in enumerate(damaged):
        path = whole.with_name(f"damaged-{whole.name}")
        path.write_bytes(content)
        try:
            load_safetensors(model, path, source=source)
        except (ValueError, TypeError, FileNotFoundError) as error:
            assert not isinstance(error, UnicodeError), number
            assert str(error).startswith("load_safetensors: "), number
            assert str(path) in str(error), f"{number}: {error}"
        else:
            read.append(values(model))
    assert len(read) < COUNT
    return read


def same(one, other):
    return all(np.array_equal(one[name], other[name]) for name in other)


@pytest.mark.parametrize("name", ["a.safetensors", "a.safetensors.index.json"])
def test_safetensors(folder, name):
    whole = folder / name
    check(whole, mutants(whole.read_bytes(), COUNT), resnet, "torchvision")


def test_torch_archives(torch_files):
    """They have checksums: what is read is what was written."""
    whole = torch_files / "a.pth"
    model = blank(resnet)
    load_safetensors(model, whole)
    for read in check(whole, mutants(whole.read_bytes(), COUNT), resnet, "torchvision"):
        assert same(read, values(model))


def test_torch_archives_with_a_damaged_pickle(torch_files):
    whole = torch_files / "a.pth"
    check(whole, zip_mutants(whole.read_bytes(), COUNT), resnet, "torchvision")


def test_torch_files_before_archives(torch_files):
    whole = torch_files / "old.pth"
    check(whole, mutants(whole.read_bytes(), COUNT), resnet, "torchvision")


@pytest.mark.parametrize("name", ["a.h5", "packed.h5"])
def test_h5(h5_files, name):
    whole = h5_files / name
    check(whole, mutants(whole.read_bytes(), COUNT), vgg, "keras")


def replaced(path, old, new):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


def test_a_flipped_bit_of_a_weight_in_a_pth(torch_files, tmp_path):
    """Torch itself reads it without a word."""
    path = tmp_path / "a.pth"
    shutil.copy(torch_files / "a.pth", path)
    value = files.load_file(torch_files / "a.safetensors")["fc.bias"].tobytes()
    replaced(path, value, bytes([value[0] ^ 1]) + value[1:])
    refused(path, "a.pth has a wrong checksum for '.*data/.*fetch it", make=resnet)


def test_an_archive_without_its_directory(torch_files, tmp_path):
    path = tmp_path / "a.pth"
    shutil.copy(torch_files / "a.pth", path)
    replaced(path, b"PK\5\6", b"PK\5\7")
    refused(path, "a.pth is no whole zip archive: .*fetch it again", make=resnet)


def test_a_pth_of_what_is_no_plain_array(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "a.pth"
    torch.save({"fc.weight": torch.eye(3).to_sparse(), 1: torch.ones(1)}, path)
    message = "a.pth cannot be read at 'fc.weight': .*[Ss]parse"
    with pytest.raises(ValueError, match=message):
        load_safetensors(
            blank(partial(models.ResNet, (1,), width=3, stem="small", num_classes=3)),
            path,
            strict=False,
        )
    torch.save({"1": torch.ones(2), 1: torch.ones(1)}, path)
    refused(path, "a.pth has two arrays that are both '1'", make=resnet)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_a_pth_with_ragged_arrays(tmp_path):
    torch = pytest.importorskip("torch")
    ragged = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    torch.save({"fc.weight": ragged}, tmp_path / "a.pth")
    refused(tmp_path / "a.pth", "a.pth has no shape for 'fc.weight'", make=resnet)

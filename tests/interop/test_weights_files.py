"""Files that cannot be believed: each a clear error, and the model as it was."""

import json
import os
import struct
import zipfile
from functools import partial

import numpy as np
import pytest

from jaxnets import models
from jaxnets.interop import _read_safetensors, load_safetensors, save_safetensors
from tests import weights_helpers as helpers
from tests.weights_helpers import blank, draw, values

files = pytest.importorskip("safetensors.numpy")
h5py = pytest.importorskip("h5py")

make = partial(models.ResNet, (1,), width=4, stem="small", num_classes=3)
VGG = partial(models.VGG, (1,), (4,), hidden=6, pooled=2, num_classes=3)
INDEX = "model.safetensors.index.json"


@pytest.fixture
def good(rng, tmp_path):
    """A file with our own names."""
    path = tmp_path / "good.safetensors"
    save_safetensors(draw(blank(make), rng), path)
    return path


refused = partial(helpers.refused, make=make, source="jaxnets")


def header(arrays, data=b"", length=None):
    text = json.dumps(arrays).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def array(shape, end, dtype="F32", start=0):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


@pytest.mark.parametrize("kept", [0, 4, 8, 200, -1])
def test_a_truncated_file(good, kept):
    good.write_bytes(good.read_bytes()[:kept])
    refused(good, "truncated")


@pytest.mark.parametrize(
    "content",
    [
        header({"a": array([10**12], 4 * 10**12)}, b"\0" * 8),  # beyond the file
        header({"a": array([2**62, 2**62], 8)}, b"\0" * 8),  # overflows
        header({"a": array([4], 8)}, b"\0" * 8),  # shape and bytes differ
        header({"a": array([-2], 8)}, b"\0" * 8),
        header({"a": array([2], 8), "b": array([2], 8)}, b"\0" * 8),  # overlap
        header({"a": array([2], 8)}, b"\0" * 80),  # more than is said
        header({"a": array([1], 8, start=4)}, b"\0" * 8),  # a gap
        struct.pack("<Q", 4) + b"abcd",  # no JSON
        struct.pack("<Q", 2) + b"[]",
    ],
)
def test_a_header_that_does_not_fit_the_file(content, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(content)
    refused(tmp_path / "a.safetensors", "is no complete safetensors file")


@pytest.mark.parametrize("length", [2**62, 2**64 - 1, 100_000])
def test_a_header_larger_than_the_file(length, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(header({}, b"\0" * 8, length))
    refused(tmp_path / "a.safetensors", f"claims a header of {length} bytes")


def test_a_huge_header_is_not_read(tmp_path):
    """17 MiB of spaces are refused by their number, before they are parsed."""
    size = 17 * 2**20
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", size) + b"{}" + b" " * size)
    refused(path, "a header at most 16777216")


def test_large_arrays_with_no_place_are_never_read(good, monkeypatch):
    """Names and shapes are compared first; what is read is what the model needs."""
    arrays = files.load_file(good)
    files.save_file(arrays | {"large": np.zeros(10**6, np.float32)}, good)
    refused(good, r"'large' \(1000000,\)")
    read = []
    original = _read_safetensors._read

    def spy(path, file, name):
        read.append(name)
        return original(path, file, name)

    monkeypatch.setattr(_read_safetensors, "_read", spy)
    load_safetensors(blank(make), good, source="jaxnets", strict=False)
    assert set(read) == set(arrays)


@pytest.fixture
def shards(good):
    """A folder of two shards."""
    arrays = files.load_file(good)
    names = sorted(arrays)
    halves = {"one.safetensors": names[::2], "two.safetensors": names[1::2]}
    folder = good.parent / "folder"
    folder.mkdir()
    weight_map = {}
    for file, part in halves.items():
        files.save_file({name: arrays[name] for name in part}, folder / file)
        weight_map |= dict.fromkeys(part, file)
    write_index(folder, weight_map)
    return folder, weight_map


def write_index(folder, weight_map):
    text = json.dumps({"metadata": {}, "weight_map": weight_map})
    (folder / INDEX).write_text(text)


def test_shards_are_read(shards, good):
    one, other = blank(make), blank(make)
    load_safetensors(one, good, source="jaxnets")
    load_safetensors(other, shards[0], source="jaxnets")
    for name, value in values(one).items():
        np.testing.assert_array_equal(values(other)[name], value)


@pytest.mark.parametrize(
    "where",
    [
        "../good.safetensors",
        "/etc/passwd",
        "..",
        "sub/../../good.safetensors",
        "..\\good.safetensors",
        "one.safetensors\0",
        "pytorch_model.bin",
        7,
        None,
    ],
)
def test_a_shard_outside_of_its_folder(shards, where):
    folder, weight_map = shards
    write_index(folder, weight_map | {"head.bias": where})
    refused(folder, "a shard must be a .safetensors file in the folder")


def test_an_absolute_shard(shards, good):
    folder, weight_map = shards
    write_index(folder, weight_map | {"head.bias": str(good)})
    refused(folder, "a shard must be a .safetensors file in the folder")


def test_a_link_out_of_the_folder(shards, good):
    folder, _ = shards
    (folder / "two.safetensors").unlink()
    os.symlink(good, folder / "two.safetensors")
    refused(folder, "a link out of its folder")


def test_links_of_hugging_face_s_cache(shards):
    """snapshots/<revision>/<file> -> blobs/<hash>; but nowhere else."""
    folder, _ = shards
    cache = folder.parent / "models--a--b"
    snapshot = cache / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (cache / "blobs").mkdir()
    for number, file in enumerate(sorted(folder.iterdir())):
        file.rename(cache / "blobs" / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    load_safetensors(blank(make), snapshot, source="jaxnets")
    (cache / "other").mkdir()
    (cache / "blobs/1").rename(cache / "other/1")
    (snapshot / "one.safetensors").unlink()
    (snapshot / "one.safetensors").symlink_to("../../other/1")
    refused(snapshot, "a link out of its folder")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "is no JSON"),
        ("[" * 10**5, "is no JSON"),
        ("[]", "is no JSON object"),
        ("{}", "has no weight_map"),
        ('{"weight_map": ["a"]}', "has no weight_map"),
    ],
)
def test_an_index_that_is_none(shards, text, match):
    folder, _ = shards
    (folder / INDEX).write_text(text)
    refused(folder, match)


def test_an_index_of_any_size_is_not_read(shards):
    (shards[0] / INDEX).write_text(" " * (16 * 2**20 + 1))
    refused(shards[0], "is larger than 16777216 bytes")


def test_an_index_and_shards_that_differ(shards):
    folder, weight_map = shards
    write_index(folder, weight_map | {"more": "one.safetensors"})
    refused(folder, "says that 'more' is in 'one.safetensors'; it is not")
    (folder / "one.safetensors").unlink()
    refused(folder, "which is not there", error=FileNotFoundError)


def test_paths_that_lead_to_nothing(good, tmp_path):
    refused(tmp_path / "no", "there is no file or folder", error=FileNotFoundError)
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "has no .safetensors", error=FileNotFoundError)
    (tmp_path / "two.safetensors").write_bytes(good.read_bytes())
    refused(tmp_path, "good.safetensors, two.safetensors", error=FileNotFoundError)
    (tmp_path / "a.npz").write_bytes(b"")
    refused(tmp_path / "a.npz", "is of no kind that is read")


def test_a_compressed_pth(tmp_path):
    pytest.importorskip("torch")
    with zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"0" * 1000)
    refused(tmp_path / "a.pth", "has compressed entries")


@pytest.fixture
def keras_file(rng, tmp_path):
    path = tmp_path / "v.h5"
    save_safetensors(draw(blank(VGG), rng), path, source="keras")
    return path


def refused_h5(path, match):
    refused(path, match, make=VGG, source="keras")


def test_a_damaged_h5(keras_file):
    keras_file.write_bytes(keras_file.read_bytes()[:1000])
    refused_h5(keras_file, "is no readable HDF5 file")


@pytest.mark.parametrize("link", ["external", "soft"])
def test_links_in_h5_are_not_followed(keras_file, link):
    other = keras_file.with_name("other.h5")
    keras_file.rename(other)
    with h5py.File(keras_file, "w") as file:
        external = h5py.ExternalLink("other.h5", "/fc1")
        file["fc1"] = external if link == "external" else h5py.SoftLink("/fc2")
    refused_h5(keras_file, "has a link at 'fc1'; none is followed")


def test_h5_that_keeps_arrays_elsewhere(keras_file):
    with h5py.File(keras_file, "a") as file:
        outside = [(str(keras_file.with_name("raw")), 0, 4)]
        file.create_dataset("fc3/fc3/bias", (1,), "f4", external=outside)
    refused_h5(keras_file, "keeps 'fc3/fc3/bias' in other files")
    with h5py.File(keras_file, "a") as file:
        del file["fc3"]
        layout = h5py.VirtualLayout((1,), "f4")
        layout[:] = h5py.VirtualSource("other.h5", "x", shape=(1,))
        file.create_virtual_dataset("fc3/fc3/bias", layout)
    refused_h5(keras_file, "keeps 'fc3/fc3/bias' in other files")


def test_objects_in_h5(keras_file):
    with h5py.File(keras_file, "a") as file:
        file["fc3/fc3/bias"] = [b"cos\nsystem\n"]
        file["fc4/fc4/bias"] = "text"
    refused_h5(keras_file, "weights are plain numbers")


def test_a_large_array_in_h5_is_never_read(keras_file):
    """Its shape is compared first: a terabyte that nobody wrote."""
    with h5py.File(keras_file, "a") as file:
        del file["fc1/fc1/bias"]
        file.create_dataset("fc1/fc1/bias", (2**38,), "f4", chunks=(2**20,))
    refused_h5(keras_file, "must have shape \\(6,\\); got \\(274877906944,\\)")


def test_chunks_larger_than_what_they_hold(keras_file):
    """Half a thousand million cells, packed into nothing, for an array of six."""
    with h5py.File(keras_file, "a") as file:
        del file["fc1/fc1/bias"]
        options = {"maxshape": (None,), "chunks": (2**29,), "compression": "gzip"}
        file.create_dataset("fc1/fc1/bias", (6,), "f4", **options)
    refused_h5(keras_file, "has chunks of")


def test_groups_without_an_end(keras_file):
    with h5py.File(keras_file, "a") as file:
        file["loop"] = file["fc1"]
        file["fc1/again"] = file["fc1"]
    refused_h5(keras_file, "has groups more than 32 deep|two arrays")


def test_two_arrays_of_one_name(keras_file):
    with h5py.File(keras_file, "a") as file:
        file["fc1/other/bias"] = np.zeros(6)
    refused_h5(keras_file, "has two arrays that are both 'fc1/bias'")

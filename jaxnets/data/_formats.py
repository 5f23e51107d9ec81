"""The file formats of the standard data sets, read as if a stranger had written them.

IDX: 0, 0, type code, number of axes, each axis as a big-endian 32-bit integer, then the
values. CIFAR-10 binary: 10 000 records of one label byte and 3072 pixel bytes, the red
plane of 32 x 32 first. Every size is known before a byte is read, so none is believed.
"""

import gzip
import io
import struct
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxnets.data._find import find_file

CLASSES = 10
IMAGE_SIDE = 28
CIFAR_SIDE = 32
CIFAR_RECORDS = 10_000
CIFAR_TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
CIFAR_TEST = ("test_batch.bin",)
# 1 million images of 28 x 28, ten times MNIST and more.
MAX_IDX_BYTES = 16 + 1_000_000 * IMAGE_SIDE**2
UBYTE = 8


def read_bounded(path: Path, limit: int) -> bytes:
    """The content of a file, unpacked if it is gzip; raise beyond `limit` bytes.

    Never holds more than `limit` + 1 bytes, however much a packed file announces.
    """
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        stream = gzip.GzipFile(fileobj=file) if packed else file
        try:
            content = stream.read(limit + 1)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(
                f"load: {path} must be a whole gzip file; got {error} "
                "(cut short or damaged: fetch it again)"
            ) from error
    if len(content) > limit:
        raise ValueError(
            f"load: {path} must hold at most {limit} bytes; got more "
            "(is it this data set?)"
        )
    return content


def parse_idx(content: bytes, axes: int, name: str) -> np.ndarray:
    """An IDX file of unsigned bytes with `axes` axes; `name` goes into messages."""
    header = 4 + 4 * axes
    if len(content) < header:
        raise ValueError(
            f"load: {name} must begin with {header} header bytes; got {len(content)}"
        )
    magic = content[:4]
    expected = bytes([0, 0, UBYTE, axes])
    if magic != expected:
        raise ValueError(
            f"load: {name} must begin with the IDX magic {expected.hex()} "
            f"({axes} axes of unsigned bytes); got {magic.hex()} "
            "(are the image and the label file swapped?)"
        )
    shape = struct.unpack(f">{axes}I", content[4:header])
    # Python integers: the product of three 32-bit sizes overflows 64 bits.
    values = 1
    for length in shape:
        values *= length
    if len(content) - header != values:
        raise ValueError(
            f"load: {name} must hold {values} values after its header, as its shape "
            f"{shape} says; got {len(content) - header} (cut short or with a tail)"
        )
    # A copy that may be written to, as the arrays of the other data sets may.
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()


def read_idx_pair(images: Path, labels: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images `(n, 28, 28, 1)` and labels `(n,)`, uint8, of two IDX files."""
    x = parse_idx(read_bounded(images, MAX_IDX_BYTES), 3, str(images))
    y = parse_idx(read_bounded(labels, MAX_IDX_BYTES), 1, str(labels))
    if x.shape[1:] != (IMAGE_SIDE, IMAGE_SIDE):
        raise ValueError(
            f"load: {images} must hold images of {IMAGE_SIDE} x {IMAGE_SIDE}; "
            f"got {x.shape[1]} x {x.shape[2]}"
        )
    if len(x) != len(y):
        raise ValueError(
            f"load: {images} and {labels} must belong together; "
            f"got {len(x)} images and {len(y)} labels"
        )
    if len(x) == 0:
        raise ValueError(f"load: {images} must hold an image; got none")
    check_labels(y, str(labels))
    return x[..., None], y


def parse_cifar(content: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Images `(10000, 32, 32, 3)` and labels `(10000,)`, uint8, of one batch file."""
    record = 1 + 3 * CIFAR_SIDE**2
    if len(content) != CIFAR_RECORDS * record:
        raise ValueError(
            f"load: {name} must hold {CIFAR_RECORDS} records of {record} bytes, "
            f"{CIFAR_RECORDS * record} in all; got {len(content)}"
        )
    rows = np.frombuffer(content, np.uint8).reshape(CIFAR_RECORDS, record)
    labels = rows[:, 0].copy()
    check_labels(labels, name)
    planes = rows[:, 1:].reshape(CIFAR_RECORDS, 3, CIFAR_SIDE, CIFAR_SIDE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels


def read_cifar_folder(folder: Path) -> dict[str, bytes]:
    """The six batch files of a folder, packed or not, by name."""
    limit = CIFAR_RECORDS * (1 + 3 * CIFAR_SIDE**2)
    paths = {
        name: find_file(folder, name, f"{name}.gz") for name in CIFAR_TRAIN + CIFAR_TEST
    }
    missing = [name for name, path in paths.items() if path is None]
    if missing:
        raise FileNotFoundError(
            f"load: {folder} must hold {', '.join(missing)} too "
            "(the binary version; pickled batches are not read)"
        )
    return {name: read_bounded(path, limit) for name, path in paths.items() if path}


def read_cifar_archive(path: Path) -> dict[str, bytes]:
    """The six batch files of a .tar.gz, by name, read in memory.

    Members are taken by their exact names and sizes; nothing is written to disk, so
    links and paths that lead elsewhere do no harm.
    """
    limit = CIFAR_RECORDS * (1 + 3 * CIFAR_SIDE**2)
    wanted = {f"cifar-10-batches-bin/{name}": name for name in CIFAR_TRAIN + CIFAR_TEST}
    # Six batches and room for headers, the class names and the readme.
    content = read_bounded(path, 6 * limit + 1_000_000)
    found: dict[str, bytes] = {}
    for name, size, member in _members(path, content):
        if name not in wanted:
            continue
        if size != limit or len(member) != limit:
            raise ValueError(
                f"load: {name} in {path} must be a file of {limit} bytes; got {size}"
            )
        found[wanted[name]] = member
    missing = sorted(set(wanted.values()) - set(found))
    if missing:
        raise ValueError(
            f"load: {path} must hold {', '.join(missing)}; got none of that"
        )
    return found


def _members(path: Path, content: bytes) -> Iterator[tuple[str, int, bytes]]:
    """Name, size and content of each member; no content of what is no plain file."""
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isreg() else None
                # Never more than there is, whatever the header says.
                inside = b"" if file is None else file.read(len(content))
                yield member.name, member.size, inside
    except Exception as error:  # headers of many kinds, each parsed in its own way
        raise ValueError(f"load: {path} must be a tar archive; got {error}") from error


def check_labels(labels: np.ndarray, name: str) -> None:
    """Raise ValueError unless all labels are classes."""
    if labels.max() >= CLASSES:
        first = int(np.argmax(labels >= CLASSES))
        raise ValueError(
            f"load: {name} must hold labels 0 ... {CLASSES - 1}; "
            f"got {labels[first]} at position {first}"
        )

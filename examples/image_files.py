"""Images on disk as a source for Grain: folders of files, or array records.

What is read is not trusted: sizes are looked at before pixels are decoded, and a file
that cannot be decoded is named.
"""

import io
import math
import struct
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import grain
import numpy as np
from PIL import Image, UnidentifiedImageError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
FORMATS = ("JPEG", "PNG", "WEBP")
MAX_BYTES = 64_000_000
# A small file can announce far more pixels than fit into memory. PIL warns of 89
# million and refuses 179; here less is refused, so its warning has nothing to add.
MAX_PIXELS = 50_000_000
warnings.simplefilter("ignore", Image.DecompressionBombWarning)
LABEL = struct.Struct("<I")


class Encoded(NamedTuple):
    """An image as it lies on disk, its class, and how to name it in an error."""

    content: bytes
    label: int
    name: str


class FolderSource:
    """The images of `folder/class/...`, of any depth, in the order of their names."""

    def __init__(self, folder: Path, classes: Sequence[str]):
        self.files: list[tuple[Path, int]] = []
        for label, name in enumerate(classes):
            found = sorted((folder / name).rglob("*"))
            images = [p for p in found if p.suffix.lower() in SUFFIXES and p.is_file()]
            if not images:
                raise ValueError(
                    f"{folder / name} holds no image ({', '.join(sorted(SUFFIXES))})"
                )
            self.files += [(path, label) for path in images]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Encoded:
        path, label = self.files[index]
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ValueError(f"{path}: {size} bytes, where {MAX_BYTES} are the most")
        return Encoded(path.read_bytes(), label, str(path))


class RecordSource:
    """Array records: the class in 4 bytes, little endian, then the encoded image."""

    def __init__(self, paths: Sequence[Path], classes: Sequence[str]):
        self.records = grain.sources.ArrayRecordDataSource([str(p) for p in paths])
        self.classes = len(classes)
        self.name = f"{paths[0].parent}/{paths[0].name.split('-')[0]}"

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Encoded:
        record, name = self.records[index], f"{self.name}, record {index}"
        if not LABEL.size < len(record) <= MAX_BYTES:
            raise ValueError(f"{name}: {len(record)} bytes cannot be a class and image")
        (label,) = LABEL.unpack_from(record)
        if label >= self.classes:
            raise ValueError(
                f"{name}: class {label}, where classes.txt has {self.classes}"
            )
        return Encoded(record[LABEL.size :], label, name)


def find_classes(data_dir: Path) -> list[str]:
    """Names of the classes: lines of classes.txt, or else the folders of train/."""
    if (data_dir / "classes.txt").is_file():
        names = (data_dir / "classes.txt").read_text().split("\n")
        names = [name for name in names if name]
    elif (data_dir / "train").is_dir():
        folders = (data_dir / "train").iterdir()
        names = sorted(
            p.name for p in folders if p.is_dir() and not p.name.startswith(".")
        )
    else:
        raise ValueError(
            f"{data_dir} has neither a folder train/ with one folder a class, nor "
            "array records with a classes.txt"
        )
    if len(names) < 2:
        raise ValueError(f"{data_dir} must have 2 classes or more; got {names}")
    return names


def open_split(data_dir: Path, split: str, classes: Sequence[str]):
    """The source of "train" or "val": its records if there are any, or its folder."""
    records = sorted(data_dir.glob(f"{split}*.array_record"))
    if records:
        return RecordSource(records, classes)
    return FolderSource(data_dir / split, classes)


def write_records(source: FolderSource, path: Path) -> None:
    """Pack a source into one file of array records, which is read faster."""
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(path), "group_size:1")
    try:
        for number in range(len(source)):
            encoded = source[number]
            writer.write(LABEL.pack(encoded.label) + encoded.content)
    finally:
        writer.close()


def training_image(
    encoded: Encoded, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.int32]:
    """A random part of the image, 8 to 100 % of its area, resized: bytes and class."""
    image = _open(encoded)
    box = random_box(*image.size, rng)
    return _read(image, box, size, encoded.name), np.int32(encoded.label)


def test_image(encoded: Encoded, size: int) -> tuple[np.ndarray, np.int32]:
    """The middle square, 7/8 of the shorter side: 224 of 256."""
    image = _open(encoded)
    width, height = image.size
    side = 0.875 * min(width, height)
    left, upper = (width - side) / 2, (height - side) / 2
    box = (left, upper, left + side, upper + side)
    return _read(image, box, size, encoded.name), np.int32(encoded.label)


# Not a test, whatever its name says to pytest.
test_image.__test__ = False


def random_box(
    width: int, height: int, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Left, upper, right, lower: 8 to 100 % of the area, sides of 3:4 to 4:3.

    Szegedy et al. 2014, section 6, as torchvision draws it: ten tries, then the largest
    middle part of an allowed shape.
    """
    for _ in range(10):
        area = width * height * rng.uniform(0.08, 1.0)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if w <= width and h <= height:
            left, upper = rng.uniform(0, width - w), rng.uniform(0, height - h)
            return left, upper, left + w, upper + h
    w, h = min(width, height * 4 / 3), min(height, width * 4 / 3)
    left, upper = (width - w) / 2, (height - h) / 2
    return left, upper, left + w, upper + h


def undecodable(source, size: int = 8) -> Iterator[str]:
    """What is wrong with every image of a source that cannot be decoded."""
    for number in range(len(source)):
        try:
            test_image(source[number], size)
        except (OSError, ValueError) as error:
            yield str(error)


def _open(encoded: Encoded) -> Image.Image:
    """Read the header alone and refuse what would decode to too much."""
    try:
        image = Image.open(io.BytesIO(encoded.content), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise ValueError(
            f"{encoded.name}: no image of a kind that is read ({', '.join(FORMATS)})"
        ) from error
    except Exception as error:  # decoders raise what they like on damaged files
        raise ValueError(f"{encoded.name}: no image that can be read: {error}") from (
            error
        )
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ValueError(
            f"{encoded.name}: {width} x {height} pixels, where {MAX_PIXELS} are the "
            "most (shrink it)"
        )
    return image


def _read(
    image: Image.Image, box: tuple[float, float, float, float], size: int, name: str
) -> np.ndarray:
    """Decode a part and resize it: `(size, size, 3)`, uint8."""
    width, height = image.size
    left, upper, right, lower = box
    # A JPEG can be decoded at a half, a quarter or an eighth, which is much faster.
    share = min(right - left, lower - upper)
    needed = (math.ceil(width * size / share), math.ceil(height * size / share))
    try:
        image.draft("RGB", needed)
        across, down = image.size[0] / width, image.size[1] / height
        part = image.convert("RGB").resize(
            (size, size),
            Image.Resampling.BILINEAR,
            box=(left * across, upper * down, right * across, lower * down),
        )
    except Exception as error:
        raise ValueError(f"{name}: cannot be decoded: {error}") from error
    return np.asarray(part)

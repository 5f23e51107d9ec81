"""Damage of the kinds that files suffer: seeded, so that every run is the same."""

import io
import zipfile
from collections.abc import Iterator

import numpy as np


def mutants(content: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """Damaged copies of a file, each kind of damage in turn."""
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        yield KINDS[number % len(KINDS)](bytearray(content), rng)


def zip_mutants(content: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """Copies of a zip archive, with damage in an entry and checksums that fit it."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    # Most of the damage goes to the pickle, which says what the other entries are.
    names = sorted(entries)
    weights = np.array([8.0 if name.endswith(".pkl") else 1.0 for name in names])
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        damaged = dict(entries)
        name = names[rng.choice(len(names), p=weights / weights.sum())]
        kind = KINDS[number % len(KINDS)]
        damaged[name] = kind(bytearray(entries[name]), rng)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for entry, value in damaged.items():
                archive.writestr(entry, value)
        yield packed.getvalue()


def _flip_bit(content: bytearray, rng: np.random.Generator) -> bytes:
    if content:
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    return bytes(content)


def _flip_bits(content: bytearray, rng: np.random.Generator) -> bytes:
    for _ in range(rng.integers(2, 40)):
        _flip_bit(content, rng)
    return bytes(content)


def _flip_near_an_end(content: bytearray, rng: np.random.Generator) -> bytes:
    """Headers and directories stand there."""
    near = min(len(content), 400)
    for _ in range(rng.integers(1, 4)) if near else ():
        place = rng.integers(near)
        content[place if rng.random() < 0.6 else -1 - place] = rng.integers(256)
    return bytes(content)


def _cut(content: bytearray, rng: np.random.Generator) -> bytes:
    return bytes(content[: rng.integers(len(content) + 1)])


def _cut_little(content: bytearray, rng: np.random.Generator) -> bytes:
    return bytes(content[: max(0, len(content) - rng.integers(1, 30))])


def _lose(content: bytearray, rng: np.random.Generator) -> bytes:
    """A piece is lost."""
    first = rng.integers(len(content) + 1)
    return bytes(content[:first] + content[first + rng.integers(1, 64) :])


def _add(content: bytearray, rng: np.random.Generator) -> bytes:
    first = rng.integers(len(content) + 1)
    return bytes(content[:first] + rng.bytes(rng.integers(1, 64)) + content[first:])


def _fill(content: bytearray, rng: np.random.Generator) -> bytes:
    """A run of bytes is zero or 255, as on a failed disk."""
    first = rng.integers(len(content) + 1)
    count = min(rng.integers(1, 600), len(content) - first)
    content[first : first + count] = bytes([255 * rng.integers(2)]) * count
    return bytes(content)


def _repeat(content: bytearray, rng: np.random.Generator) -> bytes:
    """A piece stands where another was."""
    size = min(rng.integers(1, 600), len(content))
    source, target = rng.integers(len(content) - size + 1, size=2)
    content[target : target + size] = content[source : source + size]
    return bytes(content)


KINDS = (
    _flip_bit,
    _flip_bits,
    _flip_near_an_end,
    _cut,
    _cut_little,
    _lose,
    _add,
    _fill,
    _repeat,
)

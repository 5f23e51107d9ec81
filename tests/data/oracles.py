"""Independent ways to the data room's results: loops over integers and pixels."""

import itertools
import math

import numpy as np

MASK = 2**64 - 1


def philox_words(key: tuple[int, int], size: int) -> list[int]:
    """Words of Philox4x64-10 (Salmon et al. 2011) for the counters 1, 2, 3, ..."""
    words = []
    for block in range(1, size // 4 + 2):
        a, b, c, d = block, 0, 0, 0
        k0, k1 = key
        for _ in range(10):
            first, second = 0xD2E7470EE14C6C93 * a, 0xCA5A826395121157 * c
            a, b = (second >> 64) ^ b ^ k0, second & MASK
            c, d = (first >> 64) ^ d ^ k1, first & MASK
            k0, k1 = (k0 + 0x9E3779B97F4A7C15) & MASK, (k1 + 0xBB67AE8584CAA73B) & MASK
        words += [a, b, c, d]
    return words[:size]


def fold(index: int, size: int, padding_mode: str) -> int | None:
    """Walk from outside an image back in, step by step; None where zeros lie."""
    if 0 <= index < size:
        return index
    if padding_mode == "zeros":
        return None
    if padding_mode == "replicate":
        return 0 if index < 0 else size - 1
    if padding_mode == "circular":
        return fold(index + size if index < 0 else index - size, size, padding_mode)
    if size == 1:
        return 0
    return fold(-index if index < 0 else 2 * (size - 1) - index, size, padding_mode)


def pixel_at(
    image: np.ndarray, row: float, column: float, mode: str, padding_mode: str
) -> np.ndarray:
    """The value of one image between its pixels, in float64."""
    image = image.astype(np.float64)
    if mode == "nearest":
        corners = [(math.floor(row + 0.5), math.floor(column + 0.5), 1.0)]
    else:
        top, left = math.floor(row), math.floor(column)
        corners = [
            (top + i, left + j, (1 - abs(row - top - i)) * (1 - abs(column - left - j)))
            for i, j in itertools.product((0, 1), repeat=2)
        ]
    total = np.zeros(image.shape[-1])
    for i, j, weight in corners:
        i = fold(i, image.shape[0], padding_mode)
        j = fold(j, image.shape[1], padding_mode)
        if i is not None and j is not None:
            total += weight * image[i, j]
    return total


def crops(image: np.ndarray, padding: tuple[int, int], padding_mode: str) -> list:
    """Every cut of the image's own size out of the padded image."""
    rows, columns = padding
    height, width = image.shape[:2]
    found = []
    for up in range(-rows, rows + 1):
        for left in range(-columns, columns + 1):
            cut = np.zeros_like(image)
            for i, j in itertools.product(range(height), range(width)):
                source = (
                    fold(i + up, height, padding_mode),
                    fold(j + left, width, padding_mode),
                )
                if None not in source:
                    cut[i, j] = image[source]
            found.append(cut)
    return found

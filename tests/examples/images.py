"""Generated images for the tests of the example on images from disk."""

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ["ant", "bee", "cat"]


def write_images(folder: Path, each: dict[str, int]) -> Path:
    """Noise whose class is the channel that is brighter; every size is another."""
    rng = np.random.default_rng(0)
    for split, count in each.items():
        for channel, name in enumerate(CLASSES):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 120, (*rng.integers(36, 50, 2), 3), np.uint8)
                pixels[..., channel] += 100
                kind = ("png", "jpg")[i % 2]
                Image.fromarray(pixels).save(folder / split / name / f"{i:03}.{kind}")
    return folder

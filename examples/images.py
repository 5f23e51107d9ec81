"""What the examples with images do to them first: smaller, few, standardised."""

import numpy as np


def shrink(images: np.ndarray, factor: int) -> np.ndarray:
    """Means over factor x factor cells of `(n, height, width, channels)`.

    Rows and columns at the far end that fill no whole cell are left out.
    """
    if factor < 1:
        raise ValueError(f"--shrink must be at least 1; got {factor}")
    n, height, width, channels = images.shape
    rows, columns = height // factor, width // factor
    if not rows or not columns:
        raise ValueError(
            f"--shrink {factor} leaves nothing of images of {height} x {width}"
        )
    cut = images[:, : rows * factor, : columns * factor]
    cells = cut.reshape(n, rows, factor, columns, factor, channels)
    return cells.mean(axis=(2, 4), dtype=np.float32)


def standardise(training: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """All of them less the mean, over the deviation, of each training channel."""
    mean = training.mean(axis=(0, 1, 2), dtype=np.float64).astype(np.float32)
    deviation = training.std(axis=(0, 1, 2), dtype=np.float64).astype(np.float32)
    return [(images - mean) / deviation for images in (training, *others)]

"""The digits that scikit-learn brings along: a small MNIST without a network."""

import numpy as np

from jaxnets.data._formats import IMAGE_SIDE
from jaxnets.data._order import epoch_order

SIDE = 8
DIGIT_SIDE = 20
BRIGHTEST = 16
# Every fifth example is for testing.
TEST_EVERY = 5


def read_digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training images and labels, then test images and labels, all uint8.

    The 1797 images are put in the order `epoch_order(0, 0, 1797)`, so that the last
    rows of the training part are as good a validation set as any others. Sorted by
    class, every fifth is for testing: 360 of them, 35 to 37 a class; 1437 stay. The
    file names no writers, so one hand can appear in both parts, which MNIST avoids.
    """
    # Imported here: it takes 0.5 s and serves this function alone.
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = np.asarray(pixels, np.int64).reshape(-1, SIDE, SIDE)
    labels = np.asarray(labels, np.uint8)
    order = epoch_order(0, 0, len(labels))
    images, labels = enlarge(images[order])[..., None], labels[order]
    testing = np.zeros(len(labels), bool)
    testing[np.argsort(labels, kind="stable")[::TEST_EVERY]] = True
    return images[~testing], labels[~testing], images[testing], labels[testing]


def enlarge(images: np.ndarray) -> np.ndarray:
    """`(n, 8, 8)` values 0 ... 16 as MNIST has its digits: `(n, 28, 28)` bytes.

    A digit is enlarged bilinearly to 20 × 20 and stands in the middle, with 4 black
    pixels around it. Pixel i of 20 lies at (i + 1/2) 8/20 − 1/2 = (4i − 3)/10 of 8;
    beyond the outermost centres the edge goes on. Every weight is a multiple of 1/10,
    so integers give the same bytes on every machine.
    """
    position = np.clip(4 * np.arange(DIGIT_SIDE) - 3, 0, 10 * (SIDE - 1))
    left = np.minimum(position // 10, SIDE - 2)
    weights = np.zeros((DIGIT_SIDE, SIDE), np.int64)
    rows = np.arange(DIGIT_SIDE)
    weights[rows, left + 1] = position - 10 * left
    weights[rows, left] = 10 - weights[rows, left + 1]
    scaled = 255 * (weights @ images @ weights.T)
    whole = 10 * 10 * BRIGHTEST
    border = (IMAGE_SIDE - DIGIT_SIDE) // 2
    framed = np.pad(scaled, ((0, 0), (border, border), (border, border)))
    return ((framed + whole // 2) // whole).astype(np.uint8)

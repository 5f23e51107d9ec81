"""Convolutions that reach every branch of the C++ kernels.

Vectors have 16, 8 or 4 lanes, so that sizes which fill one of them leave others ragged.
"""

from tests.native.depthwise_cases import DEPTHWISE

# Batch, spatial, window, fan-in, fan-out, options.
DENSE = {
    "fewer outputs than lanes": (2, (6, 7), (3, 3), 4, 3, {"padding": 1}),
    "one vector": (1, (5, 9), (3, 3), 4, 16, {"padding": 1}),
    "two vectors": (1, (5, 9), (2, 3), 4, 32, {}),
    "three vectors, the last one ragged": (2, (5, 7), (3, 3), 5, 41, {"padding": 1}),
    "four vectors": (1, (4, 11), (3, 3), 3, 64, {"padding": 1}),
    "columns, the last one shorter": (2, (4, 5), (3, 3), 6, 70, {"padding": 1}),
    "many columns, one result": (1, (3, 3), (3, 3), 5, 515, {"padding": (0, 0)}),
    "many columns, few results": (1, (2, 3), (2, 2), 5, 300, {"padding": 1}),
    "rows of every length": (1, (1, 13), (1, 2), 2, 30, {"padding": ((0, 0), (1, 0))}),
    "inputs in parts, rows that meet padding alone": (
        1,
        (4, 4),
        (5, 5),
        400,
        60,
        {"padding": ((6, 2), (2, 7))},
    ),
    "inputs in parts, stride and dilation": (
        2,
        (7, 6),
        (3, 4),
        700,
        50,
        {"padding": 3, "strides": 2, "dilation": (2, 1)},
    ),
    "images in boxes of rows": (1, (40, 41), (3, 3), 48, 9, {"padding": 1}),
    "a wide signal in boxes": (1, (2500,), (5,), 64, 7, {"padding": 2}),
    "a wide signal, stride and dilation": (
        2,
        (1500,),
        (3,),
        70,
        5,
        {"padding": ((3, 2),), "strides": 2, "dilation": 3},
    ),
    "one row of few inputs in boxes": (1, (700,), (3,), 2, 5, {"padding": 1}),
    "so many inputs that a box is a few cells": (1, (60,), (2,), 3000, 3, {}),
    "wide rows, several of them": (1, (3, 900), (2, 3), 80, 3, {"padding": 1}),
    "inputs where they lie": (2, (7, 8), (3, 2), 5, 20, {}),
    "groups where they lie": (2, (7, 8), (3, 2), 5, 20, {"groups": 3}),
    "groups copied": (2, (7, 8), (3, 2), 5, 20, {"groups": 3, "padding": 1}),
    "three axes": (2, (4, 5, 6), (3, 2, 3), 3, 17, {"padding": 1}),
    "three axes, rows and planes beyond the image": (
        1,
        (3, 4, 5),
        (3, 3, 2),
        4,
        6,
        {"padding": ((4, 1), (0, 5), (3, 3))},
    ),
    "three axes, strides, dilation": (
        2,
        (7, 6, 9),
        (2, 3, 2),
        3,
        5,
        {"padding": (2, 1, 0), "strides": (2, 1, 3), "dilation": (3, 2, 1)},
    ),
}
WINDOWS = {
    "1x1, all pixels in one row": (3, (5, 6), (1, 1), 7, 19, {}),
    "1x1, many channels": (1, (3, 3), (1, 1), 300, 130, {}),
    "1x1, a stride": (2, (7, 5), (1, 1), 3, 18, {"strides": (2, 3)}),
    "1x1, padding": (2, (4, 5), (1, 1), 3, 5, {"padding": ((1, 0), (2, 3))}),
    "1x1, padding behind": (2, (4, 5), (1, 1), 3, 5, {"padding": ((0, 1), (0, 0))}),
    "1x1, cut behind": (2, (4, 5), (1, 1), 3, 18, {"padding": ((0, 0), (0, -2))}),
    "1x1, more results than caches hold": (1, (1030, 64), (1, 1), 3, 66, {}),
    "two taps, more results than caches hold": (1, (1030, 65), (1, 2), 2, 66, {}),
    "1x1, a stride, more cells": (1, (521, 130), (1, 1), 64, 5, {"strides": 2}),
    "1x1 in groups": (2, (4, 5), (1, 1), 3, 5, {"groups": 4}),
    "1x1 depthwise": (2, (4, 5), (1, 1), 1, 1, {"groups": 32}),
    "the image as window": (5, (4, 3), (4, 3), 6, 21, {"strides": 2}),
    "the image as dilated window": (2, (5, 4), (3, 4), 3, 8, {"dilation": (2, 1)}),
    "the image as window of groups": (3, (3, 3), (3, 3), 4, 6, {"groups": 3}),
    "negative padding": (2, (9, 8), (3, 3), 4, 7, {"padding": ((-2, -1), (-1, 2))}),
    "negative padding, stride": (
        2,
        (11, 9),
        (2, 3),
        3,
        18,
        {"padding": ((-3, 1), (2, -2)), "strides": (2, 3)},
    ),
    "more negative padding than image": (1, (3,), (2,), 2, 5, {"padding": ((-5, 6),)}),
    "a window larger than the image": (2, (3, 2), (5, 6), 3, 5, {"padding": 4}),
    "dilation beyond the image": (
        1,
        (4, 3),
        (3, 3),
        4,
        18,
        {"padding": 5, "dilation": 5},
    ),
    "no tap meets a cell": (1, (1,), (2,), 3, 4, {"padding": ((3, 2),), "dilation": 4}),
    "a stride beyond the window": (2, (11, 9), (2, 1), 4, 6, {"strides": (5, 3)}),
    "a stride beyond the image": (2, (3, 4), (2, 2), 4, 6, {"strides": (7, 5)}),
    "stride and dilation share a factor": (
        2,
        (17, 11),
        (4, 3),
        3,
        18,
        {"strides": (4, 2), "dilation": (6, 2), "padding": ((7, 5), (1, 2))},
    ),
    "stride and dilation without one": (
        1,
        (13, 14),
        (3, 3),
        4,
        5,
        {"strides": (3, 2), "dilation": (2, 3), "padding": 4},
    ),
    "one cell": (1, (1, 1), (1, 1), 1, 1, {}),
    "one cell and its padding": (1, (1,), (3,), 1, 2, {"padding": 1}),
}
GROUPED = {
    f"{fan_in} to {fan_out} in {groups} groups": (
        2,
        (6, 5),
        (3, 2),
        fan_in,
        fan_out,
        {"groups": groups, "padding": ((1, 1), (0, 1))},
    )
    for fan_in, fan_out, groups in (
        (1, 2, 8),
        (1, 3, 7),
        (2, 2, 16),
        (4, 4, 5),
        (3, 5, 5),
        (5, 3, 6),
        (8, 8, 4),
        (8, 2, 9),
        (20, 3, 3),
        (2, 8, 3),
        (7, 7, 2),
        (16, 15, 2),
        (1, 1, 20),
        (1, 1, 3),
    )
} | {
    "groups in boxes": (1, (30, 31), (3, 3), 4, 4, {"groups": 24, "padding": 1}),
    "groups along a wide signal": (1, (3000,), (3,), 4, 2, {"groups": 6, "padding": 1}),
    "groups, stride and dilation": (
        2,
        (11, 12),
        (3, 2),
        2,
        3,
        {"groups": 5, "strides": (2, 3), "dilation": (3, 2), "padding": 2},
    ),
    "groups, dilation, one input each": (
        2,
        (9, 11),
        (2, 3),
        1,
        2,
        {"groups": 5, "dilation": (1, 3), "padding": 3},
    ),
    "groups on three axes": (
        2,
        (4, 5, 3),
        (2, 3, 2),
        2,
        3,
        {"groups": 3, "padding": 2},
    ),
}

KERNEL_GRADIENTS = {
    "a kernel too large for private sums": (
        1, (4, 5), (3, 3), 256, 520, {"padding": 1}
    ),
    "such a kernel of one column": (2, (3, 3), (3, 3), 16_400, 8, {"padding": 1}),
    "such a kernel of groups": (
        2, (3, 4), (5, 5), 128, 8, {"groups": 48, "padding": 2}
    ),
    "such a kernel, depthwise": (
        1, (40,), (300,), 1, 1, {"groups": 4096, "padding": 150}
    ),
    "long windows, depthwise": (
        2, (99,), (33,), 1, 1, {"groups": 2048, "padding": ((5, 4),)}
    ),
    "batches for every thread": (19, (5, 6), (3, 3), 3, 20, {"padding": 1}),
    "batches of groups": (19, (5, 6), (3, 3), 2, 3, {"groups": 7, "padding": 1}),
    "batches, depthwise": (19, (8, 6), (3, 3), 1, 1, {"groups": 16, "padding": 1}),
    "panels of several rows": (1, (50, 30), (3, 3), 3, 20, {"padding": 1}),
    "many rows of the kernel": (1, (6, 20), (2, 7), 9, 33, {"padding": 3}),
}  # fmt: skip
FOLDED = {
    "one input": (3, (9, 12), (3, 3), 1, 20, {"padding": 1}),
    "one image, cut into rows": (1, (48, 11), (5, 5), 1, 20, {"padding": 2}),
    "one image too large for a part": (1, (310, 305), (3, 3), 1, 16, {}),
    "one signal, cut": (1, (3001,), (7,), 2, 24, {"padding": ((2, 5),)}),
    "one volume, cut": (1, (16, 9, 8), (2, 3, 3), 1, 24, {"padding": 1}),
    "planes too large for a part": (1, (3, 9, 9000), (1, 1, 3), 1, 17, {}),
    "many images to a part": (70, (5, 6), (3, 3), 1, 33, {"padding": 1}),
    "three inputs, many outputs": (2, (7, 9), (3, 3), 3, 300, {"padding": 1}),
    "more products than are added at a time": (1, (21, 23), (19, 17), 2, 40, {}),
    "strides that the window overlaps": (
        2, (15, 14), (5, 5), 1, 24, {"strides": (2, 3), "padding": 2}
    ),
    "strides beyond the window": (
        4, (17, 22), (2, 3), 1, 130, {"strides": (3, 5), "padding": ((1, 0), (0, 2))}
    ),
    "a stride beyond the image, one input": (
        9, (3, 4), (2, 3), 1, 600, {"strides": (4, 5)}
    ),
    "strides in a signal cut into parts": (
        1, (2000,), (9,), 1, 24, {"strides": 4, "padding": ((3, 1),)}
    ),
    "dilation": (2, (16, 19), (3, 3), 1, 24, {"padding": 3, "dilation": (2, 3)}),
    "dilation and strides share a factor": (
        2, (21, 22), (3, 4), 1, 24,
        {"padding": 4, "dilation": (4, 2), "strides": (2, 4)},
    ),
    "negative padding, folded": (
        2, (14, 15), (3, 3), 1, 20, {"padding": ((-2, 1), (1, -3))}
    ),
    "negative padding, one image in parts": (
        1, (60, 13), (3, 3), 1, 20, {"padding": ((-5, -9), (-1, -2))}
    ),
    "a window larger than the image, folded": (
        3, (4, 5), (7, 8), 1, 20, {"padding": 4}
    ),
    "padding that windows lie in": (2, (10, 12), (4, 4), 1, 40, {"padding": 4}),
    "a large dilation": (
        2, (12, 10), (3, 2), 1, 80, {"padding": (9, 4), "dilation": (9, 7)}
    ),
    "groups, folded": (2, (9, 10), (3, 3), 2, 20, {"groups": 3, "padding": 1}),
    "groups of one input": (
        1, (33, 12), (3, 3), 1, 9, {"groups": 5, "strides": 2, "padding": 1}
    ),
    "groups in a volume": (
        2, (6, 7, 8), (3, 3, 3), 1, 20, {"groups": 4, "padding": 1}
    ),
    "one window, few inputs": (40, (5, 6), (4, 5), 1, 40, {"strides": 3}),
    "three axes, strides and dilation": (
        2, (7, 9, 11), (3, 2, 3), 1, 24,
        {"strides": (2, 3, 2), "dilation": (1, 2, 3), "padding": (1, 2, 3)},
    ),
}  # fmt: skip
MIRRORED = {
    f"{fan_in} to {fan_out} in {groups} groups, mirrored": (
        3, (7, 9), (3, 2), fan_in, fan_out, {"groups": groups, "padding": (1, 0)}
    )
    for fan_in, fan_out, groups in (
        (40, 1, 1), (33, 2, 1), (64, 3, 1), (130, 5, 1), (48, 2, 2), (16, 1, 3),
        (20, 4, 3), (300, 7, 1), (17, 16, 1),
    )
} | {
    "1x1 towards few outputs": (3, (7, 9), (1, 1), 70, 3, {}),
    "1x1 towards few outputs, cut": (
        5, (7, 9), (1, 1), 70, 3, {"padding": ((-1, 0), (0, -2))}
    ),
    "towards few outputs, more padding than window": (
        2, (8, 9), (3, 3), 40, 2, {"padding": ((4, 1), (1, 5))}
    ),
    "towards few outputs, negative padding": (
        5, (9, 10), (3, 2), 40, 2, {"padding": ((-2, 1), (0, -3))}
    ),
    "towards few outputs, strides and dilation": (
        2, (15, 14), (3, 3), 40, 2,
        {"padding": (2, 1), "strides": (2, 3), "dilation": (1, 2)},
    ),
    "towards few outputs, dilation": (
        2, (15, 14), (3, 3), 40, 2, {"padding": 3, "dilation": (3, 2)}
    ),
    "towards few outputs of groups, strides": (
        2, (9, 8), (2, 3), 32, 2, {"groups": 2, "strides": 2, "padding": 1}
    ),
    "towards few outputs, three axes": (
        2, (5, 6, 7), (3, 2, 3), 24, 3, {"groups": 2, "padding": 1}
    ),
    "towards few outputs, many boxes": (1, (90, 60), (3, 3), 50, 2, {"padding": 1}),
    "many outputs from short sums": (2, (5, 13), (1, 3), 1, 300, {"padding": 1}),
    "1x1, many outputs from short sums": (2, (5, 13), (1, 1), 5, 203, {"strides": 2}),
    "short sums, more results than are cached": (1, (520, 66), (1, 3), 2, 18, {}),
}  # fmt: skip
CASES = MIRRORED | FOLDED | DENSE | WINDOWS | GROUPED | DEPTHWISE | KERNEL_GRADIENTS

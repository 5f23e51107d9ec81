"""Depthwise convolutions that reach every branch of the C++ kernels."""

# Batch, spatial, window, fan-in, fan-out, options.
DEPTHWISE = {
    f"{channels} channels, window {window}, stride {stride}, dilation {dilation}": (
        2,
        (17, 22),
        (window, window),
        1,
        1,
        {"groups": channels, "strides": stride, "dilation": dilation, "padding": pad},
    )
    for channels, window, stride, dilation, pad in (
        (16, 3, 1, 1, 1), (48, 3, 2, 1, 1), (16, 3, 3, 1, 0), (32, 5, 1, 1, 2),
        (16, 5, 2, 1, 2), (16, 7, 1, 1, 3), (16, 7, 3, 1, 3), (16, 3, 1, 2, 2),
        (16, 3, 2, 2, 2), (16, 2, 3, 1, 0), (24, 3, 1, 1, 1), (16, 3, 1, 1, 5),
    )
} | {
    f"{channels} channels, {what}": (
        2, (12, 25), (3, 4), 1, 1, {"groups": channels} | options
    )
    for channels in (1, 2, 3, 4, 5, 6, 8, 24, 40, 136)
    for what, options in {
        "a line": {"padding": ((1, 2), (2, 1))},
        "a stride": {"strides": 2, "padding": 1},
        "dilation, cut in front": {"dilation": 2, "padding": ((-1, 2), (3, -2))},
    }.items()
} | {
    "short rows on three axes": (
        2, (5, 9, 8), (2, 3, 3), 1, 1, {"groups": 6, "padding": (1, 0, 1)}
    ),
    "channels that no cache holds beside a window": (
        1, (9, 8), (3, 3), 1, 1, {"groups": 2400, "padding": 1}
    ),
    "padding on one side": (
        1, (8, 9), (3, 3), 1, 1, {"groups": 16, "padding": ((0, 2), (2, 0))}
    ),
    "negative padding, whole vectors": (
        2, (12, 11), (3, 3), 1, 1, {"groups": 16, "padding": ((-2, 1), (1, -3))}
    ),
    "mostly padding": (1, (3, 4), (7, 7), 1, 1, {"groups": 16, "padding": 3}),
    "rows in one phase more than in another": (
        3, (10, 13), (3, 3), 1, 1, {"groups": 16, "strides": (3, 4), "padding": 1}
    ),
    "a signal": (2, (300,), (5,), 1, 1, {"groups": 32, "padding": (4,)}),
    "a signal, boxes of padding alone": (
        1, (300,), (5,), 1, 1, {"groups": 16, "padding": 64}
    ),
    "more channels than caches hold": (
        1, (300, 301), (3, 3), 1, 1, {"groups": 48, "padding": 1}
    ),
    "a long signal": (1, (5000,), (4,), 1, 1, {"groups": 16, "padding": ((3, 0),)}),
    "three axes, planes beyond the image": (
        2, (3, 6, 7), (3, 3, 3), 1, 1, {"groups": 16, "padding": (4, 1, 1)}
    ),
    "three axes, strides": (
        1, (5, 9, 8), (2, 3, 3), 1, 1,
        {"groups": 16, "padding": 1, "strides": (2, 2, 3), "dilation": (1, 2, 1)},
    ),
    "images in boxes, whole vectors": (
        1, (60, 61), (3, 3), 1, 1, {"groups": 64, "padding": 1}
    ),
    "large windows": (2, (9, 8), (11, 13), 1, 1, {"groups": 24, "padding": (5, 6)}),
    "large windows, wide results": (
        1, (3, 4), (5, 6), 1, 1, {"groups": 5, "padding": ((3, 4), (9, 17))}
    ),
    "large windows, a stride": (
        2, (5, 6), (9, 8), 1, 1, {"groups": 40, "padding": 6, "strides": (2, 3)}
    ),
    "large windows, rows of cells left out": (
        1, (6, 5), (7, 9), 1, 1,
        {"groups": 17, "padding": ((9, 1), (-1, 7)), "dilation": (2, 1)}
    ),
    "large windows, no plane is met": (
        1, (2, 4, 3), (1, 5, 5), 1, 1, {"groups": 16, "padding": (1, 3, 3)}
    ),
    "large windows, so many that a thread has some rows": (
        1, (40, 3), (5, 7), 1, 1, {"groups": 3, "padding": (2, 3)}
    ),
    "more weights than are passed by at a time": (
        1, (12, 24), (7, 9), 1, 1, {"groups": 1100, "padding": (0, 2)}
    ),
    "channels that vectors span, in long rows": (
        1, (9, 150), (3, 3), 1, 1, {"groups": 24, "padding": 1}
    ),
    "channels that would span too many vectors": (
        1, (8, 9), (7, 7), 1, 1, {"groups": 101}
    ),
    "an image of one column": (
        2, (30, 1), (3, 1), 1, 1, {"groups": 5, "padding": ((1, 1), (1, 2))}
    ),
    "batches of one phase, a stride along rows": (
        2, (9, 20), (3, 3), 1, 1, {"groups": 24, "padding": 1, "strides": (2, 1)}
    ),
    "two outputs each": (2, (9, 8), (3, 3), 1, 2, {"groups": 16, "padding": 1}),
}  # fmt: skip

"""What separable, local and tiled convolution refuse, and how they say it."""

import numpy as np
import pytest

from jaxnets.functional._conv_local import local_conv, tiled_conv
from jaxnets.functional._conv_separable import (
    separable_conv,
    spatially_separable_conv,
)

X = np.zeros((2, 5, 6, 4), np.float32)
LOCAL = np.zeros((4, 5, 2, 2, 4, 6), np.float32)
UNSHARED_ERRORS = [
    (local_conv, (X, LOCAL[0]), {}, r"local_conv: kernel must be \(\*positions, \*win"),
    (tiled_conv, (X, LOCAL[0]), {}, r"tiled_conv: kernel must be \(\*tiles, \*window"),
    (
        local_conv,
        (X, LOCAL[1:]),
        {},
        r"local_conv: kernel is made for positions \(3, 5\) but x has \(4, 5\)",
    ),
    (
        local_conv,
        (X[..., :3], LOCAL),
        {},
        "local_conv: kernel has 1 groups of 4 input channels but x has 3",
    ),
    (
        tiled_conv,
        (np.zeros((2, 5, 6, 16)), LOCAL),
        {"groups": 4},
        "tiled_conv: groups must divide the output channels; got 6 channels in 4",
    ),
    (local_conv, (X, LOCAL), {"groups": 0}, "local_conv: groups must be at least 1"),
    (
        local_conv,
        (X, LOCAL, np.zeros((5, 6))),
        {},
        r"local_conv: bias must have shape \(6,\) or \(4, 5, 6\); got \(5, 6\)",
    ),
    (tiled_conv, (X, LOCAL), {"strides": (1,)}, "tiled_conv: strides must have 2"),
    (tiled_conv, (X, LOCAL[:0]), {}, "tiled_conv: kernel's tiles must be at least 1"),
    (local_conv, (X[:, :1], LOCAL), {}, "local_conv: window must fit into the padded"),
    (local_conv, (X[0, 0], LOCAL), {}, "local_conv: x must have at least 3 axes"),
    (local_conv, (X, LOCAL), {"data_format": "NHWC"}, "data_format must be one of"),
    (tiled_conv, (X, LOCAL), {"padding": "SOME"}, "tiled_conv: padding must be one of"),
]
SEPARABLE_ERRORS = [
    (
        separable_conv,
        (X, np.zeros((3, 3, 4, 2)), np.zeros((1, 1, 8, 3))),
        {},
        r"separable_conv: depthwise_kernel must be \(\*window, 1, channels \* mult.* x "
        r"of 4 channels; got depthwise_kernel.shape=\(3, 3, 4, 2\) \(reshape",
    ),
    (
        separable_conv,
        (X, np.zeros((3, 3, 1, 6)), np.zeros((1, 1, 6, 3))),
        {},
        "separable_conv: depthwise_kernel must be",
    ),
    (
        separable_conv,
        (X, np.zeros((3, 3, 1, 8)), np.zeros((8, 3))),
        {},
        r"pointwise_kernel must have shape \(1, 1, 8, out\), .*got \(8, 3\)",
    ),
    (
        separable_conv,
        (X, np.zeros((3, 3)), np.zeros((8, 3))),
        {},
        "separable_conv: depthwise_kernel must have at least 3 axes",
    ),
    (
        separable_conv,
        (X[0, 0, 0], np.zeros((3, 1, 4)), np.zeros((1, 4, 3))),
        {},
        "separable_conv: x must have at least 2 axes",
    ),
    (
        separable_conv,
        (X, np.zeros((3, 3, 1, 4)), np.zeros((1, 1, 4, 3))),
        {"data_format": "NHWC"},
        "separable_conv: data_format must be one of",
    ),
    (spatially_separable_conv, (X, []), {}, "kernels must hold one kernel a spatial"),
    (
        spatially_separable_conv,
        (X, [np.zeros(3), np.zeros((3, 2))]),
        {},
        r"kernels must be \(taps,\) or \(taps, channels\) for x of 4 channels; got "
        r"shape \(3, 2\) for spatial axis 1",
    ),
    (
        spatially_separable_conv,
        (X, [np.zeros(3)] * 2),
        {"padding": (1, 2, 3)},
        "padding must have 2 entries, one a spatial axis; got 3",
    ),
    (spatially_separable_conv, (X[0, 0, 0], [np.zeros(3)]), {}, "x must have at least"),
]


@pytest.mark.parametrize(
    ("call", "arguments", "options", "message"), UNSHARED_ERRORS + SEPARABLE_ERRORS
)
def test_errors(call, arguments, options, message):
    with pytest.raises(ValueError, match=message):
        call(*arguments, **options)


def test_booleans_are_no_numbers():
    for call in (local_conv, tiled_conv):
        with pytest.raises(TypeError, match="x and kernel must be numbers; got bool"):
            call(X > 0, LOCAL > 0)

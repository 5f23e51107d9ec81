"""Rows of the table of cases for convolutions and what is made of them."""

import jax

from jaxnets import functional as F
from jaxnets import nn
from tests.case_kinds import IMAGE, Case, function, module, normal

KERNEL = (3, 2, 4, 6)
SLIDING = {"strides": (1, 2), "padding": "SAME"}

CONV_CASES = [
    function("conv", "plain", normal(IMAGE, KERNEL), smooth=(0, 1)),
    function(
        "conv",
        "every option",
        normal((4, 4, 6, 5), (3, 2, 2, 6), (6,)),
        smooth=(0, 1, 2),
        strides=(2, 1),
        dilation=(1, 2),
        padding=((2, 1), (0, 3)),
        padding_mode="circular",
        groups=2,
        data_format="channels_first",
        flip_kernel=True,
    ),
    function("conv", "1-D causal", normal((4, 9, 3), (3, 3, 2)), padding="CAUSAL"),
    *(
        function(
            "conv",
            name,
            normal(IMAGE, (3, 3, 2, 4)),
            smooth=(0, 1),
            groups=2,
            algorithm=name,
        )
        for name in ("gemm", "shift", "winograd", "fft", "overlap_add")
    ),
    function(
        "conv_input_grad",
        "strided",
        normal((4, 3, 5, 6), KERNEL),
        smooth=(0, 1),
        sizes=((6, 5),),
        strides=(2, 1),
    ),
    function(
        "conv_kernel_grad",
        "strided",
        normal(IMAGE, (4, 3, 5, 6)),
        smooth=(0, 1),
        batched=(0, 1),
        sizes=((3, 2),),
        strides=(2, 1),
    ),
    function(
        "lax_compatible_conv",
        "channels first",
        normal((4, 4, 6, 5), (6, 2, 3, 2)),
        smooth=(0, 1),
        window_strides=(2, 1),
        padding="SAME",
        feature_group_count=2,
    ),
    function(
        "convolve",
        "signals and kernels",
        normal((4, 1, 9), (1, 3, 5)),
        smooth=(0, 1),
        mode="same",
        axes=-1,
    ),
    function("convolve", "image", normal((4, 5), (2, 6)), smooth=(0, 1), batched=()),
    function(
        "correlate",
        "pairs, the second longer",
        normal((4, 5), (4, 8)),
        smooth=(0, 1),
        batched=(0, 1),
        mode="valid",
        axes=1,
    ),
    function("polynomial_product", "plain", normal((4, 5), (1, 3)), smooth=(0, 1)),
    Case(
        "functional.conv_matrix",
        "times a vector",
        lambda k, v: F.conv_matrix(k, (5, 4, 4), strides=2, groups=2) @ v,
        normal((3, 2, 2, 4), (80,)),
        smooth=(0, 1),
        batched=(),
    ),
    Case(
        "functional.conv_matrix",
        "dense",
        lambda k: F.conv_matrix(k, (5, 2), padding_mode="reflect").todense(),
        normal((3, 2, 3)),
        batched=(),
    ),
    Case(
        "functional.conv_operator",
        "and its transpose",
        lambda k, v: (
            F.conv_operator(k, (5, 4, 2), dilation=2).T
            @ (F.conv_operator(k, (5, 4, 2), strides=1, dilation=2) @ v)
        ),
        normal((3, 2, 2, 3), (40,)),
        smooth=(0, 1),
        batched=(),
    ),
    function(
        "conv_transpose", "same", normal(IMAGE, (3, 2, 6, 4)), smooth=(0, 1), strides=2
    ),
    function(
        "conv_transpose",
        "every option",
        normal((4, 4, 3, 5), (3, 2, 3, 4), (6,)),
        smooth=(0, 1, 2),
        strides=(2, 1),
        dilation=(1, 2),
        padding=((2, 1), (0, 1)),
        output_padding=(1, 0),
        groups=2,
        data_format="channels_first",
        flip_kernel=True,
    ),
    function(
        "separable_conv",
        "bias",
        normal(IMAGE, (3, 2, 1, 8), (1, 1, 8, 3), (3,)),
        smooth=(0, 1, 2, 3),
        strides=2,
    ),
    function(
        "spatially_separable_conv",
        "two kinds",
        lambda rng: (
            normal(IMAGE)(rng)[0],
            list(normal((3,), (2, 4))(rng)),
        ),
        smooth=(0, 1),
        padding_mode="reflect",
        strides=(1, 2),
    ),
    function(
        "local_conv",
        "groups",
        normal(IMAGE, (3, 4, 2, 2, 2, 6), (3, 4, 6)),
        smooth=(0, 1, 2),
        strides=(2, 1),
        groups=2,
    ),
    function(
        "local_conv",
        "four positions",
        normal((4, 4, 5, 2), (2, 2, 3, 4, 2, 3), (3,)),
        smooth=(0, 1, 2),
    ),
    function(
        "tiled_conv",
        "2x2",
        normal(IMAGE, (2, 2, 3, 2, 2, 6), (2, 2, 6)),
        smooth=(0, 1, 2),
        groups=2,
    ),
    function(
        "tiled_conv",
        "3x2 strided",
        normal(IMAGE, (3, 2, 3, 2, 4, 3)),
        smooth=(0, 1),
        strides=(1, 2),
        dilation=(2, 1),
    ),
    function("unfold", "overlapping", normal(IMAGE), sizes=((3, 2),), **SLIDING),
    function("unfold", "blocks", normal(IMAGE), sizes=((4, 4),), strides=2),
    function(
        "fold", "overlapping", normal((4, 6, 3, 3, 2, 4)), sizes=((6, 5),), **SLIDING
    ),
    function("fold", "blocks", normal((4, 2, 1, 4, 4, 3)), sizes=((6, 5),), strides=2),
    function("flip_kernel", "2-D", normal((3, 2, 4, 6)), batched=()),
    module(
        "every option",
        lambda rngs: nn.ConvTranspose(
            4,
            6,
            (3, 2),
            strides=(2, 1),
            padding=((1, 0), (2, 3)),
            output_padding=(1, 0),
            kernel_dilation=(1, 2),
            feature_group_count=2,
            activation=jax.nn.tanh,
            rngs=rngs,
        ),
        6,
        5,
        4,
    ),
    module(
        "tanh",
        lambda rngs: nn.SeparableConv(
            4, 3, (3, 2), depth_multiplier=2, activation=jax.nn.tanh, rngs=rngs
        ),
        6,
        5,
        4,
    ),
    module(
        "strided",
        lambda rngs: nn.LocalConv(4, 3, (3, 2), (6, 5), strides=2, rngs=rngs),
        6,
        5,
        4,
    ),
    module("2x2", lambda rngs: nn.TiledConv(4, 3, (3, 2), 2, rngs=rngs), 6, 5, 4),
    module(
        "every option",
        lambda rngs: nn.Conv(
            4,
            6,
            (3, 2),
            strides=(2, 1),
            padding="CAUSAL",
            kernel_dilation=(1, 2),
            feature_group_count=2,
            padding_mode="replicate",
            flip_kernel=True,
            activation=jax.nn.tanh,
            rngs=rngs,
        ),
        6,
        5,
        4,
    ),
]

"""One table of cases: every public function of arrays and every module.

`test_conformance.py` runs over the whole table; `test_public_names.py` finds names
without a row.
"""

import jax
import numpy as np

from jaxnets import data, nn
from jaxnets import functional as F
from tests.case_kinds import IMAGE, Case, function, module, normal, with_key
from tests.cases_blocks import BLOCK_CASES
from tests.cases_conv import CONV_CASES
from tests.cases_recurrent import RECURRENT_CASES
from tests.cases_spatial import SPATIAL_CASES
from tests.cases_text import TEXT_CASES

DISTINCT = 4 * 6 * 5 * 4


def distinct(rng: np.random.Generator) -> tuple:
    """An image batch of distinct values, so that no maximum is a tie."""
    values = rng.permutation(DISTINCT).reshape(IMAGE) / DISTINCT - 0.5
    return (values.astype(np.float32),)


def indices_for_unpool(rng: np.random.Generator) -> tuple:
    """Pooled values with the place of each, as `max_pool_with_indices` gives them."""
    rows, columns = np.meshgrid(np.arange(3), np.arange(2), indexing="ij")
    corner = (2 * rows) * 5 + 2 * columns
    shift = rng.integers(0, 2, (4, 3, 2, 4))
    places = (corner[None, :, :, None] + shift).astype(np.int32)
    return rng.normal(size=(4, 3, 2, 4)).astype(np.float32), places


def moments(rng: np.random.Generator) -> tuple:
    """x, scale, bias and running statistics of 4 features."""
    x, scale, bias, mean = normal(IMAGE, (4,), (4,), (4,))(rng)
    return x, scale, bias, F.BatchStats(mean, np.exp(bias))


POOL = {"strides": (1, 2), "padding": "SAME"}

CASES = [
    *BLOCK_CASES,
    *CONV_CASES,
    *RECURRENT_CASES,
    *TEXT_CASES,
    *SPATIAL_CASES,
    function("max_pool", "2x2", distinct, sizes=((2, 2),)),
    function("max_pool", "overlapping", distinct, sizes=((3, 2),), dilation=2, **POOL),
    function("max_pool", "wide", distinct, sizes=((6, 1),), padding="FULL", strides=1),
    function("min_pool", "overlapping", distinct, sizes=((3, 2),), **POOL),
    function("sum_pool", "overlapping", normal(IMAGE), sizes=((3, 2),), **POOL),
    function("avg_pool", "2x2 ceil", normal(IMAGE), sizes=((2, 2),), ceil_mode=True),
    function(
        "avg_pool",
        "real cells",
        normal(IMAGE),
        sizes=((3, 2),),
        count_include_pad=False,
        **POOL,
    ),
    function("lp_pool", "p=3", distinct, sizes=((2, 2),), p=3),
    function("pool", "avg", normal(IMAGE), sizes=((2, 2),), pooling_type="avg"),
    function("max_pool_with_indices", "2x2", distinct, sizes=((2, 2),)),
    function("max_unpool", "2x2", indices_for_unpool, sizes=((6, 5),), batched=(0, 1)),
    function("global_avg_pool", "plain", normal(IMAGE)),
    function("global_sum_pool", "kept axes", normal(IMAGE), keepdims=True),
    function("global_max_pool", "plain", distinct),
    function("global_min_pool", "plain", distinct),
    function("global_lp_pool", "p=2", normal(IMAGE), p=2),
    function("adaptive_avg_pool", "uneven", normal(IMAGE), sizes=((4, 3),)),
    function("adaptive_max_pool", "uneven", distinct, sizes=((4, 3),)),
    function("dense", "bias", normal((4, 5, 3), (3, 6), (6,)), smooth=(0, 1, 2)),
    function(
        "dropout",
        "half",
        with_key(normal(IMAGE)),
        smooth=(1,),
        batched=(1,),
        keep_prob=0.5,
    ),
    function(
        "spatial_dropout",
        "most",
        with_key(normal(IMAGE)),
        smooth=(1,),
        batched=(1,),
        keep_prob=0.75,
    ),
    function("batch_norm", "training", moments, smooth=(0, 1, 2, 3), training=True),
    function("batch_norm", "inference", moments, smooth=(0, 1, 2), training=False),
    function(
        "layer_norm", "affine", normal(IMAGE, (4,), (4,)), smooth=(0, 1, 2), axis=-1
    ),
    function("layer_norm", "several axes", normal(IMAGE), axis=(-3, -2, -1)),
    function("rms_norm", "scale", normal(IMAGE, (4,)), smooth=(0, 1)),
    function(
        "group_norm",
        "affine",
        normal(IMAGE, (4,), (4,)),
        smooth=(0, 1, 2),
        num_groups=2,
    ),
    function("instance_norm", "affine", normal(IMAGE, (4,), (4,)), smooth=(0, 1, 2)),
    function(
        "local_response_norm",
        "AlexNet",
        normal(IMAGE),
        size=3,
        alpha=1.0,
        beta=0.75,
        k=2.0,
    ),
    function("l1", "plain", normal((4, 3)), batched=(), strength=0.1),
    function("l2", "plain", normal((4, 3)), batched=(), strength=0.1),
    function("l1_l2", "plain", normal((4, 3)), batched=(), l1=0.1, l2=0.2),
    function("orthogonal", "rows", normal((4, 3)), batched=(), mode="rows"),
    function("max_norm", "columns", normal((4, 3)), batched=(), axis=0),
    function("min_max_norm", "columns", normal((4, 3)), batched=(), axis=0),
    function("unit_norm", "columns", normal((4, 3)), batched=(), axis=0),
    Case(
        "data.random_crop",
        "reflected",
        lambda key, x: data.random_crop(key, x, padding=2, padding_mode="reflect"),
        with_key(normal(IMAGE)),
        smooth=(1,),
        batched=(1,),
    ),
    Case(
        "data.random_flip",
        "both ways",
        lambda key, x: data.random_flip(key, x, horizontal=True, vertical=True),
        with_key(normal(IMAGE)),
        smooth=(1,),
        batched=(1,),
    ),
    Case(
        "data.random_affine",
        "turned",
        lambda key, x: data.random_affine(key, x, rotation=20.0, translation=0.1),
        with_key(normal(IMAGE)),
        smooth=(1,),
        batched=(1,),
    ),
    module("tanh", lambda rngs: nn.Dense(4, 3, activation=jax.nn.tanh, rngs=rngs), 4),
    *(
        module("2x2", lambda rngs, pool=pool: pool((2, 2)), 6, 5, 4)
        for pool in (nn.AvgPool, nn.MaxPool, nn.MinPool, nn.SumPool)
    ),
    module("p=3", lambda rngs: nn.LpPool((2, 2), p=3), 6, 5, 4),
    module("p=3", lambda rngs: nn.GlobalLpPool(p=3), 6, 5, 4),
    *(
        module("plain", lambda rngs, pool=pool: pool(), 6, 5, 4)
        for pool in (
            nn.GlobalAvgPool,
            nn.GlobalMaxPool,
            nn.GlobalMinPool,
            nn.GlobalSumPool,
            nn.Flatten,
        )
    ),
    module("uneven", lambda rngs: nn.AdaptiveAvgPool((4, 3)), 6, 5, 4),
    module("uneven", lambda rngs: nn.AdaptiveMaxPool((4, 3)), 6, 5, 4),
]

"""Networks as wholes: laws of their structure, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxnets import models
from jaxnets.models._lenet import CONNECTIONS
from tests.helpers import assert_close

TINY = {"width": 4, "stem": "small", "num_classes": 3}


def resnet(depths=(3, 2), **options):
    return models.ResNet(depths, **TINY, rngs=nnx.Rngs(0), **options)


@pytest.fixture
def images(rng):
    return jnp.asarray(rng.normal(size=(4, 8, 8, 3)), jnp.float32)


def stack_blocks(scanned, unrolled):
    """Give the scanned network the parameters of the unrolled one."""
    for stage, blocks in zip(scanned.stages, unrolled.stages, strict=True):
        nnx.update(stage[0], nnx.state(blocks[0]))
        states = [nnx.state(block) for block in list(blocks)[1:]]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
        nnx.update(stage[1].block, stacked)
    nnx.update(scanned.stem, nnx.state(unrolled.stem))
    nnx.update(scanned.head, nnx.state(unrolled.head))


@pytest.mark.slow
@pytest.mark.parametrize("remat", [False, True])
def test_a_scan_over_blocks_changes_nothing(remat, images):
    """Logits, gradients and running statistics are those of block after block."""
    unrolled, scanned = resnet(), resnet(scan=True, remat=remat)
    stack_blocks(scanned, unrolled)

    def run(model):
        def loss(model):
            y = model(images)
            return jnp.sum(jnp.sin(y)), y

        (_, y), slopes = nnx.value_and_grad(loss, has_aux=True)(model)
        return y, slopes, nnx.state(model, nnx.BatchStat)

    y, slopes, stats = run(unrolled)
    scanned_y, scanned_slopes, scanned_stats = run(scanned)
    assert_close(scanned_y, y, tol=1e-5)  # ten convolutions, another order of sums
    for got, wanted in ((scanned_slopes, slopes), (scanned_stats, stats)):
        first = [wanted["stages"][0][place] for place in (1, 2)]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *first)
        assert_close(
            jax.tree.leaves(got["stages"][0][1]), jax.tree.leaves(stacked), tol=1e-4
        )


def test_remat_changes_no_gradient(images):
    def slopes(model):
        return nnx.grad(lambda m: jnp.sum(jnp.sin(m(images))))(model)

    assert_close(
        jax.tree.leaves(slopes(resnet(remat=True))),
        jax.tree.leaves(slopes(resnet())),
        tol=1e-5,
    )


def test_preactivation_ends_in_a_normalisation(images):
    model = resnet(preactivation=True)
    last = model.features(images)[-1]
    assert model.stem.norm is None and float(last.min()) == 0
    assert model(images).shape == (4, 3)


def test_stochastic_depth_falls_from_block_to_block():
    model = resnet((2, 2), keep_prob=0.6)
    drops = [block.drop.rate for stage in model.stages for block in stage]
    np.testing.assert_allclose(drops, [0.1, 0.2, 0.3, 0.4])


@pytest.mark.slow
def test_a_map_of_c3_sees_the_maps_of_its_row(rng):
    model = models.LeNet5(rngs=nnx.Rngs(0))
    s2 = jnp.asarray(rng.normal(size=(14, 14, 6)), jnp.float32)
    jacobian = jax.jacrev(lambda s2: model.c3(s2).sum((0, 1)))(s2)
    seen = [tuple(np.flatnonzero(np.abs(row).max((0, 1)))) for row in jacobian]
    assert seen == [tuple(sorted(row)) for row in CONNECTIONS]


def test_the_rbf_head_gives_minus_squared_distances(rng):
    model = models.LeNet5(rngs=nnx.Rngs(0))
    f6 = rng.normal(size=(2, 84)).astype(np.float32)
    codes = np.asarray(model.head.codes[...])
    assert set(np.unique(codes)) == {-1.0, 1.0}
    wanted = [[-np.sum((row - code) ** 2) for code in codes] for row in f6]
    assert_close(
        model.head(jnp.asarray(f6)), np.array(wanted, np.float32), reduction=84
    )
    slope = nnx.grad(lambda m: m.head(jnp.asarray(f6)).sum())(model)
    assert not slope["head"]["codes"][...].any()


def test_googlenet_without_auxiliary_heads_says_so():
    def run():
        model = models.GoogLeNet(num_classes=5, rngs=nnx.Rngs(0))
        return model.with_auxiliary(jnp.ones((1, 64, 64, 3)))

    with pytest.raises(ValueError, match=r"no auxiliary heads .*auxiliary=True"):
        nnx.eval_shape(run)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda r: models.create("resnet5", rngs=r), "no network 'resnet5' .*resnet50"),
        (lambda r: models.create("mlp", rngs=r), r"no network 'mlp' \(names\(\) gives"),
        (
            lambda r: models.ResNet((1,), stem="huge", rngs=r),
            "stem must be 'large' or 'small'; got 'huge'",
        ),
        (
            lambda r: models.ResNet((2,), scan=True, keep_prob=0.5, rngs=r),
            r"scan needs blocks that are equal.*keep_prob=0.5 \(scan=False\)",
        ),
        (
            lambda r: models.ResNet((1,), padding="VALID", rngs=r),
            "padding must be one of None, 'SAME'; got 'VALID'",
        ),
        (
            lambda r: models.GoogLeNet(transform_input=True, in_features=1, rngs=r),
            "transform_input is for red, green and blue; got in_features=1",
        ),
        (lambda r: models.LeNet5(head="svm", rngs=r), "head must be 'rbf' or 'dense'"),
        (
            lambda r: models.LeNet5(rngs=r)(jnp.ones((1, 33, 32, 1))),
            r"at most 32x32 cells; got shape \(1, 33, 32, 1\)",
        ),
        (
            lambda r: models.ModernLeNet(input_size=(8, 28), rngs=r),
            r"input_size must be at least \(12, 12\).*got \(8, 28\)",
        ),
        (
            lambda r: models.VGG((1, 1), (4, 4), hidden=4, num_classes=2, rngs=r)(
                jnp.ones((1, 2, 2, 3))
            ),
            r"max_pool: .*window",
        ),
    ],
)
def test_messages(make, message):
    with pytest.raises(ValueError, match=message):
        make(nnx.Rngs(0))

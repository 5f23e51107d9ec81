"""Numbers of parameters, equal to the published ones."""

import math

import jax
import numpy as np
import pytest
from flax import nnx

from jaxnets import models
from jaxnets.models._lenet import CONNECTIONS

# What torchvision's documentation states for its weights.
TORCHVISION = {
    "alexnet": 61_100_840,
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840,
    "vgg13_bn": 133_053_736,
    "vgg16_bn": 138_365_992,
    "vgg19_bn": 143_678_248,
    "googlenet": 6_624_904,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
    "resnext101_64x4d": 83_455_272,
    "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696,
}
# What `summary` of keras.applications prints, running statistics included.
KERAS = {
    "resnet50_keras": 25_636_712,
    "resnet101_keras": 44_707_176,
    "resnet152_keras": 60_419_944,
}
# He et al. 2015, table 6, in millions.
CIFAR = {20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: 1.7, 1202: 19.4}
OTHERS = {
    # BVLC's copies of the two networks as published.
    "alexnet_2012": 60_965_224,
    "googlenet_2014": 6_998_552,
    # Dive into Deep Learning's layers: 156 + 2416 + 48120 + 10164 + 850.
    "lenet5_modern": 61_706,
}


def count(name, **options):
    model = nnx.eval_shape(lambda: models.create(name, rngs=nnx.Rngs(0), **options))
    leaves = jax.tree.leaves(nnx.state(model, nnx.Param))
    return sum(math.prod(leaf.shape) for leaf in leaves)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*TORCHVISION, *OTHERS])
def test_counts_are_the_published_ones(name):
    assert count(name) == (TORCHVISION | OTHERS)[name]


def test_googlenet_with_its_auxiliary_heads():
    assert count("googlenet", auxiliary=True) == 13_004_888


@pytest.mark.slow
@pytest.mark.parametrize("name", KERAS)
def test_keras_counts_statistics_too(name):
    model = nnx.eval_shape(lambda: models.create(name, rngs=nnx.Rngs(0)))
    leaves = jax.tree.leaves(nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat)))
    assert sum(math.prod(leaf.shape) for leaf in leaves) == KERAS[name]


@pytest.mark.slow
@pytest.mark.parametrize("layers", [n for n in CIFAR if n < 1202])
def test_cifar_networks(layers):
    residual = count(f"resnet{layers}_cifar")
    assert residual == pytest.approx(CIFAR[layers] * 1e6, rel=0.03)
    # A shortcut that pads has no parameters, so the plain twin has as many.
    assert count(f"plain{layers}_cifar") == residual


@pytest.mark.slow
def test_1202_layers():
    found = count("resnet1202_cifar", scan=True)
    assert found == pytest.approx(CIFAR[1202] * 1e6, rel=0.01)


@pytest.mark.slow
def test_lenet5_has_sixty_thousand_weights():
    """Section II.B of the paper counts layer by layer."""
    model = models.create("lenet5", rngs=nnx.Rngs(0))

    def trained(*modules):
        leaves = jax.tree.leaves([nnx.state(m, nnx.Param) for m in modules])
        return sum(np.size(leaf) for leaf in leaves)

    assert trained(model.c1) == 156
    assert trained(model.s2) == 12
    assert int(model.c3.mask.sum()) + 16 == 1516
    assert trained(model.s4) == 32
    assert trained(model.c5) == 48_120
    assert trained(model.f6) == 10_164
    assert 156 + 12 + 1516 + 32 + 48_120 + 10_164 == 60_000
    assert sorted(map(len, CONNECTIONS)) == [3] * 6 + [4] * 9 + [6]
    # Every map of S2 is seen by as many maps of C3 as any other.
    assert {sum(i in seen for seen in CONNECTIONS) for i in range(6)} == {10}

"""torchvision's names, which are also those of most files of torch weights."""

from jaxnets.interop._names import Names, Rules
from jaxnets.models import VGG, AlexNet, GoogLeNet, ModernLeNet, ResNet

RESNET: Rules = {
    "stem.conv": "conv1",
    "stem.norm": "bn1",
    "stages.*.*.convs.*": lambda s, b, c: f"layer{s + 1}.{b}.conv{c + 1}",
    "stages.*.*.norms.*": lambda s, b, c: f"layer{s + 1}.{b}.bn{c + 1}",
    "stages.*.*.project": lambda s, b: f"layer{s + 1}.{b}.downsample.0",
    "stages.*.*.project_norm": lambda s, b: f"layer{s + 1}.{b}.downsample.1",
    "head": "fc",
}
# Places in `features`: activations and pools count too, and have no weights.
ALEXNET: Rules = {
    "blocks.*.conv": lambda n: f"features.{(0, 3, 6, 8, 10)[n]}",
    "head.layers.*": lambda n: f"classifier.{(1, 4)[n]}",
    "head.out": "classifier.6",
}
GOOGLENET: Rules = {
    "conv*.conv": lambda n: f"conv{n}.conv",
    "conv*.norm": lambda n: f"conv{n}.bn",
    "stages.*.*.branches.0.0.conv": lambda s, b: f"{_block(s, b)}.branch1.conv",
    "stages.*.*.branches.0.0.norm": lambda s, b: f"{_block(s, b)}.branch1.bn",
    "stages.*.*.branches.*.*.conv": lambda s, b, k, n: (
        f"{_block(s, b)}.branch{k + 1}.{n}.conv"
    ),
    "stages.*.*.branches.*.*.norm": lambda s, b, k, n: (
        f"{_block(s, b)}.branch{k + 1}.{n}.bn"
    ),
    "stages.*.*.pooled.conv": lambda s, b: f"{_block(s, b)}.branch4.1.conv",
    "stages.*.*.pooled.norm": lambda s, b: f"{_block(s, b)}.branch4.1.bn",
    "auxiliary.*.0.conv": lambda n: f"aux{n + 1}.conv.conv",
    "auxiliary.*.0.norm": lambda n: f"aux{n + 1}.conv.bn",
    "auxiliary.*.1.layers.0": lambda n: f"aux{n + 1}.fc1",
    "auxiliary.*.1.out": lambda n: f"aux{n + 1}.fc2",
    "head": "fc",
}
# torchvision has no LeNet; these are the names of PyTorch's tutorials.
LENET: Rules = {
    "conv1": "conv1",
    "conv2": "conv2",
    "dense1": "fc1",
    "dense2": "fc2",
    "head": "fc3",
}


def resnet(model: ResNet) -> Names:
    """ResNet, ResNeXt and wide ResNet."""
    return Names("torch", RESNET)


def alexnet(model: AlexNet) -> Names:
    """AlexNet."""
    side = model.head.pooled
    flattened = {"head.layers.0": (side, side)}
    return Names("torch", ALEXNET, heads=("head.out",), flattened=flattened)


def vgg(model: VGG) -> Names:
    """VGG, with and without normalisation."""
    side = model.head.pooled
    rules: Rules = {
        **vgg_features(model),
        "head.layers.*": lambda n: f"classifier.{(0, 3)[n]}",
        "head.out": "classifier.6",
    }
    flattened = {"head.layers.0": (side, side)}
    return Names("torch", rules, heads=("head.out",), flattened=flattened)


def vgg_features(model: VGG) -> Rules:
    """Places in `features`, where each normalisation, relu and pool counts."""
    places, place = {}, 0
    for s, stage in enumerate(model.stages):
        for b, block in enumerate(stage):
            places[s, b] = place
            place += 2 if block.norm is None else 3
        place += 1
    return {
        "stages.*.*.conv": lambda s, b: f"features.{places[s, b]}",
        "stages.*.*.norm": lambda s, b: f"features.{places[s, b] + 1}",
    }


def googlenet(model: GoogLeNet) -> Names:
    """GoogLeNet, whose published file has the auxiliary heads too."""
    return Names(
        "torch",
        GOOGLENET,
        heads=("head", "auxiliary.0.1.out", "auxiliary.1.1.out"),
        flattened={f"auxiliary.{n}.1.layers.0": (4, 4) for n in (0, 1)},
        optional=() if model.auxiliary else ("aux1.", "aux2."),
    )


def lenet(model: ModernLeNet) -> Names:
    """The modern LeNet."""
    return Names("torch", LENET, flattened={"dense1": model.flattened})


def _block(stage: int, block: int) -> str:
    return f"inception{stage + 3}{'abcde'[block]}"


FAMILIES = {
    ResNet: resnet,
    AlexNet: alexnet,
    VGG: vgg,
    GoogLeNet: googlenet,
    ModernLeNet: lenet,
}

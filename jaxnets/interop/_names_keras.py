"""Names of keras.applications: ResNet50, 101, 152, VGG16 and VGG19."""

from jaxnets.interop._names import Names, Rules
from jaxnets.models import VGG, ResNet

RESNET: Rules = {
    "stem.conv": "conv1_conv",
    "stem.norm": "conv1_bn",
    "stages.*.*.convs.*": lambda s, b, c: f"conv{s + 2}_block{b + 1}_{c + 1}_conv",
    "stages.*.*.norms.*": lambda s, b, c: f"conv{s + 2}_block{b + 1}_{c + 1}_bn",
    "stages.*.*.project": lambda s, b: f"conv{s + 2}_block{b + 1}_0_conv",
    "stages.*.*.project_norm": lambda s, b: f"conv{s + 2}_block{b + 1}_0_bn",
    "head": "predictions",
}
VGG_RULES: Rules = {
    "stages.*.*.conv": lambda s, b: f"block{s + 1}_conv{b + 1}",
    "head.layers.*": lambda n: f"fc{n + 1}",
    "head.out": "predictions",
}


def resnet(model: ResNet) -> Names:
    """ResNet, whose presets are `resnet50_keras` and the like."""
    return Names("keras", RESNET)


def vgg(model: VGG) -> Names:
    """VGG, whose map is flattened as ours is."""
    return Names("keras", VGG_RULES, heads=("head.out",))


FAMILIES = {ResNet: resnet, VGG: vgg}

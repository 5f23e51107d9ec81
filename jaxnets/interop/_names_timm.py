"""timm's names: torchvision's in ResNet's family, its own at the end of VGG."""

from jaxnets.interop._names import Names, Rules
from jaxnets.interop._names_torchvision import RESNET, vgg_features
from jaxnets.models import VGG, ResNet

# Squeeze-excitation (seresnet50 ...), whose dense layers timm keeps as convolutions.
SQUEEZE: Rules = {
    "stages.*.*.squeeze.reduce": lambda s, b: f"layer{s + 1}.{b}.se.fc1",
    "stages.*.*.squeeze.expand": lambda s, b: f"layer{s + 1}.{b}.se.fc2",
}


def resnet(model: ResNet) -> Names:
    """ResNet, ResNeXt and wide ResNet, also with squeeze-excitation."""
    squeezes = frozenset(
        f"stages.{s}.{b}.squeeze.{part}"
        for s, blocks in enumerate(model.stages)
        for b in range(sum(getattr(block, "count", 1) for block in blocks))
        for part in ("reduce", "expand")
    )
    return Names("torch", {**RESNET, **SQUEEZE}, dense_as_conv=squeezes)


def vgg(model: VGG) -> Names:
    """VGG: the two hidden layers are convolutions over the whole map."""
    rules: Rules = {
        **vgg_features(model),
        "head.layers.*": lambda n: f"pre_logits.fc{n + 1}",
        "head.out": "head.fc",
    }
    side = model.head.pooled
    return Names(
        "torch",
        rules,
        heads=("head.out",),
        flattened={"head.layers.0": (side, side)},
        dense_as_conv=frozenset({"head.layers.0", "head.layers.1"}),
    )


FAMILIES = {ResNet: resnet, VGG: vgg}
